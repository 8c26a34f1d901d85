"""Tells whether the far end could hear: alignment, level, presence, and a score that can gate a build.

Everything heavy is imported on first use, so that programs which only name the library start fast.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from audio.errors import AudioError, AudioFileError, SignalError

if TYPE_CHECKING:
    from audio import reference
    from audio.align import Alignment
    from audio.analysis import Analysis, analyse
    from audio.files import read_audio, write_audio
    from audio.judging import Judgement, judge
    from audio.level import ActiveLevel, active_speech_level
    from audio.mos import PerceptualScore, perceptual
    from audio.recording import Recording
    from audio.report import write_report
    from audio.scoring import AudioScore, Pair, pair_up, score
    from audio.thresholds import Thresholds

_HOMES = {
    "ActiveLevel": "level",
    "Alignment": "align",
    "Analysis": "analysis",
    "AudioScore": "scoring",
    "Judgement": "judging",
    "Pair": "scoring",
    "PerceptualScore": "mos",
    "Recording": "recording",
    "Thresholds": "thresholds",
    "active_speech_level": "level",
    "analyse": "analysis",
    "judge": "judging",
    "pair_up": "scoring",
    "perceptual": "mos",
    "read_audio": "files",
    "score": "scoring",
    "write_audio": "files",
    "write_report": "report",
}

__all__ = [
    "ActiveLevel",
    "Alignment",
    "Analysis",
    "AudioError",
    "AudioFileError",
    "AudioScore",
    "Judgement",
    "Pair",
    "PerceptualScore",
    "Recording",
    "SignalError",
    "Thresholds",
    "active_speech_level",
    "analyse",
    "judge",
    "pair_up",
    "perceptual",
    "read_audio",
    "reference",
    "score",
    "write_audio",
    "write_report",
]


def __getattr__(name: str) -> Any:
    if name == "reference":
        return importlib.import_module("audio.reference")
    if name not in _HOMES:
        raise AttributeError(f"module 'audio' has no attribute {name!r}")
    return getattr(importlib.import_module(f"audio.{_HOMES[name]}"), name)
