"""Mock microphones and speakers for lab devices: on pulse servers, on sound cards, and over a command line."""

from drivers.sound.command import (
    CommandMicrophone,
    CommandSpeaker,
    Program,
    RemoteCommand,
    SoundHost,
    over_ssh,
    run_here,
)
from drivers.sound.comparison import LoopCheck, Match, match, probe
from drivers.sound.listing import SoundDevice, SoundDevices, devices
from drivers.sound.portaudio import PortAudioMicrophone, PortAudioSpeaker
from drivers.sound.pulse import PulseMicrophone, PulseServer, PulseSpeaker, VirtualPair
from drivers.sound.types import Capture, DropOut, DropOutKind, Playback, Samples, as_samples

__all__ = [
    "Capture",
    "CommandMicrophone",
    "CommandSpeaker",
    "DropOut",
    "DropOutKind",
    "LoopCheck",
    "Match",
    "Playback",
    "PortAudioMicrophone",
    "PortAudioSpeaker",
    "Program",
    "PulseMicrophone",
    "PulseServer",
    "PulseSpeaker",
    "RemoteCommand",
    "Samples",
    "SoundDevice",
    "SoundDevices",
    "SoundHost",
    "VirtualPair",
    "as_samples",
    "devices",
    "match",
    "over_ssh",
    "probe",
    "run_here",
]
