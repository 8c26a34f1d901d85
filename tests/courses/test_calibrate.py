"""Calibration finds the robot that made the runs; its file keeps what was found."""

import datetime
import math

import numpy as np
import pytest

from courses.calibrate import CalibrationRun, Nominal, calibrate, variance_interval
from courses.calibration import Calibration
from courses.odometry import SlipModel, integrate
from courses.umbmark import umbmark
from drivers.documents import DocumentError
from drivers.types import BaseGeometry, Pose

DRAWN = BaseGeometry(4e-4, 4e-4, 0.235)
BUILT = BaseGeometry(4e-4 * 1.004, 4e-4 * 0.998, 0.235 * 1.01)
DRAWN_MOUNT = Pose(0.08, 0.0, 0.0)
MOUNT = Pose(0.088, -0.005, math.radians(0.4))
LIDAR = np.diag([2e-4**2, 2e-4**2, 3e-5**2])
LEGS = [(1.5, 0.0), (1.0, 1.57), (0.0, -3.1), (1.2, -0.8), (1.3, 0.0), (0.0, 1.6)]
TODAY = datetime.date(2024, 5, 17)


def run(rng, slip=1e-5):
    """One run of the robot as built, its LiDAR poses reduced with the mount as drawn."""
    true, lidar, ticks = Pose(0.0, 0.0, 0.3), [], []

    def look():
        seen = true.compose(MOUNT).compose(DRAWN_MOUNT.inverse())
        x, y, heading = np.array(seen.xyh) + rng.normal(size=3) * np.sqrt(np.diag(LIDAR))
        lidar.append(Pose(x, y, heading, LIDAR))

    look()
    for travel, turn in LEGS:
        half = turn * DRAWN.wheel_base_m / 2
        counts = np.tile(np.array([travel - half, travel + half]) / 4e-4 / 60, (60, 1))
        ticks.append(np.vstack(([0, 0], np.cumsum(counts, axis=0))))
        scales = np.array([BUILT.left_metres_per_tick, BUILT.right_metres_per_tick])
        ground = counts + rng.normal(size=counts.shape) * np.sqrt(slip * np.abs(counts) * scales) / scales
        moved = integrate(BUILT, np.vstack(([0, 0], np.cumsum(ground, axis=0))))[1]
        true = Pose(*true.compose(moved.pose()).xyh)
        look()
    return CalibrationRun(lidar, ticks)


def calibration(seed, runs=10):
    rng = np.random.default_rng(seed)
    return calibrate([run(rng) for _ in range(runs)], Nominal(DRAWN, DRAWN_MOUNT), robot="alice", date=TODAY)


def test_wheels_and_mount_are_found_within_their_own_uncertainty():
    found = calibration(1)
    wheels = np.array(
        [
            BUILT.left_metres_per_tick / found.geometry.left_metres_per_tick - 1,
            BUILT.right_metres_per_tick / found.geometry.right_metres_per_tick - 1,
            BUILT.wheel_base_m / found.geometry.wheel_base_m - 1,
        ]
    )
    mount = np.array(MOUNT.xyh) - found.mount.xyh
    assert wheels @ np.linalg.solve(found.scale_covariance, wheels) < 16.3  # 99.9 % of chi-square(3)
    assert mount @ np.linalg.solve(found.mount.covariance, mount) < 16.3
    assert np.sqrt(np.diag(found.scale_covariance)) == pytest.approx([0, 0, 0], abs=2e-3)
    assert math.sqrt(found.mount.covariance[2, 2]) < math.radians(0.2)


def test_the_interval_of_the_slip_variance_holds_the_truth_as_often_as_it_says():
    held = [low <= 1e-5 <= high for low, high in (calibration(seed, 4).slip.interval for seed in range(60))]
    assert sum(held) >= 52  # 57 expected; 52 or fewer: 1 in 60


def test_degrees_of_freedom_are_at_most_the_differences_less_the_fitted_errors():
    slip = calibration(2).slip
    # Turns on the spot hardly show slip beside the LiDAR's noise in all three directions.
    assert 150 < slip.degrees_of_freedom < 10 * 6 * 3 - 6
    assert slip.runs == 10


def test_the_interval_is_the_chi_square_one():
    low, high = variance_interval(2.0, 10)
    assert (low, high) == pytest.approx((20 / 20.483, 20 / 3.247), rel=1e-3)


def test_too_little_driving_is_refused():
    one = run(np.random.default_rng(3))
    short = CalibrationRun(one.lidar[:2], one.ticks[:1])
    with pytest.raises(ValueError, match="more or longer calibration runs"):
        calibrate([short], Nominal(DRAWN, DRAWN_MOUNT), robot="alice", date=TODAY)
    with pytest.raises(ValueError, match="at least one run"):
        calibrate([], Nominal(DRAWN, DRAWN_MOUNT), robot="alice", date=TODAY)
    with pytest.raises(ValueError, match="LiDAR poses"):
        CalibrationRun(one.lidar, one.ticks[:-1])


def test_a_calibration_file_keeps_everything(tmp_path):
    found = calibration(4)
    found.save(tmp_path / "alice.yaml")
    read = Calibration.load(tmp_path / "alice.yaml")
    assert (read.robot, read.date, read.slip, read.geometry) == ("alice", TODAY, found.slip, found.geometry)
    assert read.mount.xyh == found.mount.xyh
    np.testing.assert_array_equal(read.mount.covariance, found.mount.covariance)
    np.testing.assert_array_equal(read.scale_covariance, found.scale_covariance)
    assert [path.name for path in tmp_path.iterdir()] == ["alice.yaml"]


def test_known_slip_survives_the_file():
    text = calibration(4).to_yaml()
    found = Calibration.parse(text)
    exact = Calibration(
        "bob", TODAY, SlipModel.known(4e-7), found.geometry, found.scale_covariance, found.mount, 0.03, 0.005
    )
    read = Calibration.parse(exact.to_yaml())
    assert read.slip == SlipModel.known(4e-7)
    assert (read.range_bias_sigma_m, read.survey_sigma_m) == (0.03, 0.005)


GOOD = """\
robot: alice
date: 2024-05-17
slip: {variance_m2_per_m: 1.0e-05, interval_m2_per_m: [8.0e-06, 1.3e-05], degrees_of_freedom: 174, runs: 10}
wheels:
  left_metres_per_tick: 0.0004
  right_metres_per_tick: 0.0004
  wheel_base_m: 0.235
  relative_covariance: [[1.0e-06, 0, 0], [0, 1.0e-06, 0], [0, 0, 1.0e-06]]
lidar: {x_m: 0.08, y_m: 0, yaw_rad: 0, covariance: [[1.0e-06, 0, 0], [0, 1.0e-06, 0], [0, 0, 1.0e-06]]}
survey_sigma_m: 0.005
"""


@pytest.mark.parametrize(
    ("old", "new", "place"),
    [
        ("robot: alice", "robot: ''", "alice.yaml:1:"),
        ("[8.0e-06, 1.3e-05]", "[2.0e-05, 3.0e-05]", "alice.yaml:3:"),
        ("wheel_base_m: 0.235", "wheel_base_mm: 235", "alice.yaml:7:"),
        ("wheel_base_m: 0.235", "wheel_base_m: 235", "alice.yaml:7:"),
        ("0, 0], [0, 1.0e-06, 0], [0, 0, 1.0e-06]]}", "0.5, 0], [0, 1.0e-06, 0], [0, 0, 1.0e-06]]}", "alice.yaml:9:"),
        ("[0, 0, 1.0e-06]]}", "[0, 0, -1.0e-06]]}", "alice.yaml:9:"),
        ("degrees_of_freedom: 174", "degrees_of_freedom: .nan", "alice.yaml:3:"),
    ],
)
def test_a_wrong_file_is_told_by_line(old, new, place):
    assert Calibration.parse(GOOD, "alice.yaml").slip.runs == 10
    with pytest.raises(DocumentError, match=place):
        Calibration.parse(GOOD.replace(old, new), "alice.yaml")


def test_umbmark_finds_wheel_base_and_wheel_ratio():
    truth = BaseGeometry(4e-4 * 0.999, 4e-4 * 1.001, 0.235 * 1.01)

    def square(side):
        ends = []
        for geometry in (truth, DRAWN):
            pose = Pose(0.0, 0.0, 0.0)
            for _ in range(4):
                turn = side * math.pi / 4 * DRAWN.wheel_base_m / 4e-4
                for ticks in ((2 / 4e-4, 2 / 4e-4), (-turn, turn)):
                    pose = pose.compose(integrate(geometry, [[0, 0], ticks])[1].pose())
            ends.append(pose)
        return ends[0], ends[1]

    found = umbmark([square(-1)], [square(1)], 2.0, DRAWN)
    ratio = found.right_metres_per_tick / found.left_metres_per_tick
    assert ratio == pytest.approx(1.001 / 0.999, abs=1e-4)
    assert found.wheel_base_m == pytest.approx(0.235 * 1.01, rel=1e-3)
    with pytest.raises(ValueError, match="both directions"):
        umbmark([], [square(1)], 2.0, DRAWN)
