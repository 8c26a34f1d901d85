"""The delay between LiDAR and motor board."""

import numpy as np
import pytest

from courses.delay import estimate_delay

BOARD_TIMES = np.arange(0, 20, 0.015)
LIDAR_TIMES = np.arange(0.3, 19.8, 0.025)


def heading(times):
    """Left and right by half a turn, about an offset."""
    return 0.4 + 1.5 * np.sin(0.8 * times)


@pytest.mark.parametrize("delay", [-0.08, 0.0, 0.1])
def test_a_delay_is_found_within_its_uncertainty(delay):
    rng = np.random.default_rng(1)
    seen = heading(LIDAR_TIMES - delay) + 2.9 + rng.normal(0, 0.002, len(LIDAR_TIMES))
    found = estimate_delay(BOARD_TIMES, heading(BOARD_TIMES), LIDAR_TIMES, (seen + np.pi) % (2 * np.pi) - np.pi)
    assert found.seconds == pytest.approx(delay, abs=4 * found.sigma_s + 1e-5)
    assert found.sigma_s < 5e-4


def test_its_uncertainty_is_the_scatter_of_repeated_estimates():
    rng = np.random.default_rng(2)
    found = [
        estimate_delay(
            BOARD_TIMES, heading(BOARD_TIMES), LIDAR_TIMES, heading(LIDAR_TIMES) + rng.normal(0, 0.01, len(LIDAR_TIMES))
        )
        for _ in range(60)
    ]
    assert np.std([each.seconds for each in found]) == pytest.approx(found[0].sigma_s, rel=0.3)


def test_an_even_turn_shows_no_delay():
    with pytest.raises(ValueError, match=r"too evenly|no delay"):
        estimate_delay(BOARD_TIMES, 0.5 * BOARD_TIMES, LIDAR_TIMES, 0.5 * LIDAR_TIMES)


def test_readings_that_hardly_overlap_are_refused():
    with pytest.raises(ValueError, match="only 0 scans"):
        estimate_delay(BOARD_TIMES, heading(BOARD_TIMES), LIDAR_TIMES + 100, heading(LIDAR_TIMES))


def test_times_must_increase():
    with pytest.raises(ValueError, match="increasing"):
        estimate_delay(BOARD_TIMES[::-1], heading(BOARD_TIMES), LIDAR_TIMES, heading(LIDAR_TIMES))
