"""Virtual microphones and speakers on a pulse server: the lab's own PulseAudio, or one that is there already."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from drivers.clock import Clock, SystemClock
from drivers.errors import DeviceError, DeviceUnreachableError, SoundLoopError
from drivers.precedence import give_precedence
from drivers.sound import pulse_stream
from drivers.sound.comparison import LoopCheck, checked, damages, probe
from drivers.sound.pulse_stream import Connection, PulseTape
from drivers.sound.types import Array, DropOut, Playback, as_samples

SAMPLE_RATE = 48_000
START_TIMEOUT_S = 15.0
COMMAND_TIMEOUT_S = 10.0
# A server whose lab is gone ends itself after this long without any client.
ORPHAN_TIMEOUT_S = 30
MAX_NAME = 48
NICE = -11  # what PulseAudio gives itself


@dataclass(frozen=True, slots=True)
class PulseMicrophone:
    """A client's microphone on a pulse server: plays into `sink`, which the client records as `source`.

    `source` is also what the player listens to while it plays, to find what was lost on the way. A sink of a real
    sound card has no such bit-identical loop: give "" there.
    """

    server: str
    sink: str
    source: str
    sample_rate: int = SAMPLE_RATE
    clock: Clock = field(default_factory=SystemClock)

    @property
    def name(self) -> str:
        return self.source or self.sink

    def play(self, sound: Array) -> Playback:
        """Play (N,) samples within -1 .. 1 into the microphone; back when the last has left.

        What comes out of the microphone is compared with `sound` bit by bit: see `drop_outs` of the answer.
        Raises ValueError for sound that would clip, DeviceUnreachableError when server or sink is not there.
        """
        samples = as_samples(sound)
        if not self.source:
            return pulse_stream.play(self.server, self.sink, samples, self.sample_rate, clock=self.clock)
        with PulseTape(self.server, self.source, self.sample_rate, self.clock) as tape:
            played = pulse_stream.play(self.server, self.sink, samples, self.sample_rate, clock=self.clock)
        heard = tape.stop()
        damaged = damages(samples, heard.samples, self.sample_rate)
        return replace(played, drop_outs=_in_order(*played.drop_outs, *heard.drop_outs, *damaged))

    def clients(self) -> int:
        """How many programs listen to the microphone now. Raises SoundLoopError when the server gives no answer."""
        return _users(self.server, "source", self.source) if self.source else 0

    def check(self) -> LoopCheck:
        """Play a second of noise and listen to it. A client that is on the microphone hears it: check before a call."""
        return _check(self.server, self.sink, self.source or f"{self.sink}.monitor", self.sample_rate, self.clock)


@dataclass(frozen=True, slots=True)
class PulseSpeaker:
    """A client's speaker on a pulse server: the client plays into `sink`, which is recorded at its monitor `source`."""

    server: str
    sink: str
    source: str
    sample_rate: int = SAMPLE_RATE
    clock: Clock = field(default_factory=SystemClock)

    @property
    def name(self) -> str:
        return self.sink or self.source

    def record(self) -> PulseTape:
        """Start to record; use as a context or call `stop()`, which gives the Capture.

        Raises DeviceUnreachableError when server or source is not there, SoundLoopError when it gives nothing.
        """
        return PulseTape(self.server, self.source, self.sample_rate, self.clock)

    def clients(self) -> int:
        """How many programs play into the speaker now. Raises SoundLoopError when the server gives no answer."""
        return _users(self.server, "sink", self.sink) if self.sink else 0

    def check(self) -> LoopCheck:
        """Play a second of noise into the speaker and record it."""
        return _check(self.server, self.sink, self.source, self.sample_rate, self.clock)


def _users(server: str, kind: str, name: str) -> int:
    """How many streams there are on the sink or source `name`."""
    streams = {"source": "source-outputs", "sink": "sink-inputs"}[kind]
    devices = json.loads(control(server, "--format=json", "list", f"{kind}s"))
    indices = {device["index"] for device in devices if device.get("name") == name}
    return sum(stream.get(kind) in indices for stream in json.loads(control(server, "--format=json", "list", streams)))


def _in_order(*drops: DropOut) -> tuple[DropOut, ...]:
    return tuple(sorted(drops, key=lambda drop: drop.start_s))


def _check(server: str, sink: str, source: str, sample_rate: int, clock: Clock) -> LoopCheck:
    sent = probe(sample_rate)
    with PulseTape(server, source, sample_rate, clock) as tape:
        played = pulse_stream.play(server, sink, sent, sample_rate, clock=clock)
    return checked(f"{source} of {server}", sent, played, tape.stop(), exact=True)


@dataclass(frozen=True, slots=True)
class VirtualPair:
    """A virtual microphone and speaker for one client, made on a server by `PulseServer.pair`."""

    name: str
    microphone: PulseMicrophone
    speaker: PulseSpeaker

    @property
    def environment(self) -> Mapping[str, str]:
        """What a client's process needs in its environment to use this pair as its sound devices."""
        return {
            "PULSE_SERVER": self.microphone.server,
            "PULSE_SOURCE": self.microphone.source,
            "PULSE_SINK": self.speaker.sink,
        }

    def check(self) -> tuple[LoopCheck, LoopCheck]:
        """Self-test of both loops, microphone first. A client that is connected hears it."""
        return self.microphone.check(), self.speaker.check()


class PulseServer:
    """A pulse server to make virtual pairs on.

    `PulseServer.start()` is the lab's own; `PulseServer(address)` is one that runs already (PulseAudio, or PipeWire's
    pulse server), by an address such as `unix:/run/user/1000/pulse/native`.
    """

    def __init__(self, address: str, clock: Clock | None = None) -> None:
        self.address = address
        self._clock = clock or SystemClock()
        self._modules: dict[str, list[int]] = {}
        self._process: subprocess.Popen[bytes] | None = None
        self._folder: Path | None = None
        # An open connection also keeps a server of our own alive: alone, it ends after a while.
        self._connection = Connection(address, "labctl")

    @classmethod
    def start(cls, clock: Clock | None = None) -> Self:
        """Start a PulseAudio of the lab's own, without D-Bus or systemd, as root or not, in a folder of its own.

        It ends with `close()`, or by itself soon after this process has gone.
        Raises DeviceUnreachableError when PulseAudio is not installed or does not start.
        """
        program = shutil.which("pulseaudio")
        if program is None:
            raise DeviceUnreachableError("PulseAudio is not installed; on Debian: apt-get install pulseaudio")
        folder = Path(tempfile.mkdtemp(prefix="labctl-pulse-"))
        log = folder / "log"
        with log.open("wb") as sink:
            process = subprocess.Popen(
                _command_line(program, folder),
                env=_environment(folder),
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
                start_new_session=True,
            )
        give_precedence(process.pid, NICE)
        try:
            server = cls(_wait_for_socket(process, folder), clock)
        except DeviceError:
            _end(process)
            said = log.read_text(errors="replace")[-500:]
            shutil.rmtree(folder, ignore_errors=True)
            raise DeviceUnreachableError(f"PulseAudio did not start in {folder}: {said or 'it said nothing'}") from None
        server._process, server._folder = process, folder
        return server

    @property
    def alive(self) -> bool:
        """Whether it still answers, as far as the connection that is kept to it tells."""
        return not self._connection.failure and (self._process is None or self._process.poll() is None)

    @property
    def pid(self) -> int | None:
        """The process of a server that we started."""
        return self._process.pid if self._process else None

    def make_pair(self, name: str) -> VirtualPair:
        """Make a virtual microphone and speaker, 48 kHz mono float. Remove them with `remove_pair`, or by `close`.

        Raises ValueError for a name that is no short word or is taken, SoundLoopError when the server refuses.
        """
        if not name.isidentifier() or not name.isascii() or len(name) > MAX_NAME:
            raise ValueError(
                f"a pair's name must be a word of letters, digits and _ ({MAX_NAME} at most), not {name!r}"
            )
        if name in self._modules or self._has_sink(f"{name}_microphone_feed"):
            raise ValueError(f"there is a pair named {name} on {self.address} already")
        owner = f"device.description={name} labctl.owner={os.getpid()}"
        sound = f"rate={SAMPLE_RATE} channels=1 channel_map=mono"
        made = self._modules.setdefault(name, [])
        feed, source, speaker = f"{name}_microphone_feed", f"{name}_microphone", f"{name}_speaker"
        try:
            for module in (
                f"module-null-sink sink_name={feed} format=float32le norewinds=1 {sound} sink_properties='{owner}'",
                f"module-remap-source source_name={source} master={feed}.monitor {sound} remix=no"
                f" source_properties='{owner}'",
                f"module-null-sink sink_name={speaker} format=float32le norewinds=1 {sound} sink_properties='{owner}'",
            ):
                made.append(int(self._control("load-module", *_words(module))))
        except DeviceError:
            self.remove_pair(name)
            raise
        return VirtualPair(
            name,
            PulseMicrophone(self.address, feed, source, SAMPLE_RATE, self._clock),
            PulseSpeaker(self.address, speaker, f"{speaker}.monitor", SAMPLE_RATE, self._clock),
        )

    def remove_pair(self, name: str) -> None:
        """Take the pair off the server; a server that is gone took it along."""
        for module in reversed(self._modules.pop(name, [])):
            with contextlib.suppress(SoundLoopError):
                self._control("unload-module", str(module))

    @contextlib.contextmanager
    def pair(self, name: str) -> Iterator[VirtualPair]:
        """A virtual microphone and speaker for as long as the context lasts."""
        made = self.make_pair(name)
        try:
            yield made
        finally:
            self.remove_pair(name)

    def remove_stale_pairs(self) -> tuple[str, ...]:
        """Remove what labs left behind that died on this machine; the names of the sinks and sources removed."""
        removed = []
        for kind in ("sinks", "sources"):
            for device in self._list(kind):
                properties = device.get("properties", {})
                owner = str(properties.get("labctl.owner", ""))
                # A monitor carries the properties of its sink and goes with it.
                if owner.isdigit() and not Path(f"/proc/{owner}").exists() and device.get("owner_module") is not None:
                    with contextlib.suppress(SoundLoopError):
                        self._control("unload-module", str(device["owner_module"]))
                        removed.append(str(device["name"]))
        return tuple(removed)

    def suspend(self, device: str, on: bool) -> None:
        """Suspend or resume a sink: what a lab's power management may do, and tests do on purpose."""
        self._control("suspend-sink", device, "1" if on else "0")

    def _has_sink(self, name: str) -> bool:
        return any(device.get("name") == name for device in self._list("sinks"))

    def _list(self, kind: str) -> list[dict[str, Any]]:
        return list(json.loads(self._control("--format=json", "list", kind)))

    def _control(self, *arguments: str) -> str:
        return control(self.address, *arguments)

    def close(self) -> None:
        """Remove the pairs and end the server if it is ours."""
        for name in list(self._modules):
            self.remove_pair(name)
        self._connection.close()
        if self._process is not None:
            _end(self._process)
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def control(address: str, *arguments: str) -> str:
    """What `pactl` answers on the server at `address`.

    Raises DeviceUnreachableError when pactl is not installed, SoundLoopError when it fails or does not come back.
    """
    program = shutil.which("pactl")
    if program is None:
        raise DeviceUnreachableError("pactl is not installed; on Debian: apt-get install pulseaudio-utils")
    asked = f"`pactl {' '.join(arguments)}` on {address}"
    try:
        done = subprocess.run(
            [program, *arguments],
            env={**os.environ, "PULSE_SERVER": address, "LC_ALL": "C"},
            capture_output=True,
            text=True,
            timeout=COMMAND_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise SoundLoopError(
            f"{asked} gave no answer within {COMMAND_TIMEOUT_S:.0f} s; is the server stopped?"
        ) from None
    if done.returncode:
        raise SoundLoopError(f"{asked} failed: {done.stderr.strip() or f'exit {done.returncode}'}")
    return done.stdout


def _words(module: str) -> list[str]:
    """A module's name and arguments apart; quoted property lists stay one word, quotes included."""
    words: list[str] = []
    for word in module.split(" "):
        if words and words[-1].count("'") == 1:
            words[-1] += " " + word
        else:
            words.append(word)
    return words


def _command_line(program: str, folder: Path) -> list[str]:
    socket = folder / "native"
    (folder / "script.pa").write_text(f"load-module module-native-protocol-unix socket={socket} auth-anonymous=1\n")
    configuration = folder / "pulse"
    configuration.mkdir()
    (configuration / "daemon.conf").write_text(
        f"default-sample-rate = {SAMPLE_RATE}\nalternate-sample-rate = {SAMPLE_RATE}\navoid-resampling = no\n"
        "default-sample-format = float32le\nflat-volumes = no\n"
    )
    return [
        program,
        "-n",
        "--daemonize=no",
        f"--exit-idle-time={ORPHAN_TIMEOUT_S}",
        "--use-pid-file=no",
        "--log-target=stderr",
        f"--file={folder / 'script.pa'}",
    ]


def _environment(folder: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PULSE_", "DBUS_"))}
    return {
        **kept,
        "HOME": str(folder),
        "XDG_RUNTIME_DIR": str(folder),
        "XDG_CONFIG_HOME": str(folder),
        "PULSE_RUNTIME_PATH": str(folder),
        "LC_ALL": "C",
    }


def _wait_for_socket(process: subprocess.Popen[bytes], folder: Path) -> str:
    socket = folder / "native"
    deadline = time.monotonic() + START_TIMEOUT_S
    while not socket.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            raise DeviceUnreachableError(f"no socket {socket} appeared")
        time.sleep(0.02)
    return f"unix:{socket}"


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process of ours, one that was stopped included."""
    process.terminate()
    try:
        process.wait(timeout=3)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
