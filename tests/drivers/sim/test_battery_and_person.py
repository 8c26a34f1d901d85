"""The battery's charging states, and people as functions of time."""

from __future__ import annotations

import math

import pytest

from drivers.sim.battery import CAPACITY_MAH, Battery
from drivers.sim.person import Person
from drivers.types import ChargingState


def test_robot_on_its_dock_charges() -> None:
    battery = Battery(0.5, on_contacts=True)
    assert battery.state is ChargingState.FULL
    battery.step(3600.0, on_contacts=True, speed_m_s=0.0)
    assert battery.charge_mah == pytest.approx(0.5 * CAPACITY_MAH + 1250.0)


def test_driving_drains_faster_than_standing() -> None:
    battery = Battery(0.5, on_contacts=False)
    battery.step(60.0, on_contacts=False, speed_m_s=0.0)
    standing = battery.current_a
    battery.step(60.0, on_contacts=False, speed_m_s=0.4)
    assert battery.current_a < standing < 0
    assert battery.charge_mah < 0.5 * CAPACITY_MAH


@pytest.mark.parametrize(
    ("ratio", "state"),
    [(0.01, ChargingState.RECONDITIONING), (0.5, ChargingState.FULL), (0.99, ChargingState.TRICKLE)],
)
def test_charger_waits_and_then_charges_by_the_battery_s_state(ratio: float, state: ChargingState) -> None:
    battery = Battery(ratio, on_contacts=False)
    assert battery.state is ChargingState.NOT_CHARGING
    battery.step(0.5, on_contacts=True, speed_m_s=0.0)
    assert battery.state is ChargingState.WAITING
    battery.step(1.5, on_contacts=True, speed_m_s=0.0)
    assert battery.state is state
    battery.step(0.1, on_contacts=False, speed_m_s=0.0)
    assert battery.state is ChargingState.NOT_CHARGING


def test_charger_fault_is_told_on_contact_only() -> None:
    battery = Battery(0.5, on_contacts=False)
    battery.charger_fault = True
    battery.step(0.1, on_contacts=False, speed_m_s=0.0)
    assert battery.state is ChargingState.NOT_CHARGING
    battery.step(0.1, on_contacts=True, speed_m_s=0.0)
    assert battery.state is ChargingState.FAULT


def test_charge_outside_reason_is_refused() -> None:
    with pytest.raises(ValueError, match=r"outside 0 \.\. 1"):
        Battery(1.2, on_contacts=False)


def test_person_comes_walks_and_stays() -> None:
    person = Person(((0.0, 0.0), (2.0, 0.0), (2.0, 1.0)), start=10.0, speed_m_s=0.5)
    assert person.place(9.9) is None
    assert person.place(12.0) == pytest.approx((1.0, 0.0, 0.0))
    assert person.place(15.0) == pytest.approx((2.0, 0.5, math.pi / 2))
    assert person.place(100.0) == pytest.approx((2.0, 1.0, math.pi / 2))
    assert person.end == 16.0


def test_person_who_leaves_is_gone_at_the_end() -> None:
    person = Person(((0.0, 0.0), (1.0, 0.0)), start=0.0, leaves=True)
    assert person.legs(0.5)
    assert person.legs(1.1) == ()
    assert person.body(1.1) is None


def test_legs_stand_beside_the_way() -> None:
    left, right = Person(((0.0, 0.0), (1.0, 0.0)), start=0.0).legs(0.5)
    assert (left.x, right.x) == pytest.approx((0.5, 0.5))
    assert left.y == -right.y != 0


@pytest.mark.parametrize(("path", "speed", "told"), [((), 1.0, "one place"), (((0.0, 0.0),), 0.0, "walking speed")])
def test_impossible_person_is_refused(path: tuple[tuple[float, float], ...], speed: float, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        Person(path, 0.0, speed)
