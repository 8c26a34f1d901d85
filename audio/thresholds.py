"""Limits for a score: what a build is gated on. Light to import, for programs that only hand limits on."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

Hertz = Annotated[float, Field(gt=10, lt=24_000)]
Ratio = Annotated[float, Field(ge=0, le=1)]


class OtherLimits(BaseModel):
    """What the score of another program must keep."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    min: float | None = None
    max: float | None = None

    @model_validator(mode="after")
    def _some_and_ordered(self) -> OtherLimits:
        if self.min is None and self.max is None:
            raise ValueError("give min, max or both")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min ({self.min:g}) must not be above max ({self.max:g})")
        return self


class Thresholds(BaseModel):
    """What a recording must keep to pass; what is left out is measured and not judged.

    `present_hz`: tones that must be there, each found within `tone_tolerance` (a share of its frequency).
    `others`: limits for other programs' scores by their names, such as `pesq_wb`; they must have been asked.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    min_mos: Annotated[float, Field(ge=1, le=5)] | None = None
    max_delay_ms: Annotated[float, Field(gt=0)] | None = None
    max_drift_ppm: Annotated[float, Field(ge=0)] | None = None
    min_coverage: Ratio | None = None
    min_active_speech_ratio: Ratio | None = None
    min_active_speech_level_dbov: Annotated[float, Field(ge=-120, le=0)] | None = None
    max_active_speech_level_dbov: Annotated[float, Field(ge=-120, le=0)] | None = None
    min_bandwidth_hz: Annotated[float, Field(gt=0)] | None = None
    max_clipped_ratio: Ratio | None = None
    max_dropouts: Annotated[int, Field(ge=0)] | None = None
    min_echo_return_loss_db: float | None = None
    present_hz: tuple[Hertz, ...] = ()
    tone_tolerance: Annotated[float, Field(gt=0, le=0.2)] = 0.01
    others: dict[str, OtherLimits] = {}

    @model_validator(mode="after")
    def _ordered(self) -> Thresholds:
        low, high = self.min_active_speech_level_dbov, self.max_active_speech_level_dbov
        if low is not None and high is not None and low >= high:
            raise ValueError(
                f"min_active_speech_level_dbov ({low}) must be below max_active_speech_level_dbov ({high})"
            )
        return self
