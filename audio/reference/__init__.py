"""The standard references: `load(name)`, `names()`, `voices()`, and any other signal by `signals`."""

from audio.reference import signals
from audio.reference.library import VoiceEntry, describe, load, names, voices

__all__ = ["VoiceEntry", "describe", "load", "names", "signals", "voices"]
