"""What can be wrong with audio that is to be analysed; each message says what came in and what to give instead."""

from __future__ import annotations


class AudioError(ValueError):
    """Audio that cannot be analysed: the fault is in the input, not in the lab."""


class SignalError(AudioError):
    """A signal of the wrong shape, type, rate or length, or with samples that are not numbers."""


class AudioFileError(AudioError):
    """A file that is no audio, is damaged, or is outside the limits that the reader was given."""
