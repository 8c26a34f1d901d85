"""The sound of a browser in the lab file: the microphone it hears, the speaker it plays into, and how it is told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from pydantic import model_validator

from labctl.config.audio import AudioConfig, PulseEndpoint, VirtualEndpoint
from labctl.config.model import DeviceConfig, Name, Section

# Browsers otherwise ask a person for the microphone, keep pages silent until somebody clicks, and hide the machine's
# addresses behind names that only multicast resolves. Chromium's sandbox for sound keeps it from the pulse server.
_CHROMIUM = (
    "--use-fake-ui-for-media-stream",
    "--autoplay-policy=no-user-gesture-required",
    "--disable-features=WebRtcHideLocalIpsWithMdns,AudioServiceSandbox",
    "--allow-loopback-in-peer-connection",
)
_FIREFOX = {
    "media.navigator.permission.disabled": True,
    "media.autoplay.default": 0,
    "media.autoplay.blocking_policy": 0,
    "media.peerconnection.ice.obfuscate_host_addresses": False,
    "media.peerconnection.ice.loopback": True,
}
DEFAULTS: Mapping[str, dict[str, Any]] = {
    "chromedriver": {"goog:chromeOptions": {"args": list(_CHROMIUM)}},
    "geckodriver": {"moz:firefoxOptions": {"prefs": dict(_FIREFOX)}},
}


class SoundSection(Section):
    """Audio endpoints of the lab file that a browser is on, `virtual` or `pulse`; one may be both.

    They are devices of their own: a job that speaks or listens has a role for each.
    """

    microphone: Name | None = None
    speaker: Name | None = None

    @model_validator(mode="after")
    def _names_one(self) -> Self:
        if self.microphone is None and self.speaker is None:
            raise ValueError("name a microphone, a speaker or both")
        return self

    @property
    def named(self) -> dict[str, str]:
        """The device at each end."""
        ends = {"microphone": self.microphone, "speaker": self.speaker}
        return {end: name for end, name in ends.items() if name is not None}

    def environment(self, devices: Mapping[str, DeviceConfig]) -> dict[str, str]:
        """What the browser needs in its environment. Raises DeviceError when a virtual endpoint cannot be made."""
        found: dict[str, str] = {}
        for end, name in self.named.items():
            endpoint = _endpoint(devices.get(name))
            if endpoint is not None:
                there = endpoint.client_environment()
                key = {"microphone": "PULSE_SOURCE", "speaker": "PULSE_SINK"}[end]
                found |= {"PULSE_SERVER": there["PULSE_SERVER"], key: there[key]}
        return found

    def is_virtual(self, devices: Mapping[str, DeviceConfig]) -> bool:
        """Whether it is on the daemon's own sound server."""
        return any(isinstance(_endpoint(devices.get(name)), VirtualEndpoint) for name in self.named.values())

    def problems(self, devices: Mapping[str, DeviceConfig]) -> list[tuple[str, str]]:
        """What is wrong with the devices named: at which end, and what."""
        possible = [name for name, each in devices.items() if _endpoint(each) is not None]
        problems, servers = [], {}
        for end, name in self.named.items():
            endpoint = _endpoint(devices.get(name))
            if endpoint is None:
                there = f"those are: {', '.join(possible) or 'none'}"
                problems.append((end, f"{name!r} is no audio endpoint of driver virtual or pulse; {there}"))
                continue
            servers[end] = endpoint.server if isinstance(endpoint, PulseEndpoint) else "the daemon's own"
            if isinstance(endpoint, PulseEndpoint) and not _has(endpoint, end):
                problems.append((end, f"{name} has no {end} that a client could be on"))
        if len(set(servers.values())) > 1:
            problems.append(
                (
                    "speaker",
                    "a browser is on one sound server; these are on two: "
                    + " and ".join(f"{end} on {server}" for end, server in servers.items()),
                )
            )
        return problems


def _has(endpoint: PulseEndpoint, end: str) -> bool:
    if end == "microphone":
        return endpoint.microphone is not None and bool(endpoint.microphone.source)
    return endpoint.speaker is not None


def _endpoint(device: DeviceConfig | None) -> VirtualEndpoint | PulseEndpoint | None:
    if isinstance(device, AudioConfig) and isinstance(device.endpoint, VirtualEndpoint | PulseEndpoint):
        return device.endpoint
    return None
