"""The `lab:` capabilities: what a client asks of the lab itself."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from devices.healing import THRESHOLD, HealingMode
from devices.webdriver import WebDriverError

PREFIX = "lab:"
_MEMORY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")  # it becomes the name of a file
_LONGEST_S = 24 * 3600.0
_SLIP = 0.85  # how alike names are that one may be taken for the other


@dataclass(frozen=True, slots=True)
class RecordOptions:
    """What is recorded. `film_per_s`: pictures a second of the film strip, 0 without one.

    `mask`: typed text, and what is read back from a field's value, is left out of the command log.
    """

    commands: bool = True
    screenshots: bool = True
    console: bool = False
    film_per_s: float = 0.0
    mask: bool = False


@dataclass(frozen=True, slots=True)
class HealingOptions:
    """Whether locators that find nothing any more are healed. `threshold`: the confidence from which on they are.

    `memory`: the name under which it is remembered what locators found, for the next session that says it.
    """

    mode: HealingMode = HealingMode.OFF
    threshold: float = THRESHOLD
    memory: str | None = None


NOTHING = RecordOptions(commands=False, screenshots=False)


@dataclass(frozen=True, slots=True)
class LabOptions:
    """`lab:device`, `lab:labels`, `lab:lease`, `lab:job`, `lab:record`, `lab:idleTimeout`, `lab:queueTimeout` and
    `lab:healing`.

    None: the lab's own default. `asked`: these capabilities as the client said them.
    """

    device: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    lease: str | None = None
    job: str | None = None
    record: RecordOptions | None = None
    idle_timeout_s: float | None = None
    queue_timeout_s: float | None = None
    healing: HealingOptions = HealingOptions()
    asked: Mapping[str, Any] = field(default_factory=dict, compare=False)


def split(capabilities: Mapping[str, Any]) -> tuple[dict[str, Any], LabOptions]:
    """Capabilities without those that are for the lab, and these as options.

    Others with `lab:` are for the target: the lab's own desktop driver has some. Raises WebDriverError "invalid
    argument", also for what is most likely a slip of the pen.
    """
    rest: dict[str, Any] = {}
    options = LabOptions()
    for name, value in capabilities.items():
        if name in _PARSERS:
            attribute, parse = _PARSERS[name]
            options = replace(options, asked={**options.asked, name: value}, **{attribute: parse(name, value)})
            continue
        if name.startswith(PREFIX) and (close := difflib.get_close_matches(name, _PARSERS, n=1, cutoff=_SLIP)):
            raise _invalid(name, f"is not known; did you mean {close[0]}?")
        rest[name] = value
    if options.lease is not None and options.job is not None:
        raise _invalid("lab:lease", "goes without lab:job: a job's run has a lease of its own")
    return rest, options


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str) or not 1 <= len(value) <= 200:
        raise _invalid(name, "must be a text of 1 to 200 characters")
    return value


def _labels(name: str, value: Any) -> dict[str, str]:
    if not isinstance(value, dict) or not all(isinstance(each, str) for each in value.values()):
        raise _invalid(name, 'must be an object of texts, such as {"room": "hall"}')
    return dict(value)


def _seconds(name: str, value: Any) -> float:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or not 0 < value <= _LONGEST_S:
        raise _invalid(name, f"must be a number of seconds above 0, at most {_LONGEST_S:g}")
    return float(value)


def _record(name: str, value: Any) -> RecordOptions:
    if isinstance(value, bool):
        return RecordOptions() if value else NOTHING
    if not isinstance(value, dict):
        raise _invalid(name, "must be true, false or an object")
    options = RecordOptions()
    for key, wanted in value.items():
        if key == "film":
            if isinstance(wanted, bool):
                rate = 1.0 if wanted else 0.0
            elif isinstance(wanted, int | float) and 0 <= wanted <= 10:
                rate = float(wanted)
            else:
                raise _invalid(f"{name}.film", "must be true, false or pictures a second, at most 10")
            options = replace(options, film_per_s=rate)
        elif key in ("commands", "screenshots", "console", "mask"):
            if not isinstance(wanted, bool):
                raise _invalid(f"{name}.{key}", "must be true or false")
            options = replace(options, **{key: wanted})
        else:
            raise _invalid(f"{name}.{key}", "is not known; known are commands, screenshots, console, film, mask")
    return options


def _healing(name: str, value: Any) -> HealingOptions:
    modes = ", ".join(HealingMode)
    wanted = {"mode": value} if isinstance(value, str) else value
    if (
        not isinstance(wanted, dict)
        or wanted.keys() - {"mode", "threshold", "memory"}
        or wanted.get("mode") not in list(HealingMode)
    ):
        raise _invalid(
            name, f'must be one of {modes}, or {{"mode": ..., "threshold": 0.9, "memory": "name of a suite"}}'
        )
    threshold = wanted.get("threshold", THRESHOLD)
    if isinstance(threshold, bool) or not isinstance(threshold, int | float) or not 0.5 <= threshold <= 1:
        raise _invalid(f"{name}.threshold", "must be a number between 0.5 and 1")
    memory = wanted.get("memory")
    if memory is not None and (not isinstance(memory, str) or not _MEMORY.fullmatch(memory)):
        raise _invalid(f"{name}.memory", "must be a name of up to 100 letters, digits, dots, hyphens and underscores")
    return HealingOptions(HealingMode(wanted["mode"]), float(threshold), memory)


def _invalid(name: str, what: str) -> WebDriverError:
    return WebDriverError("invalid argument", f"{name} {what}")


_PARSERS: dict[str, tuple[str, Any]] = {
    "lab:device": ("device", _text),
    "lab:labels": ("labels", _labels),
    "lab:lease": ("lease", _text),
    "lab:job": ("job", _text),
    "lab:record": ("record", _record),
    "lab:idleTimeout": ("idle_timeout_s", _seconds),
    "lab:queueTimeout": ("queue_timeout_s", _seconds),
    "lab:healing": ("healing", _healing),
}
