"""Finds the adapters that people name: `pesq`, `pesq:nb`, `visqol`, `polqa:FILE`."""

from __future__ import annotations

from collections.abc import Iterable

from audio.adapters.other import OtherScorer
from audio.adapters.pesq import Pesq
from audio.adapters.polqa import Polqa, PolqaSettings
from audio.adapters.visqol import Visqol
from drivers import documents

CHOICES = "pesq (wide-band), pesq:nb, visqol or polqa:FILE.yaml"


def scorers(names: Iterable[str]) -> tuple[OtherScorer, ...]:
    """The adapters named, in order, each once.

    Raises ValueError for a name that is none or that two of them share, DocumentError (one too) for settings that
    cannot be used, and OtherScoreError when a package is missing.
    """
    found = tuple(_scorer(name) for name in dict.fromkeys(names))
    called = [each.name for each in found]
    if twice := next((name for name in called if called.count(name) > 1), None):
        raise ValueError(f"{twice} is asked for twice; give one of them another name in its settings")
    return found


def _scorer(choice: str) -> OtherScorer:
    kind, _, argument = choice.partition(":")
    match kind, argument:
        case "pesq", "" | "wb":
            return Pesq("wb")
        case "pesq", "nb":
            return Pesq("nb")
        case "visqol", "":
            return Visqol()
        case "polqa", path if path:
            return Polqa(documents.load(path, PolqaSettings))
    raise ValueError(f"{choice!r} is none of {CHOICES}")
