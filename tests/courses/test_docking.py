"""What counts as docked, how the contact error is told, and how sure a share of successes is."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from courses.docking import DockingDriver, Dockyard, contact_error, docked_fault, wilson_interval
from courses.model import DockingPlan
from drivers.errors import MotionRefusedError
from drivers.rooms import Dock
from drivers.types import BaseMode, BaseState, ChargingState, MotionStatus, Pose, StopReason

DOCKED = BaseState(
    time=0.0,
    left_ticks=0,
    right_ticks=0,
    mode=BaseMode.PASSIVE,
    on_dock=True,
    charging=ChargingState.FULL,
    battery_ratio=0.5,
    battery_current_a=1.2,
    battery_voltage_v=15.0,
)


def test_a_charging_base_on_its_dock_is_docked() -> None:
    assert docked_fault(DOCKED) == ""


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"on_dock": False}, "no home base"),
        ({"charging": ChargingState.NOT_CHARGING}, "not_charging"),
        ({"charging": ChargingState.FAULT}, "fault"),
        ({"battery_current_a": 0.1}, "takes 0.10 A"),
    ],
)
def test_what_is_missing_is_said(change: dict[str, object], said: str) -> None:
    assert said in docked_fault(replace(DOCKED, **change))


def test_a_full_battery_needs_no_current() -> None:
    assert docked_fault(replace(DOCKED, battery_ratio=0.96, battery_current_a=0.0)) == ""


def test_the_contact_error_is_seen_from_the_dock() -> None:
    dock = Pose(1.0, 2.0, math.pi / 2)
    error = contact_error(dock, Pose(0.99, 2.003, math.pi / 2 + math.radians(1)))
    assert error.along_mm == pytest.approx(3.0)
    assert error.across_mm == pytest.approx(10.0)
    assert error.heading_deg == pytest.approx(1.0)


@given(st.integers(1, 300).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_wilson_interval_is_scipys(k_of_n: tuple[int, int]) -> None:
    k, n = k_of_n
    expected = binomtest(k, n).proportion_ci(method="wilson")
    assert wilson_interval(k, n) == pytest.approx((expected.low, expected.high), abs=1e-6)


def test_a_share_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="0 of 0"):
        wilson_interval(0, 0)


@dataclass
class RefusingDriver:
    """Of a base that stands before its dock, whose guard refuses the first `refusals` runs for `reason`."""

    refusals: int
    reason: StopReason
    now: float = 0.0

    @property
    def clock(self) -> Any:
        return SimpleNamespace(now=lambda: self.now)

    @property
    def base(self) -> Any:
        return SimpleNamespace(seek_dock=self.seek, status=self.status, cancel_docking=self.stop)

    def seek(self) -> None:
        self.refusals -= 1
        if self.refusals >= 0:
            raise MotionRefusedError(f"docking is refused ({self.reason.value})")

    def status(self) -> MotionStatus:
        return cast("MotionStatus", SimpleNamespace(latched=False, reason=self.reason, detail="", docking=True))

    def pause(self, seconds: float) -> BaseState:
        self.now += seconds
        return replace(DOCKED, time=self.now)

    def stop(self) -> None:
        self.now += 0.1


def dock_with(driver: RefusingDriver) -> bool:
    dock = cast("Dock", SimpleNamespace(name="A", pose=Pose(0.0, 0.0, 0.0)))
    plan = DockingPlan(dock="A", attempts=1, time_limit_s=40.0, standoff_m=0.5)
    return Dockyard(cast("DockingDriver", driver), dock, plan).dock().docked


def test_a_run_that_a_late_scan_keeps_from_starting_starts_with_the_next() -> None:
    assert dock_with(RefusingDriver(20, StopReason.LIDAR_STALE))


def test_a_run_that_may_not_start_for_long_is_given_up() -> None:
    driver = RefusingDriver(1_000_000, StopReason.LIDAR_STALE)
    with pytest.raises(MotionRefusedError, match="lidar_stale"):
        dock_with(driver)
    assert 5.0 < driver.now < 6.0


def test_a_run_without_a_lease_is_not_tried_again() -> None:
    driver = RefusingDriver(1, StopReason.LEASE_ENDED)
    with pytest.raises(MotionRefusedError, match="lease_ended"):
        dock_with(driver)
