"""Pose of one scan in another."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from courses.localization import match_scans
from drivers.types import Pose

FIRST = (2.3, 4.9, 0.7)


def points(ranges, angles):
    seen = np.isfinite(ranges)
    ranges, angles = ranges[seen], angles[seen]
    return np.column_stack((ranges * np.cos(angles), ranges * np.sin(angles)))


def moved(cloud, x, y, turn):
    c, s = math.cos(turn), math.sin(turn)
    return cloud @ np.array([[c, s], [-s, c]]) + (x, y)


@pytest.fixture(scope="module")
def cloud(furnished, angles, cast):
    return points(cast(furnished, FIRST, angles), angles)


@settings(max_examples=40, deadline=None)
@given(st.floats(-0.4, 0.4), st.floats(-0.4, 0.4), st.floats(-0.3, 0.3))
def test_a_rigid_move_is_recovered(cloud, x, y, turn):
    scan = moved(moved(cloud, -x, -y, 0), 0, 0, -turn)
    match = match_scans(cloud, scan, (0, 0, 0))
    assert match.pose.xyh == pytest.approx((x, y, turn), abs=2e-4)
    assert match.trustworthy


def test_two_places_in_a_room_with_noise(furnished, angles, cast):
    rng = np.random.default_rng(1)
    step = Pose(0.3, 0.02, 0.25)
    second = Pose(*FIRST).compose(step)
    squared = []
    for _ in range(40):
        one, other = (
            points(cast(furnished, pose, angles[::3]) + rng.normal(0, 0.01, len(angles[::3])), angles[::3])
            for pose in (FIRST, second.xyh)
        )
        match = match_scans(one, other, (0.25, 0.06, 0.2))
        error = np.array(match.pose.xyh) - step.xyh
        assert np.hypot(*error[:2]) < 0.015
        assert abs(error[2]) < math.radians(0.4)
        squared.append(error @ np.linalg.solve(match.covariance, error))
    assert np.mean(squared) < 6


def test_a_poor_guess_is_searched_round(furnished, angles, cast):
    step = Pose(0.5, -0.2, 0.5)
    second = Pose(*FIRST).compose(step)
    one, other = (points(cast(furnished, pose, angles), angles) for pose in (FIRST, second.xyh))
    match = match_scans(one, other, (0.1, 0.1, 0.15))
    assert match.pose.xyh == pytest.approx(step.xyh, abs=5e-3)


def test_swapping_the_scans_inverts_the_pose(furnished, angles, cast):
    step = Pose(0.3, 0.02, 0.25)
    one, other = (points(cast(furnished, p, angles), angles) for p in (FIRST, Pose(*FIRST).compose(step).xyh))
    forth = match_scans(one, other, step)
    back = match_scans(other, one, step.inverse())
    assert back.pose.xyh == pytest.approx(forth.pose.inverse().xyh, abs=2e-3)


def test_a_corridor_leaves_its_own_direction_at_the_guess(corridor, angles, cast):
    one, other = (points(cast(corridor, p, angles), angles) for p in ((0.0, 0.8, 0.0), (0.3, 0.8, 0.0)))
    match = match_scans(one, other, (0.25, 0.05, 0.05))
    assert match.degenerate
    assert math.sqrt(match.covariance[0, 0]) > 0.1
    assert match.pose.y == pytest.approx(0.0, abs=2e-3)
    assert match.pose.heading == pytest.approx(0.0, abs=2e-3)


def test_scans_of_different_places_are_flagged(furnished, angles, cast):
    one = points(cast(furnished, FIRST, angles), angles)
    rng = np.random.default_rng(2)
    other = rng.uniform(-3, 3, (200, 2))
    assert match_scans(one, other, (0, 0, 0)).ambiguous


def test_the_order_of_points_does_not_matter(cloud):
    scan = moved(cloud, 0.1, 0.05, 0.1)
    rng = np.random.default_rng(3)
    plain = match_scans(cloud, scan, (0, 0, 0)).pose.xyh
    assert match_scans(rng.permutation(cloud), scan, (0, 0, 0)).pose.xyh == pytest.approx(plain, abs=1e-9)


@pytest.mark.parametrize(
    ("reference", "scan", "guess", "message"),
    [
        (np.ones((20, 3)), np.ones((20, 2)), (0, 0, 0), r"reference must be points of shape \(N, 2\)"),
        (np.ones((20, 2)), np.ones(20), (0, 0, 0), r"scan must be points of shape \(N, 2\)"),
        (np.ones((20, 2)), np.full((20, 2), np.nan), (0, 0, 0), "scan has 0 finite points"),
        (np.ones((4, 2)), np.ones((20, 2)), (0, 0, 0), "reference has 4 finite points"),
        (np.ones((20, 2)), np.ones((20, 2)), (0, math.inf, 0), "three finite numbers"),
    ],
)
def test_bad_input_is_refused_with_its_reason(reference, scan, guess, message):
    with pytest.raises(ValueError, match=message):
        match_scans(reference, scan, guess)
