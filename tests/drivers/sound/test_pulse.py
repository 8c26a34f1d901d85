"""Virtual pairs on a real PulseAudio: bit-identical, apart from one another, and honest about every forced drop-out."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pytest

from drivers.errors import DeviceUnreachableError, SoundLoopError
from drivers.protocols import Microphone, Speaker, Tape
from drivers.sound import Capture, DropOutKind, Playback, PulseServer, PulseSpeaker, VirtualPair, match
from drivers.sound.comparison import damages
from drivers.sound.pulse import control
from drivers.sound.pulse_stream import PulseTape
from drivers.sound.types import DropOut, Samples

pytestmark = pytest.mark.alone

RATE = 48_000
# What a machine under load may do to sound: the tests of content try again, those of honesty never need to.
TRIES = 5


def only_stalls(drops: tuple[DropOut, ...]) -> bool:
    return all(drop.kind in (DropOutKind.STALLED, DropOutKind.PAUSED) for drop in drops)


@pytest.fixture
def pair(server: PulseServer) -> Iterator[VirtualPair]:
    with server.pair("alice") as made:
        yield made


def test_a_pair_satisfies_the_capabilities(pair: VirtualPair) -> None:
    assert isinstance(pair.microphone, Microphone)
    assert isinstance(pair.speaker, Speaker)
    with pair.speaker.record() as tape:
        assert isinstance(tape, Tape)


def test_both_loops_are_bit_identical_and_at_the_level_sent(pair: VirtualPair) -> None:
    for _ in range(TRIES):
        checks = pair.check()
        if all(check.intact for check in checks):
            break
    for check in checks:
        assert check.bit_identical
        assert check.gain_db == 0.0
        assert only_stalls(check.drop_outs)
        assert abs(check.delay_s) < 1.0


def test_a_microphone_gives_what_is_played_into_it(pair: VirtualPair, make_noise: Callable[..., Samples]) -> None:
    sent = make_noise(1.5)
    for _ in range(TRIES):
        with PulseTape(pair.microphone.server, pair.microphone.source, RATE, pair.microphone.clock) as tape:
            played = pair.microphone.play(sent)
        heard = tape.stop()
        if not played.drop_outs and not heard.drop_outs:
            break
    assert damages(sent, heard.samples, RATE) == ()
    assert (played.frames, played.sample_rate) == (len(sent), RATE)
    found = match(sent, heard.samples)
    assert found is not None
    # The two time stamps come by different streams of the server: they agree within its blocks.
    assert abs(heard.start_time + found.offset / RATE - played.start_time) < 0.5


def test_pairs_do_not_hear_one_another(server: PulseServer, make_noise: Callable[..., Samples]) -> None:
    with server.pair("first") as first, server.pair("second") as second, server.pair("third") as third:
        tapes = [pair.speaker.record() for pair in (first, second, third)]
        players = [
            threading.Thread(target=pair.microphone.play, args=(make_noise(1.0, seed),))
            for seed, pair in enumerate((first, second))
        ]
        for player in players:
            player.start()
        for player in players:
            player.join()
        assert [float(np.abs(tape.stop().samples).max()) for tape in tapes] == [0.0, 0.0, 0.0]


def test_pairs_come_and_go_and_names_are_checked(server: PulseServer) -> None:
    before = control(server.address, "list", "short", "modules")
    with server.pair("bob") as pair:
        assert pair.environment["PULSE_SOURCE"] == "bob_microphone"
        assert "bob_speaker" in control(server.address, "list", "short", "sinks")
        with pytest.raises(ValueError, match="already"):
            server.make_pair("bob")
    assert control(server.address, "list", "short", "modules") == before
    for name in ("", "a b", "x" * 60, "näme", "a'b"):
        with pytest.raises(ValueError, match="word"):
            server.make_pair(name)


def test_pairs_can_be_made_on_a_server_that_is_there(server: PulseServer) -> None:
    with PulseServer(server.address) as other:
        assert other.pid is None
        other.make_pair("guest")
        assert "guest_speaker" in control(server.address, "list", "short", "sinks")
    assert "guest_speaker" not in control(server.address, "list", "short", "sinks")
    assert server.pid is not None


def test_what_a_dead_lab_left_behind_is_removed(server: PulseServer) -> None:
    script = (
        "import os; from drivers.sound import PulseServer\n"
        f"PulseServer({server.address!r}).make_pair('orphan'); os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=30)
    assert "orphan_speaker" in control(server.address, "list", "short", "sinks")
    with server.pair("alive"):
        removed = server.remove_stale_pairs()
        assert "alive_speaker" in control(server.address, "list", "short", "sinks")
    assert {"orphan_speaker", "orphan_microphone_feed"} <= set(removed)
    assert "orphan" not in control(server.address, "list", "short", "sources")


def test_a_server_or_source_that_is_not_there_is_named() -> None:
    with pytest.raises(DeviceUnreachableError, match=r"unix:/nowhere/native could not be reached: Connection refused"):
        PulseServer("unix:/nowhere/native")


def test_a_source_that_is_not_there_is_named(server: PulseServer) -> None:
    with pytest.raises(DeviceUnreachableError, match="no_such_source"):
        PulseSpeaker(server.address, "", "no_such_source").record()


def test_a_volume_that_somebody_turned_is_found_and_measured(server: PulseServer) -> None:
    with server.pair("quiet") as pair:
        control(server.address, "set-source-volume", pair.microphone.source, "50%")
        check = pair.microphone.check()

    # Half of PulseAudio's cubic volume is an eighth of the amplitude.
    assert check.gain_db == pytest.approx(-18.06, abs=0.02)
    assert not check.bit_identical
    with pytest.raises(SoundLoopError):
        check.require_intact()


def test_silence_is_recorded_as_silence(pair: VirtualPair) -> None:
    played = pair.microphone.play(np.zeros(RATE // 2))

    assert only_stalls(played.drop_outs)


# ---- forced drop-outs: each must be found, whatever else the machine does


@contextmanager
def soon(action: Callable[[], None], after_s: float = 0.8) -> Iterator[None]:
    timer = threading.Timer(after_s, action)
    timer.start()
    try:
        yield
    finally:
        timer.join()


def play_and_record(pair: VirtualPair, sent: Samples, disturb: Callable[[], None]) -> tuple[Playback, Capture]:
    with pair.speaker.record() as tape, soon(disturb):
        played = pair.microphone.play(sent)
    return played, tape.stop()


def kinds(drops: tuple[DropOut, ...]) -> set[DropOutKind]:
    return {drop.kind for drop in drops}


def server_stops(server: PulseServer, pair: VirtualPair, sent: Samples, freeze: Callable[[int, float], None]) -> None:
    assert server.pid is not None
    pid = server.pid
    played, recorded = play_and_record(pair, sent, lambda: freeze(pid, 0.2))
    assert kinds(played.drop_outs) & {DropOutKind.STALLED, DropOutKind.LOST, DropOutKind.INSERTED}
    assert kinds(recorded.drop_outs) & {DropOutKind.STALLED, DropOutKind.LOST, DropOutKind.INSERTED}
    with pytest.raises(SoundLoopError):
        recorded.require_intact()


def sink_is_suspended(server: PulseServer, pair: VirtualPair, sent: Samples, _: Callable[[int, float], None]) -> None:
    def suspend() -> None:
        server.suspend(pair.microphone.sink, True)
        server.suspend(pair.microphone.sink, False)

    played, _ = play_and_record(pair, sent, suspend)
    assert DropOutKind.SUSPENDED in kinds(played.drop_outs)
    with pytest.raises(SoundLoopError, match="suspended"):
        played.require_intact()


def module_is_unloaded(server: PulseServer, pair: VirtualPair, sent: Samples, _: Callable[[int, float], None]) -> None:
    played, recorded = play_and_record(pair, sent, lambda: server.remove_pair(pair.name))
    assert DropOutKind.ENDED in kinds(played.drop_outs)
    assert DropOutKind.ENDED in kinds(recorded.drop_outs)


def server_dies(server: PulseServer, pair: VirtualPair, sent: Samples, _: Callable[[int, float], None]) -> None:
    assert server.pid is not None
    pid = server.pid
    played, recorded = play_and_record(pair, sent, lambda: os.kill(pid, signal.SIGKILL))
    assert DropOutKind.ENDED in kinds(played.drop_outs)
    assert DropOutKind.ENDED in kinds(recorded.drop_outs)


RECORDER = """
import sys, time
from drivers.clock import SystemClock
from drivers.sound.pulse_stream import PulseTape
tape = PulseTape(sys.argv[1], sys.argv[2], 48000, SystemClock())
print("recording", flush=True)
sys.stdin.readline()
print(*[drop.kind for drop in tape.stop().drop_outs])
"""


def recorder_stops(server: PulseServer, pair: VirtualPair, sent: Samples, freeze: Callable[[int, float], None]) -> None:
    command = [sys.executable, "-c", RECORDER, server.address, pair.speaker.source]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as recorder:
        assert recorder.stdout is not None
        assert recorder.stdout.readline() == "recording\n"
        threading.Event().wait(0.8)
        freeze(recorder.pid, 0.3)
        threading.Event().wait(0.8)
        said, _ = recorder.communicate("stop\n", timeout=30)
    assert {"paused", "stalled", "lost", "overrun"} & set(said.split())


FAULTS = [server_stops, sink_is_suspended, module_is_unloaded, recorder_stops, server_dies]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_forced_drop_out_is_found(
    fault: Callable[..., None], make_noise: Callable[..., Samples], freeze: Callable[[int, float], None]
) -> None:
    with PulseServer.start() as server, server.pair("alice") as pair:
        fault(server, pair, make_noise(1.6), freeze)


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_hundred_forced_drop_outs_are_found(
    fault: Callable[..., None], make_noise: Callable[..., Samples], freeze: Callable[[int, float], None]
) -> None:
    for seed in range(20):
        with PulseServer.start() as server, server.pair("alice") as pair:
            fault(server, pair, make_noise(1.6, seed), freeze)
