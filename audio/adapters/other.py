"""What a score of another program is, and what an adapter to such a program does."""

from __future__ import annotations

import importlib
import importlib.metadata
from dataclasses import dataclass
from types import ModuleType
from typing import Protocol

from audio.recording import Array


class OtherScoreError(RuntimeError):
    """Another program could not be asked, or gave no usable answer: the fault is the lab's, not the recording's."""


@dataclass(frozen=True, slots=True)
class OtherScore:
    """What another program says about a pair; never part of our own MOS.

    `name`: what limits call it by. `value`: None where the program's method gives no value, as PESQ for silence.
    `scale`: least and greatest value that the program can give. `version`: of the program, as far as it is known.
    """

    name: str
    value: float | None
    scale: tuple[float, float]
    version: str


class OtherScorer(Protocol):
    """Asks another program."""

    @property
    def name(self) -> str:
        """What its score is called."""
        ...

    def score(self, reference: Array, degraded: Array, sample_rate: int) -> OtherScore:
        """Compares `degraded`, (M,), with `reference`, (N,), both in [-1, 1] at `sample_rate` hertz.

        Raises OtherScoreError when the program cannot be asked or its answer cannot be used.
        """
        ...


def required(module: str, package: str, what: str, extra: str, hint: str = "") -> tuple[ModuleType, str]:
    """An optional package and its version. Raises OtherScoreError that says which extra to install."""
    try:
        return importlib.import_module(module), importlib.metadata.version(package)
    except ImportError as exc:
        missing = f"{what} is not installed here ({exc}): pip install 'labctl[{extra}]'"
        raise OtherScoreError(missing + (f"; {hint}" if hint else "")) from None
