"""Measurements as what JSON has."""

from __future__ import annotations

import dataclasses
import math
from enum import Enum
from typing import Any

import numpy as np


def finite(value: float | None) -> float | None:
    """The value, or None for what is no finite number."""
    return None if value is None or not math.isfinite(value) else float(value)


def figure(value: float) -> str:
    """A measured value for people: four figures, all those before the point, and no sign on a zero."""
    text = f"{value:.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return "0" if text == "-0" else text


def plain(value: Any) -> Any:
    """Dataclasses, tuples and enumerations as what JSON has; what is not finite becomes null."""
    match value:
        case None | bool() | str():
            return str(value.value) if isinstance(value, Enum) else value
        case int() | np.integer():
            return int(value)
        case float() | np.floating():
            return finite(round(float(value), 6))
        case dict():
            return {key: plain(each) for key, each in value.items()}
        case tuple() | list():
            return [plain(each) for each in value]
    if dataclasses.is_dataclass(value):
        return {each.name: plain(getattr(value, each.name)) for each in dataclasses.fields(value)}
    raise TypeError(f"{type(value).__name__} has no form in JSON")
