"""The calibration of one robot: what a verdict needs to know of it, kept in a YAML file."""

from __future__ import annotations

import datetime
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from courses.consistency import CommonErrors
from courses.odometry import SlipModel
from drivers import documents
from drivers.types import Array, BaseGeometry, Pose


@dataclass(frozen=True, slots=True, eq=False)
class Calibration:
    """What calibration runs found out about a robot.

    `geometry`: calibrated, and `scale_covariance` (3, 3) the covariance of the relative errors it is left with (left
    wheel, right wheel, wheel base). `mount`: the LiDAR in the base frame, its `covariance` (m, m, rad) that of the
    calibration. `range_bias_sigma_m`, `survey_sigma_m`: standard uncertainties of the LiDAR's ranges (common to all)
    and of the surveyed ends of the walls.
    """

    robot: str
    date: datetime.date
    slip: SlipModel
    geometry: BaseGeometry
    scale_covariance: Array
    mount: Pose
    range_bias_sigma_m: float
    survey_sigma_m: float

    @property
    def common_errors(self) -> CommonErrors:
        """The part that all legs of a course share."""
        return CommonErrors(
            self.mount, self.mount.covariance, self.scale_covariance, self.range_bias_sigma_m, self.survey_sigma_m
        )

    @classmethod
    def load(cls, path: str | Path) -> Calibration:
        """Read a calibration file. Raises drivers.documents.DocumentError with file:line:column."""
        return _CalibrationDocument.read(documents.read(path))

    @classmethod
    def parse(cls, text: str, source: str = "<text>") -> Calibration:
        """The same from text."""
        return _CalibrationDocument.read(documents.parse(text, source))

    def to_yaml(self) -> str:
        """The calibration as `parse` reads it, without loss."""
        slip, geometry = self.slip, self.geometry
        value = {
            "robot": self.robot,
            "date": self.date.isoformat(),
            "slip": {
                "variance_m2_per_m": slip.variance_per_metre,
                "interval_m2_per_m": list(slip.interval),
                "degrees_of_freedom": slip.degrees_of_freedom,
                "runs": slip.runs,
            },
            "wheels": {
                "left_metres_per_tick": geometry.left_metres_per_tick,
                "right_metres_per_tick": geometry.right_metres_per_tick,
                "wheel_base_m": geometry.wheel_base_m,
                "relative_covariance": self.scale_covariance.tolist(),
            },
            "lidar": {
                "x_m": self.mount.x,
                "y_m": self.mount.y,
                "yaw_rad": self.mount.heading,
                "covariance": self.mount.covariance.tolist(),
                "range_bias_sigma_m": self.range_bias_sigma_m,
            },
            "survey_sigma_m": self.survey_sigma_m,
        }
        return yaml.safe_dump(value, sort_keys=False, default_flow_style=None)

    def save(self, path: str | Path) -> None:
        """Write the file whole or not at all."""
        path = Path(path)
        partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
        partial.write_text(self.to_yaml(), encoding="utf-8")
        partial.replace(path)


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise ValueError("must be a finite number")
    return value


Finite = Annotated[float, AfterValidator(_finite)]
Row = tuple[Finite, Finite, Finite]


def _covariance(rows: tuple[Row, Row, Row]) -> tuple[Row, Row, Row]:
    matrix = np.array(rows)
    scale = np.sqrt(np.abs(np.diag(matrix)))
    if not np.allclose(matrix, matrix.T, rtol=1e-6, atol=1e-18):
        raise ValueError("a covariance must be symmetric")
    correlation = matrix / np.maximum(np.outer(scale, scale), 1e-300)
    if (np.diag(matrix) < 0).any() or np.linalg.eigvalsh(correlation).min() < -1e-6:
        raise ValueError("a covariance must not have negative eigenvalues")
    return rows


Covariance = Annotated[tuple[Row, Row, Row], AfterValidator(_covariance)]
Sigma = Annotated[float, Field(ge=0, le=1)]
Tick = Annotated[float, Field(gt=0, lt=0.1)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Slip(_Part):
    variance_m2_per_m: float = Field(ge=0, lt=1)
    interval_m2_per_m: tuple[Finite, Finite]
    degrees_of_freedom: float = Field(ge=1)
    runs: int = Field(ge=0)


class _Wheels(_Part):
    left_metres_per_tick: Tick
    right_metres_per_tick: Tick
    wheel_base_m: float = Field(gt=0.02, lt=3)
    relative_covariance: Covariance


class _Lidar(_Part):
    x_m: float = Field(ge=-2, le=2)
    y_m: float = Field(ge=-2, le=2)
    yaw_rad: float = Field(ge=-math.pi, le=math.pi)
    covariance: Covariance
    range_bias_sigma_m: Sigma = 0.0


class _CalibrationDocument(_Part):
    """A calibration file as it is written."""

    robot: str = Field(min_length=1)
    date: datetime.date
    slip: _Slip
    wheels: _Wheels
    lidar: _Lidar
    survey_sigma_m: Sigma = 0.0

    @classmethod
    def read(cls, document: documents.Document) -> Calibration:
        """The calibration that a document holds."""
        read = documents.validate(document, cls)
        try:
            slip = SlipModel(
                read.slip.variance_m2_per_m, read.slip.degrees_of_freedom, read.slip.interval_m2_per_m, read.slip.runs
            )
        except ValueError as exc:
            raise document.error(("slip",), str(exc)) from None
        wheels, lidar = read.wheels, read.lidar
        return Calibration(
            robot=read.robot,
            date=read.date,
            slip=slip,
            geometry=BaseGeometry(wheels.left_metres_per_tick, wheels.right_metres_per_tick, wheels.wheel_base_m),
            scale_covariance=np.array(wheels.relative_covariance),
            mount=Pose(lidar.x_m, lidar.y_m, lidar.yaw_rad, np.array(lidar.covariance), "base"),
            range_bias_sigma_m=lidar.range_bias_sigma_m,
            survey_sigma_m=read.survey_sigma_m,
        )
