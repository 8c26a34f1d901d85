"""The way back to the dock: found from anywhere, kept clear of everything, driven slowly."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from courses.errors import LabError
from courses.localization import find_pose
from courses.way_back import SLOW_M_S, find_way, return_to_dock
from drivers.rooms import Outline, Room
from drivers.types import StopReason

ROOM = Room.library("standard")
PLACES = [(3.0, 2.4, 1.0), (6.8, 4.8, -2.0), (1.9, 1.0, 3.0), (4.8, 5.2, 0.4)]


@pytest.mark.parametrize("place", PLACES)
def test_a_base_finds_itself_anywhere_in_the_room(new_base: Callable[..., object], place: tuple[float, ...]) -> None:
    base = new_base(3)
    base.world.put_robot(*place)  # type: ignore[attr-defined]  # the RoomBase of the conftest
    scan = base.scan(base.clock.now())  # type: ignore[attr-defined]
    found = find_pose(scan.ranges, scan.angles, ROOM, (0.1, 0.0, 0.0))
    assert found.match.trustworthy
    assert (found.base.x, found.base.y) == pytest.approx(place[:2], abs=0.02)
    assert math.remainder(found.base.heading - place[2], 2 * math.pi) == pytest.approx(0, abs=0.01)


def test_a_scan_of_another_room_fits_nowhere_or_is_doubted() -> None:
    angles = np.radians(np.arange(1081) * 0.25 - 135)
    found = find_pose(np.full(1081, 1.3), angles, ROOM, (0.1, 0.0, 0.0))
    assert not found.match.trustworthy


def test_a_straight_way_is_straight() -> None:
    assert find_way(ROOM, (3.0, 2.4), (0.85, 2.4)) == ((0.85, 2.4),)


@settings(max_examples=15)
@given(st.floats(0.3, 7.5), st.floats(0.5, 5.5))
def test_a_way_keeps_clear_of_everything(x: float, y: float) -> None:
    if not ROOM.contains(x, y) or ROOM.clearance(x, y) < 0.2:
        return
    way = find_way(ROOM, (x, y), (0.85, 2.4))
    assert way[-1] == (0.85, 2.4)
    kept = min(0.3, ROOM.clearance(x, y))
    for here, there in pairwise(((x, y), *way)):
        assert ROOM.clearance_along(here, there) >= kept - 0.11  # a step of the grid
        assert ROOM.contains(*there)


def test_a_place_that_no_way_leads_out_of_is_told() -> None:
    across = Outline("partition", np.array([[2.0, -0.1], [2.2, -0.1], [2.2, 6.1], [2.0, 6.1]]), closed=True)
    parted = replace(ROOM, furniture=(*ROOM.furniture, across))
    with pytest.raises(LabError, match="no way from"):
        find_way(parted, (3.0, 2.4), (0.85, 2.4))


def test_the_base_drives_back_slowly_and_docks(base) -> None:
    base.world.put_robot(6.8, 2.0, 2.5)
    speeds: list[float] = []
    drive = base.drive

    def noted(linear: float, angular: float) -> None:
        speeds.append(abs(linear))
        drive(linear, angular)

    base.drive = noted
    returned = return_to_dock(base, base.clock, ROOM, ROOM.dock("A"))
    assert returned.docking.docked
    assert base.state().on_dock
    assert max(speeds) <= SLOW_M_S + 1e-9
    assert returned.start.x == pytest.approx(6.8, abs=0.02)


def test_somebody_who_lets_go_stops_the_base_where_it_is(base) -> None:
    base.world.put_robot(4.0, 2.4, 3.0)
    begun = base.clock.now()
    base.refusal = lambda now: StopReason.LEASE_ENDED if now > begun + 6.0 else None
    with pytest.raises(Exception, match="lease_ended"):
        return_to_dock(base, base.clock, ROOM, ROOM.dock("A"))
    assert base.applied.linear == base.applied.angular == 0
    assert not base.state().on_dock
