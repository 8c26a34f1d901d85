"""Odometry: exact arcs, their covariance and their derivatives."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from courses.odometry import DiffDriveOdometry, SlipModel, arc, integrate
from drivers.types import BaseGeometry, Pose

MILLIMETRE_TICKS = BaseGeometry(1e-3, 1e-3, 0.235)
step_counts = st.lists(st.tuples(st.integers(-300, 300), st.integers(-300, 300)), min_size=1, max_size=30)


def cumulative(steps):
    return np.vstack(([0, 0], np.cumsum(steps, axis=0)))


def test_a_quarter_circle_in_one_step_ends_exactly_on_the_circle():
    radius, half = 1.0, MILLIMETRE_TICKS.wheel_base_m / 2
    wheels = [math.pi / 2 * (radius - half) / 1e-3, math.pi / 2 * (radius + half) / 1e-3]
    _, motion = integrate(MILLIMETRE_TICKS, [[0, 0], wheels])
    assert (motion.x, motion.y, motion.turn) == pytest.approx((1.0, 1.0, math.pi / 2))
    assert motion.path_m == pytest.approx(math.pi / 2)


def test_turning_on_the_spot_moves_nothing_and_keeps_whole_turns():
    ticks = 2.5 * 2 * math.pi * MILLIMETRE_TICKS.wheel_base_m / 2 / 1e-3
    _, motion = integrate(MILLIMETRE_TICKS, [[0, 0], [-ticks, ticks]])
    assert (motion.x, motion.y) == pytest.approx((0.0, 0.0), abs=1e-12)
    assert motion.turn == pytest.approx(5 * math.pi)


@given(step_counts)
def test_streaming_and_replay_agree(steps):
    ticks = cumulative(steps)
    odometry = DiffDriveOdometry(MILLIMETRE_TICKS, SlipModel.known(1e-5))
    for i, (left, right) in enumerate(ticks):
        pose = odometry.update(int(left), int(right), i * 0.05)
    track, motion = integrate(MILLIMETRE_TICKS, ticks)
    streamed = odometry.leg
    assert (pose.x, pose.y) == pytest.approx((motion.x, motion.y), abs=1e-9)
    assert math.cos(pose.heading - track[-1, 2]) == pytest.approx(1.0)
    np.testing.assert_allclose(streamed.slip, motion.slip, atol=1e-9)
    np.testing.assert_allclose(streamed.scale, motion.scale, atol=1e-9)
    np.testing.assert_allclose(pose.covariance, 1e-5 * motion.slip, atol=1e-12)


@given(step_counts)
def test_driving_back_over_the_same_ticks_returns_to_the_start(steps):
    ticks = cumulative(steps)
    _, motion = integrate(MILLIMETRE_TICKS, np.vstack((ticks, ticks[::-1])))
    assert (motion.x, motion.y, motion.turn) == pytest.approx((0.0, 0.0, 0.0), abs=1e-9)


@given(st.floats(-0.5, 0.5), st.floats(-2e-3, 2e-3))
def test_arc_derivatives_are_those_of_the_arc_also_where_it_is_nearly_straight(travel, turn):
    h = 1e-6
    _, derivatives = arc(np.array([travel]), np.array([turn]))
    by_travel = (
        arc(np.array([travel + h]), np.array([turn]))[0] - arc(np.array([travel - h]), np.array([turn]))[0]
    ) / (2 * h)
    by_turn = (arc(np.array([travel]), np.array([turn + h]))[0] - arc(np.array([travel]), np.array([turn - h]))[0]) / (
        2 * h
    )
    np.testing.assert_allclose(derivatives[0, :, 0], by_travel[0], atol=1e-8)
    np.testing.assert_allclose(derivatives[0, :, 1], by_turn[0], atol=1e-7)


def test_scale_derivatives_are_those_of_the_whole_course():
    rng = np.random.default_rng(1)
    ticks = cumulative(rng.integers(-20, 60, size=(200, 2)))
    _, motion = integrate(MILLIMETRE_TICKS, ticks)
    h = 1e-5
    for column, factors in enumerate(np.eye(3) * h + 1):
        ends = []
        for each in (factors, 2 - factors):
            geometry = BaseGeometry(1e-3 * each[0], 1e-3 * each[1], 0.235 * each[2])
            ends.append(integrate(geometry, ticks)[0][-1])
        np.testing.assert_allclose(motion.scale[:, column], (ends[0] - ends[1]) / (2 * h), rtol=1e-4, atol=1e-5)


def test_slip_covariance_is_that_of_many_simulated_runs():
    rng = np.random.default_rng(2)
    steps = np.tile([14.0, 16.0], (100, 1))
    _, motion = integrate(MILLIMETRE_TICKS, cumulative(steps))
    variance = 1e-6
    ends = []
    for _ in range(3000):
        noise = rng.normal(size=steps.shape) * np.sqrt(variance * steps * 1e-3) / 1e-3
        ends.append(integrate(MILLIMETRE_TICKS, cumulative(steps + noise))[0][-1])
    np.testing.assert_allclose(np.cov(np.array(ends).T) / (variance * motion.slip), np.ones((3, 3)), rtol=0.1)


def test_on_a_straight_line_slip_grows_as_the_random_walk_says():
    _, motion = integrate(MILLIMETRE_TICKS, [[0, 0], [1000, 1000]])
    pose = motion.pose(SlipModel.known(1e-5))
    assert pose.covariance[0, 0] == pytest.approx(1e-5 * 2 / 4)
    assert pose.covariance[2, 2] == pytest.approx(1e-5 * 2 / 0.235**2)


def test_pose_starts_where_it_is_told_and_legs_start_afresh():
    odometry = DiffDriveOdometry(MILLIMETRE_TICKS, None, Pose(2.0, 1.0, math.pi / 2))
    odometry.update(500, 500, 0.0)
    assert odometry.pose.xyh == pytest.approx((2.0, 1.0, math.pi / 2))
    odometry.update(1500, 1500, 1.0)
    first = odometry.begin_leg()
    odometry.update(1700, 1700, 2.0)
    assert first.x == pytest.approx(1.0)
    assert odometry.leg.x == pytest.approx(0.2)
    assert odometry.pose.xyh == pytest.approx((2.0, 2.2, math.pi / 2))
    assert odometry.pose.time == 2.0


def test_uncertain_wheels_widen_the_pose():
    covariance = np.diag([0.01**2, 0.0, 0.0])
    odometry = DiffDriveOdometry(MILLIMETRE_TICKS, scale_covariance=covariance)
    odometry.update(0, 0, 0.0)
    pose = odometry.update(1000, 1000, 1.0)
    assert math.sqrt(pose.covariance[2, 2]) == pytest.approx(0.01 / 0.235)


def test_time_must_not_run_backwards():
    odometry = DiffDriveOdometry(MILLIMETRE_TICKS)
    odometry.update(0, 0, 5.0)
    with pytest.raises(ValueError, match="older"):
        odometry.update(1, 1, 4.0)


@pytest.mark.parametrize("ticks", [[[0, 0, 0]], [1, 2], [], [[0, 0], [math.nan, 1]]])
def test_ticks_of_another_shape_are_refused(ticks):
    with pytest.raises(ValueError, match="ticks"):
        integrate(MILLIMETRE_TICKS, ticks)


@pytest.mark.parametrize(
    ("variance", "dof", "interval", "runs"),
    [
        (-1e-5, 5, (0, 1), 1),
        (1e-5, 0, (0, 1), 1),
        (1e-5, 5, (2e-5, 3e-5), 1),
        (1e-5, 5, (0, 1), -1),
        (math.nan, 5, (0, 1), 1),
    ],
)
def test_a_slip_model_that_makes_no_sense_is_refused(variance, dof, interval, runs):
    with pytest.raises(ValueError, match=r"slip|runs|freedom"):
        SlipModel(variance, dof, interval, runs)
