"""Why a score is what it is: one named cause with its time, its value and a sentence."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class ReasonKind(StrEnum):
    """What can be wrong with a recording."""

    SILENCE = "silence"
    OTHER_SPEECH = "other speech"
    MUTE = "mute"
    GAPS = "gaps"
    DISTORTION = "distortion"
    BANDWIDTH = "bandwidth"
    NOISE = "noise"
    CLIPPING = "clipping"
    LEVEL = "level"
    DELAY = "delay"


@dataclass(frozen=True, slots=True)
class Reason:
    """One cause, from `start_s` to `end_s` of the reference, with a value in `unit` and a sentence for a person."""

    kind: ReasonKind
    start_s: float
    end_s: float
    value: float
    unit: str
    text: str
