"""What the processes of the audio service do with an upload: read it to its end, within a time.

The daemon imports none of this: a file that breaks a decoder or exhausts memory costs one of those processes.
"""

from __future__ import annotations

import dataclasses
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from audio.errors import AudioError
from audio.files import inspect_audio
from labctl.scoring.outcome import Refused

_INSPECTED_WITHIN_S = 120


def inspect_file(path: str, name: str) -> dict[str, Any] | Refused:
    """Read a file to its end; what is known of it, or why it is refused."""
    try:
        with within(_INSPECTED_WITHIN_S):
            return dataclasses.asdict(inspect_audio(path))
    except (AudioError, TimeoutError, MemoryError) as exc:
        return Refused(worded(exc, {path: name}))


@contextmanager
def within(seconds: int) -> Iterator[None]:
    """Raise TimeoutError after so many seconds. Works in a process's main thread, where pools run their tasks."""

    def late(_signal: int, _frame: FrameType | None) -> None:
        raise TimeoutError(f"took longer than {seconds} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def worded(exc: BaseException, names: dict[str, str]) -> str:
    """The message of an error, with what people call the files in place of their paths."""
    text = str(exc) or type(exc).__name__
    for path, name in names.items():
        text = text.replace(path, name)
    return f"not enough memory: {text}" if isinstance(exc, MemoryError) else text
