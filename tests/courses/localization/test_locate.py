"""Pose of a LiDAR in a known room."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from courses.localization import averaged_ranges, cramer_rao_bound, locate, locate_standstill
from drivers.types import Pose

TRUTH = (2.3, 4.9, 0.7)
GUESS_OFF = (0.35, -0.35, math.radians(20))


def off(pose, by=GUESS_OFF):
    return tuple(a + b for a, b in zip(pose, by, strict=True))


def error(match, truth):
    x, y, heading = match.pose.xyh
    return np.array([x - truth[0], y - truth[1], math.remainder(heading - truth[2], 2 * math.pi)])


def test_a_perfect_scan_gives_the_exact_pose(furnished, angles, cast):
    match = locate(cast(furnished, TRUTH, angles), angles, furnished, off(TRUTH))
    assert np.abs(error(match, TRUTH)).max() < 1e-5
    assert match.inlier_ratio > 0.99
    assert match.score > 0.99
    assert match.trustworthy


def test_a_noisy_scan_is_as_good_as_the_bound_allows(furnished, angles, cast):
    rng = np.random.default_rng(1)
    clean = cast(furnished, TRUTH, angles)
    matches = [locate(clean + rng.normal(0, 0.02, len(clean)), angles, furnished, off(TRUTH)) for _ in range(60)]
    bound = cramer_rao_bound(TRUTH, angles, furnished, 0.02)
    errors = np.array([error(match, TRUTH) for match in matches])
    assert np.all(errors.std(axis=0) < 1.35 * np.sqrt(np.diag(bound)))
    assert np.all(np.abs(errors) < 5 * np.sqrt(np.diag(bound)))


def test_reported_covariance_agrees_with_the_errors_made(furnished, angles, cast):
    rng = np.random.default_rng(2)
    clean = cast(furnished, TRUTH, angles)
    squared = []
    for _ in range(60):
        match = locate(clean + rng.normal(0, 0.02, len(clean)), angles, furnished, off(TRUTH))
        e = error(match, TRUTH)
        squared.append(e @ np.linalg.solve(match.covariance, e))
    # Mean of 60 chi-squares of 3 degrees of freedom: 3 +- 0.32.
    assert 2.0 < np.mean(squared) < 4.2


def test_things_not_in_the_map_do_not_move_the_pose(furnished, angles, cast):
    rng = np.random.default_rng(3)
    clean = cast(furnished, TRUTH, angles)
    ranges = clean + rng.normal(0, 0.01, len(clean))
    ranges[100:180] = np.minimum(ranges[100:180], 0.9)
    blocked = np.zeros(len(angles), dtype=bool)
    blocked[100:180] = True
    match = locate(ranges, angles, furnished, off(TRUTH))
    sigma = np.sqrt(np.diag(cramer_rao_bound(TRUTH, angles, furnished, 0.01, ~blocked)))
    assert np.all(np.abs(error(match, TRUTH)) < 4 * sigma)
    assert match.inlier_ratio == pytest.approx(1 - 80 / 541, abs=0.03)
    assert not match.ambiguous


def test_beams_without_a_range_are_ignored(furnished, angles, cast):
    ranges = cast(furnished, TRUTH, angles)
    ranges[::3] = np.nan
    ranges[1::7] = np.inf
    assert np.abs(error(locate(ranges, angles, furnished, off(TRUTH)), TRUTH)).max() < 1e-5


def test_a_symmetric_room_is_ambiguous_when_the_heading_is_unknown(rectangle, angles, cast):
    ranges = cast(rectangle, TRUTH, angles)
    match = locate(ranges, angles, rectangle, (3, 4, 0), search_m=1.5, search_rad=math.pi)
    assert match.ambiguous
    mirrored = (6 - TRUTH[0], 8 - TRUTH[1], TRUTH[2] + math.pi)
    found = {tuple(np.round(match.pose.xyh[:2], 1)), tuple(np.round(match.runner_up.xyh[:2], 1))}
    assert found == {tuple(np.round(TRUTH[:2], 1)), tuple(np.round(mirrored[:2], 1))}
    assert match.runner_up_score == pytest.approx(match.score, rel=0.1)


def test_the_same_room_is_not_ambiguous_when_the_heading_is_roughly_known(rectangle, angles, cast):
    match = locate(cast(rectangle, TRUTH, angles), angles, rectangle, off(TRUTH))
    assert not match.ambiguous
    assert np.abs(error(match, TRUTH)).max() < 1e-5


def test_furniture_resolves_the_symmetry(furnished, angles, cast):
    match = locate(cast(furnished, TRUTH, angles), angles, furnished, (3, 4, 3.0), search_m=1.5, search_rad=math.pi)
    assert np.abs(error(match, TRUTH)).max() < 1e-5
    assert not match.ambiguous


def test_a_corridor_leaves_its_own_direction_open(corridor, angles, cast):
    truth = (0.0, 0.8, 0.1)
    ranges = cast(corridor, truth, angles)
    match = locate(ranges, angles, corridor, (0.3, 1.0, 0.25))
    assert match.degenerate
    assert not match.trustworthy
    sigma = np.sqrt(np.diag(match.covariance))
    assert sigma[0] == pytest.approx(0.6, rel=0.05)
    assert sigma[1] < 1e-3
    assert match.pose.y == pytest.approx(0.8, abs=1e-3)
    assert match.pose.heading == pytest.approx(0.1, abs=1e-3)


def test_a_scan_of_another_room_is_flagged(furnished, angles):
    rng = np.random.default_rng(4)
    match = locate(rng.uniform(0.5, 8, len(angles)), angles, furnished, TRUTH)
    assert match.ambiguous
    assert match.inlier_ratio < 0.5


@settings(max_examples=15, deadline=None)
@given(st.tuples(st.floats(-30, 30), st.floats(-30, 30), st.floats(-math.pi, math.pi)))
def test_moving_room_and_guess_moves_the_answer(furnished, angles, cast, motion):
    ranges = cast(furnished, TRUTH, angles[::4]) + 0.01 * np.sin(np.arange(len(angles[::4])) * 7.0)
    here = locate(ranges, angles[::4], furnished, off(TRUTH))
    x, y, turn = motion
    move = Pose(x, y, turn)
    c, s = math.cos(turn), math.sin(turn)
    moved = furnished @ np.array([[c, s], [-s, c]]) + (x, y)
    there = locate(ranges, angles[::4], moved, move.compose(Pose(*off(TRUTH))))
    assert np.abs(error(there, move.compose(here.pose).xyh)).max() < 1e-4
    rotation = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    assert np.allclose(there.covariance, rotation @ here.covariance @ rotation.T, rtol=0.05, atol=1e-9)


@settings(max_examples=10, deadline=None)
@given(st.randoms(use_true_random=False))
def test_the_order_and_sense_of_segments_do_not_matter(furnished, angles, cast, random):
    ranges = cast(furnished, TRUTH, angles[::4])
    order = list(range(len(furnished)))
    random.shuffle(order)
    shuffled = np.array([furnished[i][:: random.choice((1, -1))] for i in order])
    assert np.abs(error(locate(ranges, angles[::4], shuffled, off(TRUTH)), TRUTH)).max() < 1e-5


def test_a_bias_common_to_all_ranges_moves_the_pose_as_stated(furnished, angles, cast):
    ranges = cast(furnished, TRUTH, angles) + np.random.default_rng(5).normal(0, 0.01, len(angles))
    plain = locate(ranges, angles, furnished, off(TRUTH))
    biased = locate(ranges + 0.002, angles, furnished, off(TRUTH))
    moved = np.array(biased.pose.xyh) - np.array(plain.pose.xyh)
    assert np.allclose(moved, 0.002 * plain.range_bias_sensitivity, atol=2e-4)


@pytest.mark.parametrize("end", [0, 1, 10, 13])
def test_a_wall_that_stands_off_the_map_moves_the_pose_as_stated(furnished, angles, cast, end):
    noise = np.random.default_rng(5).normal(0, 0.01, len(angles))
    plain = locate(cast(furnished, TRUTH, angles) + noise, angles, furnished, off(TRUTH))
    assert plain.survey_sensitivity.shape == (3, 2 * len(furnished))
    wall, which = divmod(end, 2)
    along = furnished[wall, 1] - furnished[wall, 0]
    built = furnished.copy()
    built[wall, which] += 0.004 * np.array([-along[1], along[0]]) / np.hypot(*along)
    moved = np.array(locate(cast(built, TRUTH, angles) + noise, angles, furnished, off(TRUTH)).pose.xyh)
    assert np.allclose(moved - plain.pose.xyh, 0.004 * plain.survey_sensitivity[:, end], atol=2e-4)


def test_standing_still_averages_the_noise(furnished, angles, cast):
    rng = np.random.default_rng(6)
    clean = cast(furnished, TRUTH, angles)
    scans = clean + rng.normal(0, 0.03, (25, len(clean)))
    scans[5:9, 200:260] = 0.8  # somebody walks by
    scans[rng.uniform(size=scans.shape) < 0.05] = np.nan
    match = locate_standstill(scans, angles, furnished, off(TRUTH))
    sigma = np.sqrt(np.diag(cramer_rao_bound(TRUTH, angles, furnished, 0.03 / 5)))
    assert np.all(np.abs(error(match, TRUTH)) < 4 * sigma)
    assert np.all(np.sqrt(np.diag(match.covariance)) < 1.5 * sigma)


def test_averaging_drops_passers_by_and_beams_seldom_seen():
    scans = np.full((21, 4), 2.0) + np.linspace(-0.01, 0.01, 21)[:, None]
    scans[:5, 1] = 0.7
    scans[:12, 2] = np.nan
    scans[:10, 3] = np.nan
    mean = averaged_ranges(scans)
    assert mean[0] == pytest.approx(2.0)
    assert mean[1] == pytest.approx(2.0025)
    assert math.isnan(mean[2])
    assert mean[3] == pytest.approx(2.005)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ranges": np.ones((3, 4))}, "one shape"),
        ({"ranges": np.ones(7)}, "one shape"),
        ({"ranges": np.full(541, np.nan)}, "only 0 of 541 beams"),
        ({"room": np.empty((0, 2, 2))}, "no segments"),
        ({"room": np.ones((4, 2))}, r"shape \(S, 2, 2\)"),
        ({"room": np.full((4, 2, 2), np.nan)}, "not finite"),
        ({"room": np.ones((4, 2, 2))}, "no length"),
        ({"room": np.array([[[0, 0], [6000.0, 0]], [[0, 0], [0, 8000.0]]])}, "check its units"),
        ({"guess": (math.nan, 0, 0)}, "three finite numbers"),
        ({"guess": (0, 0)}, "three finite numbers"),
        ({"guess": (500.0, 500.0, 0)}, "puts a beam on a wall"),
        ({"search_m": 0.0}, "search_m"),
        ({"search_rad": 4.0}, "search_rad"),
        ({"survey_sigma_m": -1.0}, "survey_sigma_m"),
    ],
)
def test_bad_input_is_refused_with_its_reason(furnished, angles, change, message):
    arguments = {"ranges": np.full(541, 2.0), "angles": angles, "room": furnished, "guess": TRUTH} | change
    with pytest.raises(ValueError, match=message):
        locate(**arguments)


def test_the_bound_is_refused_where_a_direction_is_open(corridor, angles):
    with pytest.raises(ValueError, match="undetermined"):
        cramer_rao_bound((0, 1, 0), angles, corridor, 0.01)
