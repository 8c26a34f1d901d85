"""How far a base's pose moves when the LiDAR's ranges are biased or a wall was surveyed wrongly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from courses.localization import Match
from drivers.types import Array, Pose


@dataclass(frozen=True, slots=True, eq=False)
class MapSensitivity:
    """First-order shifts of a fitted pose (x, y, heading in the map frame).

    `range_bias`: (3,) per metre by which all ranges are too long. `survey`: (3, 2 S) per metre by which the first and
    the second end of each of the S walls really stand off the map along the wall's normal.
    """

    range_bias: Array
    survey: Array

    def __post_init__(self) -> None:
        if self.range_bias.shape != (3,) or self.survey.ndim != 2 or self.survey.shape[0] != 3:
            raise ValueError(f"map sensitivities have shapes {self.range_bias.shape}, {self.survey.shape}")

    @classmethod
    def of_base(cls, match: Match, base: Pose) -> Self:
        """The sensitivities of a sensor's fit, for the base that carries it: turning the sensor swings the base."""
        swing = np.eye(3)
        swing[0, 2] = -(base.y - match.pose.y)
        swing[1, 2] = base.x - match.pose.x
        return cls(swing @ match.range_bias_sensitivity, swing @ match.survey_sensitivity)
