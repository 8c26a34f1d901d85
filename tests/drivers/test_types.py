"""Poses compose, invert and carry their uncertainty along."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.types import BaseGeometry, Pose, Scan, wrap_angle

metres = st.floats(-50, 50)
angles = st.floats(-10, 10)
poses = st.builds(Pose, metres, metres, angles)


@given(angles)
def test_wrap_angle_keeps_the_direction_and_stays_in_half_open_range(angle: float) -> None:
    wrapped = wrap_angle(angle)
    assert -math.pi < wrapped <= math.pi
    assert math.isclose(math.cos(wrapped), math.cos(angle), abs_tol=1e-9)
    assert math.isclose(math.sin(wrapped), math.sin(angle), abs_tol=1e-9)


def test_wrap_angle_at_the_seam() -> None:
    assert wrap_angle(-math.pi) == math.pi
    assert wrap_angle(math.pi) == math.pi


def test_compose_by_hand() -> None:
    pose = Pose(1, 2, math.pi / 2).compose(Pose(3, 1, math.pi / 2))
    assert pose.xyh == pytest.approx((0, 5, math.pi))


@given(poses, poses)
def test_between_undoes_compose(first: Pose, second: Pose) -> None:
    back = first.between(first.compose(second))
    assert (back.x, back.y) == pytest.approx((second.x, second.y), abs=1e-9)
    assert abs(wrap_angle(back.heading - second.heading)) < 1e-9


def test_covariance_of_composition_agrees_with_sampling() -> None:
    rng = np.random.default_rng(1)
    first_cov, second_cov = np.diag([1e-4, 4e-4, 1e-4]), np.diag([9e-4, 1e-4, 4e-4])
    first, second = Pose(1, 2, 0.7, first_cov), Pose(3, -1, -0.4, second_cov)
    samples = []
    for _ in range(20_000):
        a, b = rng.multivariate_normal(first.xyh, first_cov), rng.multivariate_normal(second.xyh, second_cov)
        samples.append(Pose(*a).compose(Pose(*b)).xyh)
    expected = np.cov(np.array(samples).T)
    np.testing.assert_allclose(first.compose(second).covariance, expected, atol=5e-5)


def test_covariance_of_the_inverse_agrees_with_sampling() -> None:
    rng = np.random.default_rng(2)
    covariance = np.array([[4e-4, 1e-4, 0], [1e-4, 2e-4, 5e-5], [0, 5e-5, 1e-4]])
    pose = Pose(2, -1, 1.1, covariance)
    drawn = rng.multivariate_normal(pose.xyh, covariance, size=20_000)
    expected = np.cov(np.array([Pose(*each).inverse().xyh for each in drawn]).T)
    np.testing.assert_allclose(pose.inverse().covariance, expected, atol=3e-5)


def test_points_of_a_scan_leave_out_errors_and_missing_ranges() -> None:
    scan = Scan(
        ranges=np.array([1.0, 2.0, np.nan, 3.0]),
        angles=np.array([0.0, math.pi / 2, 0.0, math.pi]),
        error_codes=np.array([0, 0, 0, 3], dtype=np.uint8),
        time=0.0,
        sensor_time=0.0,
    )
    np.testing.assert_allclose(scan.points(), [[1, 0], [0, 2]], atol=1e-12)


def test_beams_are_fired_one_after_the_other_with_the_one_ahead_at_the_scans_time() -> None:
    angles = np.array([-math.pi / 2, 0.0, math.pi / 2])
    scan = Scan(np.ones(3), angles, np.zeros(3, np.uint8), 10.0, 0.0, turn_s=0.04)
    np.testing.assert_allclose(scan.beam_times(), [9.99, 10.0, 10.01])
    still = Scan(np.ones(3), angles, np.zeros(3, np.uint8), 10.0, 0.0)
    np.testing.assert_allclose(still.beam_times(), 10.0)


@pytest.mark.parametrize(("left", "right", "base"), [(0, 1e-4, 0.2), (1e-4, -1e-4, 0.2), (1e-4, 1e-4, 235)])
def test_an_impossible_geometry_is_refused(left: float, right: float, base: float) -> None:
    with pytest.raises(ValueError, match=r"must lie between|is outside"):
        BaseGeometry(left, right, base)
