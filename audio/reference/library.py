"""The packaged references: four voices and five test signals, by name."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources

from audio.errors import AudioError
from audio.files import read_audio
from audio.recording import Array, Recording
from audio.reference import signals

RATE = 48_000
SIGNAL_S = 10.0

_SIGNALS: dict[str, tuple[str, Callable[[], Array]]] = {
    "tone_500": ("sine of 500 Hz", lambda: signals.tone(500, SIGNAL_S, RATE)),
    "tone_1000": ("sine of 1 kHz", lambda: signals.tone(1000, SIGNAL_S, RATE)),
    "sweep": ("sine from 50 Hz to 20 kHz", lambda: signals.sweep(SIGNAL_S, RATE)),
    "noise": ("white noise", lambda: signals.noise(SIGNAL_S, RATE)),
    "silence": ("digital silence", lambda: signals.silence(SIGNAL_S, RATE)),
}


@dataclass(frozen=True, slots=True)
class VoiceEntry:
    """What the catalogue says about a voice. Levels in dBov; `activity_ratio` 0..1, both after P.56."""

    name: str
    file: str
    talker: str
    engine: str
    sample_rate: int
    samples: int
    duration_s: float
    active_level_dbov: float
    activity_ratio: float
    sha256_of_samples: str
    sentences: tuple[str, ...]


@functools.cache
def voices() -> tuple[VoiceEntry, ...]:
    """The four standard voices, two female and two male."""
    text = resources.files("audio.reference").joinpath("catalogue.json").read_text(encoding="utf-8")
    return tuple(
        VoiceEntry(**{**entry, "sentences": tuple(entry["sentences"])}) for entry in json.loads(text)["voices"]
    )


def names() -> tuple[str, ...]:
    """Everything that `load` knows."""
    return (*(voice.name for voice in voices()), *_SIGNALS)


def describe(name: str) -> str:
    """One line for a person."""
    for voice in voices():
        if voice.name == name:
            return voice.talker
    return _SIGNALS[name][0]


def load(name: str) -> Recording:
    """The reference called `name`, one channel at 48 kHz; speech and tones have an active level of -26 dBov.

    Raises AudioError for a name that is not in `names()`.
    """
    for voice in voices():
        if voice.name == name:
            with resources.as_file(resources.files("audio.reference").joinpath(voice.file)) as path:
                recording = read_audio(path)
            return Recording(recording.samples, recording.sample_rate, name)
    if name in _SIGNALS:
        return Recording(_SIGNALS[name][1](), RATE, name)
    raise AudioError(f"no reference is called {name!r}; there are {', '.join(names())}")
