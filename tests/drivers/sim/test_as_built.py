"""The room of the bench stands off its map by the survey error that the map states."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from drivers.rooms import Room
from drivers.sim.as_built import as_built

ROOM = Room.library("standard")


def offsets(sigma_m: float | None = None, room: Room = ROOM) -> np.ndarray:
    """(N, 2) how far the corners of 200 rooms stand off the map, metres."""
    return np.concatenate([(as_built(room, seed, sigma_m).segments - room.segments)[:, 0] for seed in range(200)])


def test_corners_stand_off_by_the_stated_survey_error() -> None:
    moved = offsets()
    assert moved.std() == pytest.approx(ROOM.survey_sigma_m, rel=0.03)
    assert abs(moved.mean()) < 4 * ROOM.survey_sigma_m / np.sqrt(moved.size)
    assert offsets(0.01).std() == pytest.approx(0.01, rel=0.03)


def test_walls_stay_closed_and_what_was_agreed_upon_stays() -> None:
    built = as_built(ROOM, 7, 0.01)
    outer = built.walls[0].segments
    assert (outer[:, 1] == np.roll(outer[:, 0], -1, axis=0)).all()
    assert built.geofence is ROOM.geofence
    assert built.docks == ROOM.docks


def test_the_same_seed_builds_the_same_room_and_another_another() -> None:
    assert (as_built(ROOM, 3).segments == as_built(ROOM, 3).segments).all()
    assert (as_built(ROOM, 3).segments != as_built(ROOM, 4).segments).any()


def test_a_room_surveyed_exactly_is_as_mapped() -> None:
    assert (as_built(ROOM, 3, 0.0).segments == ROOM.segments).all()
    assert not offsets(room=replace(ROOM, survey_sigma_m=0.0)).any()
