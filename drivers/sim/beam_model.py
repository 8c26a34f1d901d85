"""What a Hokuyo UTM-30LX on the robot measures: noise, bias, drop-outs, surfaces it can't see."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from drivers.rooms import Room
from drivers.sim.raycast import NOTHING, Circle, RayCaster, SensorMotion
from drivers.types import Array, Twist

STEPS = 1081
STEPS_PER_TURN = 1440
FRONT_STEP = 540
SCAN_PERIOD_S = 0.025
ANGLES: Array = np.arange(-FRONT_STEP, STEPS - FRONT_STEP, dtype=np.float64) * (2 * math.pi / STEPS_PER_TURN)
# The mirror turns steadily, and the sensor stamps a scan when it passes the rear (so the ROS driver urg_node found:
# its angular time offset), 180 steps before the first beam.
BEAM_TIMES: Array = np.arange(180, 180 + STEPS, dtype=np.float64) * (SCAN_PERIOD_S / STEPS_PER_TURN)

# Hokuyo sends values below 23 mm as codes; 1 to 5 say that there was no usable echo.
_NO_ECHO = 1
_TOO_WEAK = 2
_DISTURBED = 4
_TOO_NEAR = 5
_NEAREST_M = 0.06
_FARTHEST_M = 60.0
# White paper met squarely is specified to 30 m; an echo weakens with the square of the range.
_WHITE_REACH_M = 30.0
_DARK_REFLECTIVITY = 0.01


@dataclass(frozen=True, slots=True)
class BeamModel:
    """The true sensor and its true place on the base, as against what the lab file says.

    `range_sigma_m`, `range_bias_m`: normal noise and constant offset of ranges. `dropout_ratio`: share of beams that
    return an error code by chance. `dark`: names of walls and furniture that swallow light. `covered_deg`: a sector
    (from, to; degrees in the sensor's frame) behind dirt, or None; (-135, 135) blinds the sensor.
    """

    mount_x_m: float = 0.1
    mount_y_m: float = 0.0
    mount_heading_deg: float = 0.0
    range_sigma_m: float = 0.01
    range_bias_m: float = 0.0
    dropout_ratio: float = 0.001
    dark: tuple[str, ...] = ()
    covered_deg: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.range_sigma_m <= 1 or not -1 <= self.range_bias_m <= 1:
            raise ValueError("range_sigma_m must lie in 0 .. 1 m and range_bias_m in -1 .. 1 m")
        if not 0 <= self.dropout_ratio <= 1:
            raise ValueError(f"dropout_ratio {self.dropout_ratio} is outside 0 .. 1")
        if max(abs(self.mount_x_m), abs(self.mount_y_m)) > 1:
            raise ValueError("the LiDAR must be mounted within 1 m of the base's origin")


class SimulatedLidar:
    """Takes scans of a room from a base's pose. `chance` supplies noise and drop-outs; `model` may be replaced."""

    def __init__(self, room: Room, model: BeamModel, chance: np.random.Generator) -> None:
        self._caster = RayCaster(room.segments, ANGLES, BEAM_TIMES)
        self._names = np.array(room.segment_names)
        self._chance = chance
        self.model = model

    @property
    def model(self) -> BeamModel:
        return self._model

    @model.setter
    def model(self, model: BeamModel) -> None:
        unknown = sorted(set(model.dark) - set(self._names.tolist()))
        if unknown:
            raise ValueError(
                f"the room has nothing named {', '.join(unknown)}; it has: {', '.join(np.unique(self._names))}"
            )
        self._model = model
        reflectivity = np.where(np.isin(self._names, model.dark), _DARK_REFLECTIVITY, 1.0)
        # The last two entries stand for what beams meet at index -2 (a circle) and -1 (nothing).
        self._reflectivity = np.append(reflectivity, [1.0, 1.0])

    def measure(
        self, base: tuple[float, float, float], velocity: Twist, circles: tuple[Circle, ...]
    ) -> tuple[Array, NDArray[np.uint8]]:
        """(1081,) ranges in metres, NaN where nothing was measured, and (1081,) error codes, 0 where a range is valid.

        `base`: (x, y, heading) of the base in the room at the scan's time stamp, moving at `velocity`.
        """
        model = self._model
        x, y, heading = base
        cos, sin = math.cos(heading), math.sin(heading)
        mount = math.radians(model.mount_heading_deg)
        ahead = velocity.linear - velocity.angular * model.mount_y_m
        left = velocity.angular * model.mount_x_m
        motion = SensorMotion(
            ahead * math.cos(mount) + left * math.sin(mount),
            left * math.cos(mount) - ahead * math.sin(mount),
            velocity.angular,
        )
        cast = self._caster.cast(
            x + cos * model.mount_x_m - sin * model.mount_y_m,
            y + sin * model.mount_x_m + cos * model.mount_y_m,
            heading + mount,
            motion,
            circles,
        )
        true = cast.ranges
        ranges = true + model.range_bias_m + model.range_sigma_m * self._chance.standard_normal(STEPS)
        echo = self._reflectivity[cast.hits] * cast.incidence * _WHITE_REACH_M**2
        codes = np.zeros(STEPS, dtype=np.uint8)
        codes[echo < true * true] = _TOO_WEAK
        codes[ranges < _NEAREST_M] = _TOO_NEAR
        codes[(cast.hits == NOTHING) | (true > _FARTHEST_M)] = _NO_ECHO
        codes[self._chance.random(STEPS) < model.dropout_ratio] = _DISTURBED
        if model.covered_deg is not None:
            first, last = np.radians(model.covered_deg)
            codes[(first <= ANGLES) & (last >= ANGLES)] = _TOO_NEAR
        ranges[codes != 0] = np.nan
        return ranges, codes
