"""Mock microphones and speakers for lab devices: on pulse servers, on sound cards, and over a command line."""

from drivers.sound.comparison import LoopCheck, Match, match, probe
from drivers.sound.pulse import PulseMicrophone, PulseServer, PulseSpeaker, VirtualPair
from drivers.sound.types import Capture, DropOut, DropOutKind, Playback, Samples, as_samples

__all__ = [
    "Capture",
    "DropOut",
    "DropOutKind",
    "LoopCheck",
    "Match",
    "Playback",
    "PulseMicrophone",
    "PulseServer",
    "PulseSpeaker",
    "Samples",
    "VirtualPair",
    "as_samples",
    "match",
    "probe",
]
