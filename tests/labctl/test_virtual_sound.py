"""Virtual microphones and speakers of the lab file: there while the daemon runs, apart, tested before use, and gone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from audio import reference
from drivers.errors import DeviceError, DeviceUnreachableError, SoundLoopError
from drivers.sound.pulse import control
from labctl.actions import audio as actions
from labctl.config import Lab, load_lab
from labctl.config.audio import AudioConfig, VirtualEndpoint
from labctl.virtual_sound import VirtualSound

pytestmark = pytest.mark.alone

LAB = """
lab: test
devices:
  alice-audio: {kind: audio, endpoint: {driver: virtual}}
  alice.audio: {kind: audio, endpoint: {driver: virtual}}
  9th: {kind: audio, endpoint: {driver: virtual}}
  card: {kind: audio, endpoint: {driver: pulse, server: "unix:/nowhere", speaker: {sink: s}}}
"""
VIRTUAL = ("alice-audio", "alice.audio", "9th")
TRIES = 4


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    path = tmp_path / "lab.yaml"
    path.write_text(LAB, encoding="utf-8")
    return load_lab(path)


def endpoint(lab: Lab, name: str) -> VirtualEndpoint:
    device = lab.devices[name]
    assert isinstance(device, AudioConfig)
    assert isinstance(device.endpoint, VirtualEndpoint)
    return device.endpoint


def test_every_pair_is_of_its_own_and_gone_at_the_end(lab: Lab) -> None:
    with VirtualSound(lab) as sound:
        environments = [endpoint(sound.lab, name).client_environment() for name in VIRTUAL]
        server = environments[0]["PULSE_SERVER"]
        there = control(server, "list", "short")
        for key in ("PULSE_SOURCE", "PULSE_SINK"):
            assert len({each[key] for each in environments}) == len(VIRTUAL)
            assert all(each[key] in there for each in environments)
        assert sound.lab.devices["card"] == lab.devices["card"]
    with pytest.raises(SoundLoopError, match=r"refused|No such file"):
        control(server, "info")
    with pytest.raises(DeviceError, match="shutting down"):
        endpoint(sound.lab, "9th").open_speaker()


def test_without_a_daemon_it_says_where_pairs_come_from(lab: Lab) -> None:
    with pytest.raises(DeviceUnreachableError, match="only while the daemon runs"):
        endpoint(lab, "9th").open_microphone()


def test_pairs_do_not_hear_one_another_and_each_loop_is_tested(lab: Lab) -> None:
    sent = reference.load("male_1").samples[:48_000]
    with VirtualSound(lab) as sound:
        alice, bob = (endpoint(sound.lab, name) for name in VIRTUAL[:2])
        for _ in range(TRIES):
            checks = [end.check() for end in (alice.open_microphone(), alice.open_speaker())]
            if all(check.intact for check in checks):
                break
        assert all(check.bit_identical for check in checks)
        with bob.open_speaker().record() as tape:
            alice.open_microphone().play(sent)
        assert not np.any(tape.stop().samples)


def test_a_server_that_died_is_started_again_at_the_next_use(lab: Lab) -> None:
    told: list[str] = []
    with VirtualSound(lab) as sound:
        sound.on_restart = lambda: told.append("restarted")
        before = sound.pair("9th").speaker
        assert sound._server is not None
        assert sound._server.pid is not None
        os.kill(sound._server.pid, signal.SIGKILL)
        sound._server._process.wait(10)  # type: ignore[union-attr]  # it is a server of ours
        after = sound.pair("9th").speaker
        assert after.server != before.server
        assert sound.pair("9th").speaker == after
        assert told == ["restarted"]
        assert after.source in control(after.server, "list", "short", "sources")


def test_a_loop_is_tested_unless_a_client_is_on_it(lab: Lab) -> None:
    with VirtualSound(lab) as sound:
        made = endpoint(sound.lab, "9th")
        microphone, speaker = made.open_microphone(), made.open_speaker()
        assert actions._checks(microphone, None, otherwise=False)
        assert actions._checks(speaker, None, otherwise=False)
        assert not actions._checks(microphone, False, otherwise=True)
        client = "import sys; from drivers.sound import PulseSpeaker as S\nwith S(*sys.argv[1:]).record():\n"
        client += "    print('on', flush=True); sys.stdin.readline()"
        environment = made.client_environment()
        words = [sys.executable, "-c", client, environment["PULSE_SERVER"], "", environment["PULSE_SOURCE"]]
        with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "on\n"
            assert not actions._checks(microphone, None, otherwise=True)
            assert actions._checks(microphone, True, otherwise=False)
            process.communicate("\n", timeout=30)
        assert actions._checks(speaker, None, otherwise=False)
