"""The stacked-leg test holds its level, and finds what it should."""

import math

import numpy as np
import pytest
from scipy import stats

from courses.consistency import (
    CommonErrors,
    Consistency,
    MeasuredLeg,
    check_consistency,
    holm,
    point_covariance,
    predictive_p_value,
    stack_legs,
)
from courses.localization import locate
from courses.odometry import LegMotion, SlipModel, integrate
from courses.sensitivity import MapSensitivity
from drivers.types import BaseGeometry, Pose

GEOMETRY = BaseGeometry(1e-4, 1e-4, 0.235)
LIDAR = np.diag([1e-3**2, 1e-3**2, 2e-4**2])
LEGS_M = [(1.5, 1.5), (0.9, 1.3), (-0.37, 0.37), (1.2, 1.2), (1.4, 0.8), (1.0, 1.0)]


def course(rng, slip, fault=0.0):
    """LiDAR poses and leg motions of one simulated run."""
    true = Pose(0.3, -0.2, 0.4)
    points, legs = [noisy(true, rng)], []
    for leg in LEGS_M:
        steps = np.tile(np.array(leg) / 40 / 1e-4, (40, 1))
        slipped = steps * [1, 1 + fault] + rng.normal(size=steps.shape) * np.sqrt(slip * np.abs(steps) * 1e-4) / 1e-4
        moved = integrate(GEOMETRY, np.vstack(([0, 0], np.cumsum(slipped, axis=0))))[1]
        true = true.compose(moved.pose())
        true = Pose(*true.xyh)
        points.append(noisy(true, rng))
        legs.append(MeasuredLeg(integrate(GEOMETRY, np.vstack(([0, 0], np.cumsum(steps, axis=0))))[1]))
    return points, legs


def noisy(pose, rng):
    x, y, heading = np.array(pose.xyh) + rng.normal(size=3) * np.sqrt(np.diag(LIDAR))
    return Pose(x, y, heading, LIDAR)


def p_values(runs, slip, model, *, seed, fault=0.0):
    rng = np.random.default_rng(seed)
    common = CommonErrors.none()
    values = []
    for _ in range(runs):
        points, legs = course(rng, slip, fault)
        values.append(check_consistency(stack_legs(points, legs, common), common, model).p_value)
    return np.array(values)


def test_p_values_of_good_robots_are_uniform():
    values = p_values(400, 1e-6, SlipModel.known(1e-6), seed=1)
    assert stats.kstest(values, "uniform").pvalue > 0.01


def test_a_wheel_one_percent_off_is_found():
    assert np.mean(p_values(100, 1e-6, SlipModel.known(1e-6), seed=2, fault=0.01) < 0.05) >= 0.99


def test_slip_beyond_the_calibrated_is_found():
    assert np.mean(p_values(100, 4e-6, SlipModel.known(1e-6), seed=3) < 0.05) > 0.9


def test_p_value_is_the_f_test_where_slip_is_everything():
    rng = np.random.default_rng(4)
    difference, unit = rng.normal(size=6) * 0.01, np.eye(6)
    statistic, p_value = predictive_p_value(difference, np.zeros((6, 6)), unit, SlipModel(1e-4, 9.0, (0, 1), 3))
    assert statistic == pytest.approx(np.sum(difference**2) / 1e-4)
    assert p_value == pytest.approx(stats.f.sf(statistic / 6, 6, 9), rel=1e-6)


def test_p_value_is_the_chi_square_test_where_slip_is_known_or_nothing():
    difference, fixed = np.array([1.0, -2.0, 0.5]), np.diag([1.0, 2.0, 3.0])
    expected = stats.chi2.sf(1 + 2 + 0.25 / 3, 3)
    for slip in (SlipModel(0.0, 9.0, (0.0, 0.0), 3), SlipModel.known(0.0)):
        assert predictive_p_value(difference, fixed, np.eye(3), slip)[1] == pytest.approx(expected)


def test_less_certain_slip_rejects_less():
    difference = np.full(6, 0.03)
    values = [
        predictive_p_value(difference, np.eye(6) * 1e-6, np.eye(6), SlipModel(1e-4, dof, (0, 1), 3))[1]
        for dof in (4, 20, 100, math.inf)
    ]
    assert values == sorted(values, reverse=True)


def test_a_covariance_that_is_none_is_refused():
    with pytest.raises(ValueError, match="positive definite"):
        predictive_p_value(np.zeros(2), np.zeros((2, 2)), np.zeros((2, 2)), SlipModel.known(1e-5))


def test_neighbouring_legs_are_correlated_through_the_point_between_them():
    points, legs = course(np.random.default_rng(5), 1e-6)
    stacked = stack_legs(points, legs, CommonErrors.none())
    along_heading = stacked.lidar[2, 5] / stacked.lidar[2, 2]
    assert along_heading == pytest.approx(-0.5)
    assert np.abs(stacked.lidar[:3, 6:]).max() == 0


def test_mount_derivatives_are_what_a_moved_mount_does():
    points, legs = course(np.random.default_rng(6), 1e-6)
    mount = Pose(0.1, -0.05, 0.3)
    common = CommonErrors(mount, np.zeros((3, 3)), np.zeros((3, 3)), 0.0, 0.0)
    stacked = stack_legs(points, legs, common)
    sensors = [point.compose(mount) for point in points]
    h = 1e-6
    for column, (dx, dy, dyaw) in enumerate(np.eye(3) * h):
        # The sensor really stands at mount + d, but its poses are still reduced with `mount`.
        wrong = [sensor.compose(Pose(mount.x + dx, mount.y + dy, mount.heading + dyaw).inverse()) for sensor in sensors]
        right = stack_legs(wrong, legs, common).difference
        np.testing.assert_allclose((stacked.difference - right) / h, stacked.mount[:, column], atol=1e-5)


def test_an_uncertain_mount_excuses_what_a_moved_mount_shows():
    points, legs = course(np.random.default_rng(7), 1e-7)
    points = [point.compose(Pose(0.02, 0.0, 0.01)) for point in points]
    points = [Pose(*point.xyh, LIDAR) for point in points]
    slip, zeros = SlipModel.known(1e-7), np.zeros((3, 3))
    outcomes = []
    for covariance in (zeros, np.diag([0.02**2, 0.02**2, 0.02**2])):
        common = CommonErrors(Pose(0.0, 0.0, 0.0), covariance, zeros, 0.0, 0.0)
        outcomes.append(check_consistency(stack_legs(points, legs, common), common, slip).outcome)
    assert outcomes == [Consistency.INCONSISTENT, Consistency.CONSISTENT]


def test_a_leg_measured_scan_to_scan_shares_nothing_with_its_neighbours():
    points, legs = course(np.random.default_rng(8), 1e-6)
    direct = [
        MeasuredLeg(leg.motion, Pose(*a.between(b).xyh, LIDAR))
        for leg, a, b in zip(legs, points, points[1:], strict=False)
    ]
    stacked = stack_legs(points, direct, CommonErrors.none())
    np.testing.assert_allclose(stacked.lidar, np.kron(np.eye(len(legs)), LIDAR))


def test_range_bias_without_sensitivities_is_refused():
    points, legs = course(np.random.default_rng(9), 1e-6)
    common = CommonErrors(Pose(0, 0, 0), np.zeros((3, 3)), np.zeros((3, 3)), 0.03, 0.0)
    with pytest.raises(ValueError, match="sensitivity"):
        stack_legs(points, legs, common)


def test_wrong_numbers_of_points_are_refused():
    points, legs = course(np.random.default_rng(9), 1e-6)
    with pytest.raises(ValueError, match="need 7 points"):
        stack_legs(points[:-1], legs, CommonErrors.none())


def test_holm_corrects_in_the_order_of_p():
    assert holm([0.01, 0.04, 0.03, 0.5]) == pytest.approx([0.04, 0.09, 0.09, 0.5])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


BOX = np.array([[[-3, -2], [3, -2]], [[3, -2], [3, 2]], [[3, 2], [-3, 2]], [[-3, 2], [-3, -2]]], dtype=float)


def fitted_in_the_box(angles, *, longer=0.0, walls=BOX):
    """What `locate` makes of a scan taken in the middle of a box, seen from a base around the sensor."""
    c, s = np.cos(angles), np.sin(angles)
    with np.errstate(divide="ignore"):
        reach = np.minimum(np.where(c > 0, walls[:, :, 0].max(), -walls[:, :, 0].min()) / np.abs(c), 2 / np.abs(s))
    match = locate(reach + longer, angles, BOX, (0.0, 0.0, 0.0))
    return match, MapSensitivity.of_base(match, Pose(0, 0, 0))


AHEAD = np.radians(np.linspace(-89, 89, 357))
WIDE = np.radians(np.linspace(-135, 135, 1081))


def test_range_bias_cancels_in_the_middle_of_a_room_seen_all_round():
    _, found = fitted_in_the_box(np.radians(np.arange(-179.75, 180, 0.5)))
    np.testing.assert_allclose(found.range_bias, 0, atol=1e-6)


def test_a_sensor_that_looks_ahead_only_is_pushed_back_by_range_bias_as_predicted():
    _, predicted = fitted_in_the_box(AHEAD)
    biased, _ = fitted_in_the_box(AHEAD, longer=0.01)
    assert predicted.range_bias[0] < -0.8
    np.testing.assert_allclose(biased.pose.xyh, 0.01 * predicted.range_bias, atol=2e-4)


def test_a_wall_off_the_map_moves_the_pose_as_predicted():
    _, predicted = fitted_in_the_box(WIDE)
    moved = BOX.copy()
    moved[moved[:, :, 0] == 3, 0] += 0.01  # the wall ahead really stands 10 mm further away
    found, _ = fitted_in_the_box(WIDE, walls=moved)
    ahead = 1  # its direction is +y, so its normal, turned left, is -x: the wall stands -10 mm along it
    expected = -0.01 * predicted.survey[:, [2 * ahead, 2 * ahead + 1]].sum(axis=1)
    np.testing.assert_allclose(found.pose.xyh, expected, atol=2e-4)


def test_turning_a_sensor_that_stands_ahead_swings_the_base_sideways():
    lopsided = np.radians(np.linspace(-60, 110, 400))
    match, at_sensor = fitted_in_the_box(lopsided)
    base = Pose(match.pose.x - 0.5, match.pose.y, 0.0)
    swung = MapSensitivity.of_base(match, base)
    np.testing.assert_allclose(swung.range_bias[2], match.range_bias_sensitivity[2])
    np.testing.assert_allclose(swung.range_bias[1], match.range_bias_sensitivity[1] - 0.5 * swung.range_bias[2])
    assert at_sensor.survey.shape == (3, 8)


def test_common_errors_widen_a_point():
    sensitivity = MapSensitivity(np.array([1.0, 0.0, 0.0]), np.array([[0.0, 0.0], [1.0, 1.0], [0.0, 0.0]]))
    mount = np.diag([0.0, 0.0, 0.01**2])
    common = CommonErrors(Pose(0, 0, 0), mount, np.zeros((3, 3)), 0.02, 0.01)
    found = point_covariance(Pose(1, 1, 0.5, LIDAR), common, sensitivity)
    expected = np.diag(LIDAR) + np.square([0.02, math.sqrt(2) * 0.01, 0.01])
    np.testing.assert_allclose(np.diag(found), expected)


def test_encoder_resolution_counts_where_slip_is_small():
    motion = LegMotion(1.0, 0.0, 0.0, 1.0, np.zeros((3, 3)), np.zeros((3, 3)), (1.2e-3, 1.2e-3), 0.3)
    stacked = stack_legs([Pose(0, 0, 0), Pose(1, 0, 0)], [MeasuredLeg(motion)], CommonErrors.none())
    one_tick = 1.2e-3**2 / 12
    assert stacked.resolution[0, 0] == pytest.approx(2 * one_tick * 2 / 4)
    assert stacked.resolution[2, 2] == pytest.approx(2 * one_tick * 2 / 0.3**2)
