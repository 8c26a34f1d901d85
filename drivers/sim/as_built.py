"""The room as it really stands: off its map by what the map says of its own survey."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from drivers.rooms import Outline, Room


def as_built(room: Room, seed: int, sigma_m: float | None = None) -> Room:
    """`room` with each corner of walls and furniture moved by normal errors of `sigma_m` metres along x and y.

    `sigma_m` None takes the survey error that the room states. A corner that two sides share moves once, so walls stay
    closed; geofence and docks stay, since they are agreed upon and not surveyed. The same seed builds the same room.
    """
    sigma = room.survey_sigma_m if sigma_m is None else sigma_m
    # Not the stream of the LiDAR's noise, which has the same seed.
    chance = np.random.default_rng([seed, 0x5EED])

    def moved(outline: Outline) -> Outline:
        return replace(outline, points=outline.points + sigma * chance.standard_normal(outline.points.shape))

    return replace(room, walls=tuple(map(moved, room.walls)), furniture=tuple(map(moved, room.furniture)))
