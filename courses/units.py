"""Numbers with a unit in course files: out-of-range values are refused with a guess at the unit that was meant."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from pydantic import AfterValidator, Field


def suggestion(value: float, low: float, high: float, factors: tuple[float, ...]) -> str:
    """ "; did you mean ...?" when `value` divided by one of `factors` lies in `low` .. `high`, otherwise nothing."""
    for factor in factors:
        if low < abs(value) / factor <= high:
            return f"; did you mean {value / factor:g}?"
    return ""


def within(
    unit: str, low: float, high: float, plausible: tuple[float, float] | None = None, factors: tuple[float, ...] = ()
) -> Callable[[float], float]:
    """A validator of `low` .. `high`; `plausible` is where a value in a smaller unit (by `factors`) usually lies."""
    likely = plausible or (low, high)

    def check(value: float) -> float:
        if not low <= value <= high:
            guess = suggestion(value, *likely, factors)
            raise ValueError(f"{value:g} {unit} is outside {low:g} .. {high:g} {unit}{guess}")
        return value

    return check


_Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
_FROM_MM_OR_CM = (1000.0, 100.0)

Coordinate = Annotated[_Number, AfterValidator(within("metres", -200, 200, (0.05, 50), _FROM_MM_OR_CM))]
ShortDistance = Annotated[_Number, AfterValidator(within("metres", 0.001, 2, (0.001, 2), _FROM_MM_OR_CM))]
Heading = Annotated[_Number, AfterValidator(within("degrees", -360, 360))]
HeadingMargin = Annotated[_Number, AfterValidator(within("degrees", 0.05, 90))]
Speed = Annotated[_Number, AfterValidator(within("m/s", 0.02, 1.5, (0.02, 1.5), _FROM_MM_OR_CM))]
Duration = Annotated[_Number, AfterValidator(within("seconds", 0, 600, (0, 600), (1000.0,)))]
