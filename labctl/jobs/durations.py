"""Lengths of time as people write them: `90`, `"90s"`, `"5m"`, `"1h30m"`, `"250ms"`; kept as seconds."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_NUMBER = re.compile(r"\d{1,12}(?:\.\d{1,6})?")
_PART = re.compile(r"(\d{1,12}(?:\.\d{1,6})?)(ms|s|m|h|d)")


def seconds(value: Any) -> Any:
    """A text such as "5m" as seconds; anything but a text is returned as it is. Raises ValueError."""
    if not isinstance(value, str):
        return value
    text = value.strip().replace(" ", "")
    if _NUMBER.fullmatch(text):
        return float(text)
    parts = _PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError('is no length of time: write seconds as a number, or like "90s", "5m", "1h30m", "250ms"')
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


def worded(length_s: float) -> str:
    """Seconds as people read them: "0.5 s", "90 s", "5 min"."""
    if length_s >= 60 and length_s % 60 == 0:
        return f"{length_s / 60:g} min"
    return f"{length_s:g} s"


Duration = Annotated[float, BeforeValidator(seconds), Field(gt=0, le=7 * 24 * 3600)]
