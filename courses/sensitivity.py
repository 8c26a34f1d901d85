"""How far a pose fitted to a room map moves when the LiDAR's ranges are biased or a wall was surveyed wrongly."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from drivers.types import Array, Pose


@dataclass(frozen=True, slots=True, eq=False)
class MapSensitivity:
    """First-order shifts of a fitted pose (x, y, heading in the map frame).

    `range_bias`: (3,) per metre by which all ranges are too long. `survey`: (3, 2 S) per metre by which the first and
    the second end of each of the S walls stand off along the wall's normal.
    """

    range_bias: Array
    survey: Array

    def __post_init__(self) -> None:
        if self.range_bias.shape != (3,) or self.survey.ndim != 2 or self.survey.shape[0] != 3:
            raise ValueError(f"map sensitivities have shapes {self.range_bias.shape}, {self.survey.shape}")


def map_sensitivity(points: Array, mount: Pose, pose: Pose, segments: Array, gate_m: float = 0.15) -> MapSensitivity:
    """Sensitivities of the point-to-line fit of one scan to a room.

    `points`: (N, 2) valid beam ends in the sensor's frame, metres. `mount`: the sensor in the base frame. `pose`: the
    fitted pose of the base in the map. `segments`: (S, 2, 2) walls. Points further than `gate_m` from every wall are
    left out, as the robust fit leaves them out.
    Raises ValueError when the points left do not fix a pose.
    """
    direction = points / np.maximum(np.linalg.norm(points, axis=1, keepdims=True), 1e-9)
    sensor = pose.compose(mount)
    c, s = math.cos(sensor.heading), math.sin(sensor.heading)
    rotation = np.array([[c, -s], [s, c]])
    world = points @ rotation.T + (sensor.x, sensor.y)
    beam = direction @ rotation.T

    start, span = segments[:, 0], segments[:, 1] - segments[:, 0]
    length = np.linalg.norm(span, axis=1)
    relative = world[:, None, :] - start[None]
    share = np.clip(np.einsum("nsk,sk->ns", relative, span) / np.maximum(length**2, 1e-12), 0.0, 1.0)
    distance = np.linalg.norm(relative - share[..., None] * span[None], axis=2)
    wall = distance.argmin(axis=1)
    index = np.arange(len(points))
    kept = distance[index, wall] < gate_m
    wall, share_kept, world, beam = wall[kept], share[index, wall][kept], world[kept], beam[kept]

    normal = np.column_stack((-span[wall, 1], span[wall, 0])) / length[wall, None]
    lever = world - (pose.x, pose.y)
    turning = normal[:, 1] * lever[:, 0] - normal[:, 0] * lever[:, 1]
    jacobian = np.column_stack((normal, turning))
    information = jacobian.T @ jacobian
    if len(jacobian) < 3 or np.linalg.cond(information) > 1e9:
        raise ValueError(f"{len(jacobian)} beams on known walls do not fix a pose")
    solve = np.linalg.solve(information, jacobian.T)
    survey = np.zeros((3, 2 * len(segments)))
    np.add.at(survey.T, 2 * wall, (solve * (1 - share_kept)).T)
    np.add.at(survey.T, 2 * wall + 1, (solve * share_kept).T)
    return MapSensitivity(-solve @ np.einsum("nk,nk->n", normal, beam), survey)
