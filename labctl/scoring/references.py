"""The names of the references that ship with the program, read without anything that computes."""

from __future__ import annotations

import functools
import json
from importlib import resources

_SIGNALS = ("tone_500", "tone_1000", "sweep", "noise", "silence")


@functools.cache
def reference_names() -> tuple[str, ...]:
    """Everything that `audio.reference.load` knows."""
    text = resources.files("audio").joinpath("reference", "catalogue.json").read_text(encoding="utf-8")
    return (*(voice["name"] for voice in json.loads(text)["voices"]), *_SIGNALS)


def reference_speaks(name: str) -> bool:
    """Whether it can be scored against: anything but silence."""
    return name != "silence"
