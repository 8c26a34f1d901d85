"""The verdict: its rules, in their order, and what a report is given."""

import datetime
import math

import numpy as np
import pytest

from courses.calibration import Calibration
from courses.consistency import Consistency
from courses.odometry import LegMotion, SlipModel, integrate
from courses.verdict import LegMargin, LegMeasurement, PointMargin, PointMeasurement, Verdict, check_margin, judge
from drivers.types import BaseGeometry, Pose

GEOMETRY = BaseGeometry(1e-4, 1e-4, 0.235)
FINE = np.diag([5e-4**2, 5e-4**2, 1e-4**2])
CALIBRATION = Calibration(
    "alice",
    datetime.date(2024, 5, 17),
    SlipModel(1e-6, 100.0, (0.7e-6, 1.4e-6), 10),
    GEOMETRY,
    np.zeros((3, 3)),
    Pose(0.0, 0.0, 0.0, frame="base"),
    0.0,
    0.0,
)


def metre(margin=None, *, extra=0.0):
    """A leg of one metre ahead by the wheels; `extra` metres more of the right wheel."""
    _, motion = integrate(GEOMETRY, np.outer(np.linspace(0, 1, 21), [1e4, 1e4 + extra / 1e-4]))
    return LegMeasurement(motion, LegMargin(0.05, math.radians(5)) if margin is None else margin)


def point(label, x, y=0.0, **changes):
    settings = {"planned": Pose(round(x), 0.0, 0.0), "margin": PointMargin(0.05), **changes}
    pose = Pose(x, y, 0.0, settings.pop("covariance", FINE))
    return PointMeasurement(label, pose, Pose(x, y, 0.0), **settings)


def good_points():
    return [point("A", 0.0), point("B", 1.0005), point("C", 2.001)]


def test_inside_and_consistent_passes():
    found = judge(good_points(), [metre(), metre()], calibration=CALIBRATION)
    assert found.verdict is Verdict.PASSED
    assert found.consistency.outcome is Consistency.CONSISTENT
    assert not found.inconsistent
    assert found.distance_m == pytest.approx(2.0)
    assert found.consistency.degrees_of_freedom == 6


def test_without_calibration_consistency_is_not_judged_and_margins_are():
    found = judge(good_points(), [metre(), metre()], calibration=None)
    assert found.verdict is Verdict.PASSED
    assert found.consistency.outcome is Consistency.NOT_JUDGED
    assert "not judged" in found.reasons[0]
    assert found.legs[0].p_value is None
    assert found.legs[0].sigma_along_m is None


def test_a_point_outside_its_margin_fails():
    points = [point("A", 0.0), point("B", 1.001, planned=Pose(1.2, 0.0, 0.0)), point("C", 2.0)]
    found = judge(points, [metre(), metre()], calibration=CALIBRATION)
    assert found.verdict is Verdict.FAILED
    assert found.reasons[0].startswith("point B is outside its margin: 199.0 mm")
    assert found.points[1].along_m == pytest.approx(-0.199)


def test_a_leg_outside_its_margin_fails():
    found = judge(good_points()[:2], [metre(extra=0.05)], calibration=None)
    assert found.verdict is Verdict.FAILED
    assert found.legs[0].check.outside
    assert found.legs[0].heading_rad == pytest.approx(0.05 / 0.235)


def test_inside_the_margins_but_inconsistent_fails_and_is_marked():
    found = judge(good_points()[:2], [metre(extra=0.01)], calibration=CALIBRATION)
    assert found.legs[0].check.inside
    assert found.verdict is Verdict.FAILED
    assert found.inconsistent
    assert "disagree" in found.reasons[0]


def test_a_cause_on_the_labs_side_goes_before_failures():
    found = judge(
        good_points()[:2], [metre(extra=0.05)], calibration=CALIBRATION, lab_errors=["a person stood in the way"]
    )
    assert found.verdict is Verdict.ERRORED
    assert found.reasons[0] == "a person stood in the way"
    assert len(found.reasons) == 3


def test_a_robot_that_does_not_dock_fails():
    found = judge(good_points()[:2], [metre()], calibration=None, device_failures=["did not dock in 3 attempts"])
    assert (found.verdict, found.reasons) == (Verdict.FAILED, ("did not dock in 3 attempts",))


def test_a_cancelled_run_is_cancelled_whatever_was_measured():
    found = judge(good_points()[:2], [metre(extra=0.05)], calibration=None, cancelled="stopped by an operator")
    assert (found.verdict, found.reasons) == (Verdict.CANCELLED, ("stopped by an operator",))


def test_nothing_measured_is_errored():
    assert judge([], [], calibration=CALIBRATION).verdict is Verdict.ERRORED


def test_one_point_alone_can_be_judged():
    found = judge([point("A", 0.0)], [], calibration=CALIBRATION)
    assert found.verdict is Verdict.PASSED
    assert found.consistency.outcome is Consistency.NOT_JUDGED


def test_a_margin_finer_than_the_measurement_is_errored():
    coarse = np.diag([0.04**2, 0.04**2, 1e-6])
    found = judge([point("A", 0.01, covariance=coarse)], [], calibration=None)
    assert found.verdict is Verdict.ERRORED
    assert "does not resolve" in found.reasons[0]


def test_far_outside_an_unresolved_margin_fails_all_the_same():
    coarse = np.diag([0.04**2, 0.04**2, 1e-6])
    found = judge([point("A", 0.01, planned=Pose(1, 0, 0), covariance=coarse)], [], calibration=None)
    assert found.verdict is Verdict.FAILED


@pytest.mark.parametrize(
    ("deviation", "sigma", "expected"),
    [  # inside, resolved, near the limit, outside
        (0.02, 0.001, (True, True, False, False)),
        (0.049, 0.001, (True, True, True, False)),
        (0.051, 0.001, (False, True, True, True)),
        (0.10, 0.001, (False, True, False, True)),
        (0.02, 0.030, (True, False, True, False)),
        (0.09, 0.030, (False, False, True, False)),
        (0.12, 0.030, (False, False, False, True)),
    ],
)
def test_margins_by_deviation_and_uncertainty(deviation, sigma, expected):
    check = check_margin(deviation, 0.0, 0.0, np.eye(3) * sigma**2, PointMargin(0.05))
    assert (check.inside, check.resolved, check.near_limit, check.outside) == expected


def test_a_heading_margin_counts_too():
    check = check_margin(0.0, 0.0, -0.2, np.eye(3) * 1e-8, LegMargin(0.05, 0.1))
    assert check.outside
    assert not check.inside


def test_differences_are_told_along_and_across_the_leg():
    start = Pose(0.0, 0.0, 0.0, FINE)
    end = Pose(0.0, 1.0, math.pi / 2, FINE)
    motion = LegMotion(-0.01, 1.02, math.pi / 2 + 0.01, 1.1, np.zeros((3, 3)), np.zeros((3, 3)))
    points = [PointMeasurement("A", start, start), PointMeasurement("B", end, end)]
    (leg,) = judge(points, [LegMeasurement(motion)], calibration=None).legs
    assert (leg.along_m, leg.across_m, leg.heading_rad) == pytest.approx((0.02, 0.01, 0.01))
    assert leg.lidar_turn_rad == pytest.approx(math.pi / 2)
    assert leg.check.inside is None


def test_a_full_turn_is_not_mistaken_for_none():
    start = Pose(0.0, 0.0, 0.0, FINE)
    motion = LegMotion(0.0, 0.0, 2 * math.pi + 0.01, 0.0, np.zeros((3, 3)), np.zeros((3, 3)))
    points = [PointMeasurement("A", start, start), PointMeasurement("B", start, start)]
    (leg,) = judge(points, [LegMeasurement(motion)], calibration=None).legs
    assert leg.lidar_turn_rad == pytest.approx(2 * math.pi)
    assert leg.heading_rad == pytest.approx(0.01)


def test_legs_are_shown_with_corrected_p_values():
    found = judge(good_points(), [metre(), metre(extra=0.02)], calibration=CALIBRATION)
    first, second = found.legs
    assert second.p_holm == pytest.approx(2 * second.p_value)
    assert first.p_holm == pytest.approx(first.p_value)
    assert second.sigma_heading_rad == pytest.approx(math.sqrt(1e-6 * 2.02) / 0.235, rel=0.02)


@pytest.mark.parametrize(
    "wrong", [Pose(math.nan, 0, 0), Pose(0, 0, 0, np.diag([-1.0, 0, 0])), Pose(0, 0, 0, np.eye(2))]
)
def test_poses_that_make_no_sense_are_refused_by_name(wrong):
    with pytest.raises(ValueError, match="point A"):
        judge([PointMeasurement("A", wrong, Pose(0, 0, 0))], [], calibration=None)


def test_points_and_legs_must_fit():
    with pytest.raises(ValueError, match="2 points need 1 legs"):
        judge(good_points()[:2], [], calibration=None)


@pytest.mark.parametrize("margin", [(0.0, None), (math.inf, None), (0.1, -0.1), (0.1, 4.0), (math.nan, None)])
def test_margins_must_be_positive(margin):
    with pytest.raises(ValueError, match="margin"):
        PointMargin(*margin)
