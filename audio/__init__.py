"""Tells whether the far end could hear: alignment, level, presence, and a score that can gate a build."""

from audio.errors import AudioError, AudioFileError, SignalError
from audio.files import read_audio
from audio.recording import Recording

__all__ = ["AudioError", "AudioFileError", "Recording", "SignalError", "read_audio"]
