"""The way of a leg: it ends where it should, and positions on it are found again."""

from __future__ import annotations

import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from courses.model import Direction, Leg, Manner
from courses.paths import leg_faults, plan
from courses.profile import Profile
from drivers.rooms import Room
from drivers.types import Pose, wrap_angle

places = st.floats(-5, 5)
headings = st.floats(-math.pi, math.pi)


poses = st.builds(Pose, places, places, headings)


def leg(how: Manner, direction: Direction) -> Leg:
    return Leg(start="A", end="B", how=how, direction=direction, speed_m_s=0.1)


legs = st.builds(leg, st.sampled_from(Manner), st.sampled_from(Direction))


@given(poses, poses, legs)
def test_a_way_ends_at_its_end(start: Pose, end: Pose, driven: Leg) -> None:
    way = plan(driven, start, end)
    assume(way.length < 1e6)  # no arc leads straight back, see below
    last = way.at(way.length)
    assert math.hypot(last.x - end.x, last.y - end.y) < 1e-4
    assert way.length >= math.hypot(end.x - start.x, end.y - start.y) - 1e-9


@given(headings, st.floats(0.5, 4), st.floats(-1.2, 1.2), st.sampled_from(Direction), st.data())
def test_a_place_beside_a_way_is_found_on_it(
    heading: float, distance: float, bearing: float, direction: Direction, data: st.DataObject
) -> None:
    share, across = data.draw(st.floats(0.0, 1.0)), data.draw(st.floats(-0.1, 0.1))
    course = heading + (math.pi if direction is Direction.REVERSE else 0.0)
    end = Pose(1.0 + distance * math.cos(course + bearing), 2.0 + distance * math.sin(course + bearing), 0.0)
    way = plan(leg(Manner.ARC, direction), Pose(1.0, 2.0, heading), end)
    on = way.at(share * way.length)
    travel = on.heading + (math.pi if direction is Direction.REVERSE else 0.0)
    beside = Pose(on.x - across * math.sin(travel), on.y + across * math.cos(travel), on.heading + 0.1)
    travelled, offset, error = way.locate(beside)
    assert travelled == pytest.approx(share * way.length, abs=1e-6)
    assert offset == pytest.approx(across, abs=1e-6)
    assert wrap_angle(error) == pytest.approx(0.1, abs=1e-6)


@given(st.floats(0.05, 5), st.floats(0.05, 0.5))
def test_a_profile_arrives_without_exceeding_its_limits(way: float, cruise: float) -> None:
    profile = Profile(cruise, acceleration=0.5, braking=0.4, creep=0.02, latency_s=0.0)
    speed, left, step = 0.0, way, 0.02
    for _ in range(100_000):
        faster = profile.next_speed(speed, left, step)
        assert faster <= cruise + 1e-12
        assert faster - speed <= 0.5 * step + 0.02
        speed = faster
        left -= speed * step
        if left <= 0:
            break
    assert left <= 0
    assert speed <= 0.1
    assert left > -0.003


@pytest.mark.parametrize(
    ("direction", "x", "other"), [(Direction.FORWARD, 2.0, "reverse"), (Direction.REVERSE, 4.0, "forward")]
)
def test_an_arc_to_a_place_straight_behind_is_refused(direction: Direction, x: float, other: str) -> None:
    room = Room.library("standard")
    (fault,) = leg_faults(leg(Manner.ARC, direction), Pose(3.0, 3.0, 0.0), Pose(x, 3.0, 0.0), room, 0.2)
    assert fault.startswith("is no arc that could be driven: B lies behind A")
    assert f"direction: {other}" in fault
