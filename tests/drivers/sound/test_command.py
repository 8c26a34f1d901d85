"""Sound over a command line on a host: a real sshd on loopback, the same loops, the same honesty about drop-outs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from _sshd import sshd

from drivers.errors import DeviceUnreachableError, SoundLoopError
from drivers.protocols import Microphone, Speaker
from drivers.sound import (
    CommandMicrophone,
    CommandSpeaker,
    DropOutKind,
    PulseServer,
    SoundHost,
    VirtualPair,
    over_ssh,
    run_here,
)
from drivers.sound.types import Samples
from drivers.ssh import SshHost

pytestmark = pytest.mark.alone

TRIES = 4


@pytest.fixture(scope="module")
def ssh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshHost]:
    """A host: an sshd of our own on loopback, with keys of its own."""
    with sshd(tmp_path_factory.mktemp("sshd")) as running, SshHost.open(running.settings) as opened:
        yield opened


@pytest.fixture
def pair(server: PulseServer) -> Iterator[VirtualPair]:
    with server.pair("nuc") as made:
        yield made


@pytest.fixture(params=["here", "ssh"])
def host(request: pytest.FixtureRequest, server: PulseServer) -> SoundHost:
    environment = {"PULSE_SERVER": server.address}
    if request.param == "here":
        return SoundHost(run_here, "this machine", environment=environment)
    return SoundHost(over_ssh(request.getfixturevalue("ssh")), "nuc", environment=environment)


@pytest.fixture
def nuc(server: PulseServer, ssh: SshHost) -> SoundHost:
    """A host over SSH alone: what is found there is found here."""
    return SoundHost(over_ssh(ssh), "nuc", environment={"PULSE_SERVER": server.address})


def microphone_of(host: SoundHost, pair: VirtualPair) -> CommandMicrophone:
    return CommandMicrophone(host, pair.microphone.sink, pair.microphone.source)


def speaker_of(host: SoundHost, pair: VirtualPair) -> CommandSpeaker:
    return CommandSpeaker(host, pair.speaker.source, pair.speaker.sink)


def test_the_loop_is_bit_identical_over_the_wire(host: SoundHost, pair: VirtualPair) -> None:
    microphone, speaker = microphone_of(host, pair), speaker_of(host, pair)
    assert isinstance(microphone, Microphone)
    assert isinstance(speaker, Speaker)
    for _ in range(TRIES):
        checks = (microphone.check(), speaker.check())
        if all(check.intact for check in checks):
            break
    for check in checks:
        check.require_intact()
        assert check.bit_identical
        assert check.gain_db == 0.0


def test_play_and_record_at_the_same_time(
    nuc: SoundHost, pair: VirtualPair, make_noise: Callable[..., Samples]
) -> None:
    for _ in range(TRIES):
        with speaker_of(nuc, pair).record() as tape:
            played = microphone_of(nuc, pair).play(make_noise(1.0))
        recorded = tape.stop()
        if not played.drop_outs and not recorded.drop_outs:
            break
    played.require_intact()
    recorded.require_intact()
    assert recorded.duration_s >= 1.0
    assert not recorded.samples.any()


def test_a_server_that_stops_for_a_second_is_found(
    nuc: SoundHost,
    pair: VirtualPair,
    server: PulseServer,
    make_noise: Callable[..., Samples],
    freeze: Callable[[int, float], None],
) -> None:
    assert server.pid is not None
    timer = threading.Timer(1.0, freeze, (server.pid, 1.0))
    with speaker_of(nuc, pair).record() as tape:
        timer.start()
        played = microphone_of(nuc, pair).play(make_noise(2.5))
        timer.join()
    recorded = tape.stop()
    assert played.drop_outs
    with pytest.raises(SoundLoopError, match=r"stalled|lost"):
        recorded.require_intact()


def test_a_suspended_sink_is_found(
    nuc: SoundHost, pair: VirtualPair, server: PulseServer, make_noise: Callable[..., Samples]
) -> None:
    def suspend() -> None:
        server.suspend(pair.microphone.sink, True)
        time.sleep(0.3)
        server.suspend(pair.microphone.sink, False)

    timer = threading.Timer(1.2, suspend)
    timer.start()
    played = microphone_of(nuc, pair).play(make_noise(2.5))
    timer.join()
    with pytest.raises(SoundLoopError, match=r"lost|damaged"):
        played.require_intact()


def test_a_program_that_dies_is_found(pair: VirtualPair, server: PulseServer) -> None:
    started = []

    def run(words: list[str]) -> subprocess.Popen[bytes]:
        started.append(run_here(words))
        return started[-1]

    host = SoundHost(run, "nuc", environment={"PULSE_SERVER": server.address})
    tape = speaker_of(host, pair).record()
    os.kill(started[0].pid, signal.SIGKILL)
    started[0].wait(10)
    time.sleep(0.2)
    assert DropOutKind.ENDED in {drop.kind for drop in tape.stop().drop_outs}


def test_errors_carry_what_the_host_said(
    host: SoundHost, pair: VirtualPair, make_noise: Callable[..., Samples]
) -> None:
    with pytest.raises(SoundLoopError, match=r"no_such_source.*gave nothing.*No such entity"):
        CommandSpeaker(host, "no_such_source").record()
    with pytest.raises((SoundLoopError, DeviceUnreachableError), match="No such entity"):
        CommandMicrophone(host, "no_such_sink").play(make_noise(0.1)).require_intact()
    with pytest.raises(SoundLoopError, match="no sink"):
        CommandSpeaker(host, pair.speaker.source).check()


def test_a_host_without_the_program_is_named() -> None:
    def run(words: list[str]) -> subprocess.Popen[bytes]:
        return run_here([sys.executable, "-c", "import sys; sys.exit('env: parec: No such file')"])

    with pytest.raises(SoundLoopError, match="parec: No such file"):
        CommandSpeaker(SoundHost(run, "nuc"), "speaker").record()
    with pytest.raises(DeviceUnreachableError, match="could not be started"):
        run_here(["/no/such/program"])
