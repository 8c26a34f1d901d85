"""What the processes of the audio service give back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Refused:
    """Why a file or a pair cannot be used."""

    reason: str


@dataclass(frozen=True, slots=True)
class Scored:
    """What became of a pair: `measurements` with name, value, unit, low, high and verdict; `result` all there is."""

    passed: bool
    reason: str
    measurements: tuple[dict[str, Any], ...]
    result: dict[str, Any]
    report: bool
