"""Audio endpoints in the lab file: the mock microphone and mock speaker of one client."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, PrivateAttr, model_validator

from drivers.errors import DeviceUnreachableError
from drivers.protocols import Microphone, Speaker
from drivers.sound import (
    CommandMicrophone,
    CommandSpeaker,
    PortAudioMicrophone,
    PortAudioSpeaker,
    Program,
    PulseMicrophone,
    PulseSpeaker,
    SoundHost,
    VirtualPair,
    over_ssh,
)
from labctl.config.model import DeviceConfig, Name, Section

if TYPE_CHECKING:
    from drivers.ssh import SshHost

_Text = Annotated[str, Field(min_length=1, max_length=300)]


class PulseEnd(Section):
    """A sink, and the source that carries what is played into it ("" where a real card has none)."""

    sink: _Text
    source: str = ""


class PulseEndpoint(Section):
    """Sinks and sources of a pulse server, PipeWire's included. `server`: its address, as in PULSE_SERVER."""

    driver: Literal["pulse"]
    server: _Text
    microphone: PulseEnd | None = None
    speaker: PulseEnd | None = None

    def open_microphone(self) -> Microphone | None:
        end = self.microphone
        return None if end is None else PulseMicrophone(self.server, end.sink, end.source)

    def open_speaker(self) -> Speaker | None:
        end = self.speaker
        return None if end is None else PulseSpeaker(self.server, end.sink, end.source)

    def client_environment(self) -> Mapping[str, str]:
        """What a client's process needs in its environment to be on this endpoint."""
        found = {"PULSE_SERVER": self.server}
        if self.microphone is not None and self.microphone.source:
            found["PULSE_SOURCE"] = self.microphone.source
        if self.speaker is not None:
            found["PULSE_SINK"] = self.speaker.sink
        return found


class VirtualEndpoint(Section):
    """A microphone and a speaker that the daemon makes, on a sound server of its own, for a client on its machine."""

    driver: Literal["virtual"]
    _pair: Callable[[], VirtualPair] | None = PrivateAttr(default=None)

    def bound(self, pair: Callable[[], VirtualPair]) -> VirtualEndpoint:
        """This endpoint on the pair that `pair` gives or makes."""
        made = self.model_copy()
        made._pair = pair
        return made

    def _made(self) -> VirtualPair:
        if self._pair is None:
            raise DeviceUnreachableError("a virtual microphone and speaker exist only while the daemon runs")
        return self._pair()

    def open_microphone(self) -> Microphone:
        return self._made().microphone

    def open_speaker(self) -> Speaker:
        return self._made().speaker

    def client_environment(self) -> Mapping[str, str]:
        """What a client's process needs in its environment to be on this endpoint."""
        return self._made().environment


class PortAudioEnd(Section):
    """A sound card by its name or number; `loop`: the one that hears it, for the self-test."""

    device: _Text | int
    loop: str | int = ""
    gain_db: Annotated[float, Field(ge=-60, le=60, description="correction of the level, from a calibration")] = 0.0


class PortAudioEndpoint(Section):
    """Sound cards of the daemon's machine."""

    driver: Literal["portaudio"]
    microphone: PortAudioEnd | None = None
    speaker: PortAudioEnd | None = None

    def open_microphone(self) -> Microphone | None:
        end = self.microphone
        return None if end is None else PortAudioMicrophone(end.device, end.loop, gain_db=end.gain_db)

    def open_speaker(self) -> Speaker | None:
        end = self.speaker
        return None if end is None else PortAudioSpeaker(end.device, end.loop, gain_db=end.gain_db)

    def client_environment(self) -> Mapping[str, str]:
        """Nothing: clients choose the sound card themselves."""
        return {}


class SshEnd(Section):
    """A device as the program on the host names it; `loop`: the one that carries the same sound, for the self-test."""

    device: _Text
    loop: str = ""


class SshEndpoint(Section):
    """Sound programs on a host of the lab file."""

    driver: Literal["ssh"]
    host: Name
    program: Program = Program.PULSE
    environment: dict[str, str] = Field(default_factory=dict)
    microphone: SshEnd | None = None
    speaker: SshEnd | None = None

    def _host(self, ssh: SshHost) -> SoundHost:
        return SoundHost(over_ssh(ssh), self.host, self.program, self.environment)

    def open_microphone(self, ssh: SshHost) -> Microphone | None:
        """`ssh`: a connection to `host`."""
        end = self.microphone
        return None if end is None else CommandMicrophone(self._host(ssh), end.device, end.loop)

    def open_speaker(self, ssh: SshHost) -> Speaker | None:
        """`ssh`: a connection to `host`."""
        end = self.speaker
        return None if end is None else CommandSpeaker(self._host(ssh), end.device, end.loop)

    def client_environment(self) -> Mapping[str, str]:
        """Nothing: clients run on the host, in the environment they have there."""
        return {}


Endpoint = VirtualEndpoint | PulseEndpoint | PortAudioEndpoint | SshEndpoint


class AudioConfig(DeviceConfig):
    """What one client hears and is heard by: a mock microphone to speak into, a mock speaker to listen to, or both."""

    kind: Literal["audio"] = "audio"
    endpoint: Annotated[Endpoint, Field(discriminator="driver")]

    @model_validator(mode="after")
    def _has_an_end(self) -> AudioConfig:
        ends = self.endpoint
        if not isinstance(ends, VirtualEndpoint) and ends.microphone is None and ends.speaker is None:
            raise ValueError("endpoint needs a microphone, a speaker or both")
        return self
