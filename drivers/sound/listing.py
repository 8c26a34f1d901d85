"""Lists the sound devices of this machine: those of the pulse server and those that PortAudio sees."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import Any

from drivers.errors import DeviceError
from drivers.sound import portaudio
from drivers.sound.pulse import control


@dataclass(frozen=True, slots=True)
class SoundDevice:
    """One device. `system`: "pulse" or "portaudio"; a device with `inputs` can be recorded, with `outputs` played into.

    `monitor`: a pulse source that gives what is played into a sink. `state`: what pulse says, else "".
    """

    system: str
    name: str
    description: str
    inputs: int
    outputs: int
    sample_rate: int
    monitor: bool = False
    state: str = ""


@dataclass(frozen=True, slots=True)
class SoundDevices:
    """What was found, and for each sound system that could not be asked: why and what to do."""

    devices: tuple[SoundDevice, ...]
    problems: tuple[str, ...]


def devices(server: str | None = None) -> SoundDevices:
    """The devices of the pulse server at `server` (the user's own unless given) and of PortAudio."""
    found: list[SoundDevice] = []
    problems: list[str] = []
    address = server or os.environ.get("PULSE_SERVER") or _own_server()
    for kind in ("sinks", "sources"):
        try:
            found += [_of_pulse(entry, kind) for entry in json.loads(control(address, "--format=json", "list", kind))]
        except DeviceError as exc:
            problems.append(str(exc))
            break
    try:
        found += [_of_portaudio(entry) for entry in portaudio.library().query_devices()]
    except DeviceError as exc:
        problems.append(str(exc))
    return SoundDevices(tuple(found), tuple(problems))


def _own_server() -> str:
    """Where PulseAudio and PipeWire put their socket for this user."""
    return f"unix:{os.environ.get('XDG_RUNTIME_DIR', f'/run/user/{os.getuid()}')}/pulse/native"


def _of_pulse(entry: dict[str, Any], kind: str) -> SoundDevice:
    # "float32le 1ch 48000Hz"
    _, channels, rate = str(entry["sample_specification"]).split()
    count = int(channels.removesuffix("ch"))
    return SoundDevice(
        system="pulse",
        name=str(entry["name"]),
        description=str(entry.get("description", "")),
        inputs=count if kind == "sources" else 0,
        outputs=count if kind == "sinks" else 0,
        sample_rate=int(rate.removesuffix("Hz")),
        monitor=kind == "sources" and entry.get("monitor_source", "") not in ("", "n/a"),
        state=str(entry.get("state", "")).lower(),
    )


def _of_portaudio(entry: dict[str, Any]) -> SoundDevice:
    return SoundDevice(
        system="portaudio",
        name=str(entry["name"]),
        description=str(entry["name"]),
        inputs=int(entry["max_input_channels"]),
        outputs=int(entry["max_output_channels"]),
        sample_rate=int(entry["default_samplerate"]),
    )
