"""Dead reckoning in the guard: where the base is, and how sure that is."""

from __future__ import annotations

import math

import numpy as np
import pytest

from drivers.guard import PoseRules
from drivers.guard.reckoning import Reckoning
from drivers.types import BaseGeometry, BaseMode, BaseState, ChargingState, Pose

GEOMETRY = BaseGeometry(0.001, 0.001, 0.25)


def reading(time: float, left: int, right: int) -> BaseState:
    return BaseState(time, left, right, BaseMode.SAFE, False, ChargingState.NOT_CHARGING, 1.0, 0.0, 15.0)


def fix(x: float, y: float, heading: float, time: float, sigma: float = 0.01) -> Pose:
    return Pose(x, y, heading, np.diag([sigma**2, sigma**2, 0.001**2]), time=time)


def test_a_pose_is_carried_on_by_the_wheels() -> None:
    reckoning = Reckoning(GEOMETRY, PoseRules())
    reckoning.update(reading(0.0, 100, 100))
    assert reckoning.set_pose(fix(1.0, 2.0, math.pi / 2, 0.0)) is None
    reckoning.update(reading(1.0, 600, 600))
    located = reckoning.located(1.0)
    assert located is not None
    assert located.pose.xyh == pytest.approx((1.0, 2.5, math.pi / 2))
    assert located.sigma_m == pytest.approx(0.01 + 0.5 * (0.01 + 0.001))


def test_a_pose_told_late_counts_from_when_it_was_measured() -> None:
    reckoning = Reckoning(GEOMETRY, PoseRules())
    for index in range(11):
        reckoning.update(reading(index / 10, 100 * index, 100 * index))
    reckoning.set_pose(fix(0.0, 0.0, 0.0, time=0.5))
    located = reckoning.located(1.0)
    assert located is not None
    assert located.pose.x == pytest.approx(0.5)


def test_driving_after_a_turn_is_less_sure_than_before_it() -> None:
    sigmas = []
    for steps in ([(500, 500), (393, 0)], [(393, 0), (500, 500)]):
        reckoning = Reckoning(GEOMETRY, PoseRules())
        reckoning.update(reading(0.0, 0, 0))
        reckoning.set_pose(fix(0.0, 0.0, 0.0, 0.0))
        left = right = 0
        for index, (more_left, more_right) in enumerate(steps):
            left, right = left + more_left, right + more_right
            reckoning.update(reading(index + 1.0, left, right))
        located = reckoning.located(2.0)
        assert located is not None
        sigmas.append(located.sigma_m)
    assert sigmas[1] - sigmas[0] == pytest.approx(0.5 * (393 * 0.001 / 0.25) * 0.01, rel=1e-6)


def test_lost_wheel_counts_make_the_pose_unknown_until_set_anew() -> None:
    reckoning = Reckoning(GEOMETRY, PoseRules())
    reckoning.update(reading(0.0, 0, 0))
    reckoning.set_pose(fix(0.0, 0.0, 0.0, 0.0))
    reckoning.forget()
    reckoning.update(reading(0.1, 0, 0))
    assert reckoning.located(0.1) is None
    reckoning.set_pose(fix(0.0, 0.0, 0.0, 0.1))
    assert reckoning.located(0.1) is not None


def test_a_pose_from_before_anything_was_heard_is_refused() -> None:
    reckoning = Reckoning(GEOMETRY, PoseRules())
    assert "not been heard" in str(reckoning.set_pose(fix(0.0, 0.0, 0.0, 0.0)))
    reckoning.update(reading(10.0, 0, 0))
    assert "5.0 s ago, and the wheels' way since then is not known" in str(reckoning.set_pose(fix(0.0, 0.0, 0.0, 5.0)))
