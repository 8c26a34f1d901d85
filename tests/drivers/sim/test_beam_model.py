"""What the simulated LiDAR makes of true ranges: noise, bias, codes, its place on the base."""

from __future__ import annotations

import math

import numpy as np
import pytest

from drivers.rooms import Room
from drivers.sim.beam_model import ANGLES, STEPS, BeamModel, SimulatedLidar
from drivers.types import Twist

ROOM = Room.library("standard")
REST = Twist(0.0, 0.0)
POSE = (3.0, 2.4, 0.0)
EXACT = BeamModel(range_sigma_m=0.0, dropout_ratio=0.0)


def lidar(model: BeamModel) -> SimulatedLidar:
    return SimulatedLidar(ROOM, model, np.random.default_rng(0))


def test_exact_sensor_measures_from_its_mount() -> None:
    ranges, codes = lidar(EXACT).measure(POSE, REST, ())
    left = 540 + 360
    assert codes[left] == 0
    assert ranges[left] == pytest.approx(6.0 - 2.4, abs=1e-9)
    turned, _ = lidar(BeamModel(range_sigma_m=0.0, dropout_ratio=0.0, mount_heading_deg=90.0)).measure(POSE, REST, ())
    assert turned[540] == pytest.approx(6.0 - 2.4, abs=1e-9)
    ahead, _ = lidar(BeamModel(range_sigma_m=0.0, dropout_ratio=0.0, mount_x_m=0.3)).measure(POSE, REST, ())
    assert ranges[540] - ahead[540] == pytest.approx(0.2, abs=1e-9)


def test_noise_and_bias_are_as_asked_for() -> None:
    exact, _ = lidar(EXACT).measure(POSE, REST, ())
    noisy = lidar(BeamModel(range_sigma_m=0.03, range_bias_m=-0.04, dropout_ratio=0.0))
    errors = np.concatenate([noisy.measure(POSE, REST, ())[0] - exact for _ in range(20)])
    assert np.nanmean(errors) == pytest.approx(-0.04, abs=0.001)
    assert np.nanstd(errors) == pytest.approx(0.03, rel=0.03)


def test_dropouts_are_error_codes_without_a_range() -> None:
    ranges, codes = lidar(BeamModel(dropout_ratio=0.1)).measure(POSE, REST, ())
    assert 70 < np.count_nonzero(codes) < 150
    assert np.array_equal(np.isnan(ranges), codes != 0)


def test_dark_furniture_gives_no_usable_echo_from_afar() -> None:
    seen, _ = lidar(EXACT).measure((2.0, 1.6, 0.0), REST, ())
    dark = BeamModel(range_sigma_m=0.0, dropout_ratio=0.0, dark=("sofa",))
    ranges, codes = lidar(dark).measure((2.0, 1.6, 0.0), REST, ())
    lost = codes != 0
    assert lost.any()
    assert np.all(seen[lost] > 2.9)
    assert np.array_equal(ranges[~lost], seen[~lost])


def test_covered_sector_is_blind_and_nothing_else() -> None:
    _, codes = lidar(BeamModel(dropout_ratio=0.0, covered_deg=(-10.0, 20.0))).measure(POSE, REST, ())
    covered = (np.degrees(ANGLES) >= -10.0001) & (np.degrees(ANGLES) <= 20.0001)
    assert np.array_equal(codes != 0, covered)


def test_unknown_dark_thing_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="nothing named piano; it has: cabinet, outer, pillar, sofa"):
        lidar(BeamModel(dark=("piano",)))


def test_same_seed_gives_the_same_scan() -> None:
    first, second = lidar(BeamModel()), lidar(BeamModel())
    np.testing.assert_array_equal(first.measure(POSE, REST, ())[0], second.measure(POSE, REST, ())[0])


def test_beams_cover_270_degrees() -> None:
    assert len(ANGLES) == STEPS
    assert math.degrees(ANGLES[0]) == pytest.approx(-135)
    assert math.degrees(ANGLES[-1]) == pytest.approx(135)
    assert ANGLES[540] == 0.0
