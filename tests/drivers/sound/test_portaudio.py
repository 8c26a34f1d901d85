"""Sound cards through PortAudio: here ALSA devices that lead to the tests' PulseAudio, so that the loop is digital."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from drivers.sound import PulseServer, VirtualPair, devices

pytestmark = pytest.mark.alone

TRIES = 4

# PortAudio looks for devices when it is loaded, so each use of it here is a process with its own ALSA configuration.
CONFIGURATION = """
</usr/share/alsa/alsa.conf>
pcm.lab_feed {{ type pulse server "{server}" device "{pair}_microphone_feed" hint {{ show on description "feed" }} }}
pcm.lab_microphone {{ type pulse server "{server}" device "{pair}_microphone" hint {{ show on description "mic" }} }}
pcm.lab_speaker {{ type pulse server "{server}" device "{pair}_speaker" hint {{ show on description "speaker" }} }}
pcm.lab_heard {{ type pulse server "{server}" device "{pair}_speaker.monitor" hint {{ show on description "heard" }} }}
"""


@pytest.fixture(scope="module")
def pair(server: PulseServer) -> Iterator[VirtualPair]:
    with server.pair("card") as made:
        yield made


@pytest.fixture(scope="module")
def environment(server: PulseServer, pair: VirtualPair, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    file = tmp_path_factory.mktemp("alsa") / "asound.conf"
    file.write_text(CONFIGURATION.format(server=server.address, pair=pair.name))
    return {**os.environ, "ALSA_CONFIG_PATH": str(file), "PYTHONPATH": str(Path(__file__).parents[3])}


def run(environment: dict[str, str], script: str) -> list[dict[str, object]]:
    """The objects, one a line, that the script prints in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


CHECKS = """
import dataclasses, json
from drivers.protocols import Microphone, Speaker
from drivers.sound import PortAudioMicrophone, PortAudioSpeaker
microphone = PortAudioMicrophone("lab_feed", loop="lab_microphone", exact=True)
speaker = PortAudioSpeaker("lab_heard", loop="lab_speaker", exact=True)
assert isinstance(microphone, Microphone) and isinstance(speaker, Speaker)
for end in (microphone, speaker):
    check = end.check()
    print(json.dumps({**dataclasses.asdict(check), "drop_outs": [str(drop) for drop in check.drop_outs]}))
"""


def test_both_loops_of_a_card_are_bit_identical_and_calibrated(environment: dict[str, str]) -> None:
    for _ in range(TRIES):
        checks = run(environment, CHECKS)
        if not any(check["drop_outs"] for check in checks):
            break
    for check in checks:
        assert check["bit_identical"], check
        assert check["gain_db"] == 0.0
        assert not check["drop_outs"]


PLAY = """
import json, signal, subprocess, threading, time
import numpy as np
from drivers.sound import PortAudioMicrophone, PortAudioSpeaker
def freeze():
    subprocess.run(["kill", "-STOP", "{pid}"]); time.sleep({seconds}); subprocess.run(["kill", "-CONT", "{pid}"])
sound = np.random.default_rng(1).uniform(-0.3, 0.3, 72_000)
if {seconds}:
    threading.Timer(0.7, freeze).start()
with PortAudioSpeaker("lab_heard").record() as tape:
    played = PortAudioMicrophone("lab_feed", loop="lab_microphone", exact=True).play(sound)
heard = tape.stop()
for what in (played, heard):
    print(json.dumps({{"drop_outs": [str(drop) for drop in what.drop_outs]}}))
print(json.dumps({{"peak": float(np.abs(heard.samples).max()), "seconds": heard.duration_s}}))
"""


def test_play_and_record_at_the_same_time(environment: dict[str, str]) -> None:
    for _ in range(TRIES):
        played, heard, sound = run(environment, PLAY.format(pid=0, seconds=0))
        if not played["drop_outs"] and not heard["drop_outs"]:
            break
    assert played["drop_outs"] == []
    assert heard["drop_outs"] == []
    assert sound["peak"] == 0.0
    assert float(str(sound["seconds"])) >= 1.5


def test_a_sound_server_that_stops_is_found(environment: dict[str, str], server: PulseServer) -> None:
    played, heard, _ = run(environment, PLAY.format(pid=server.pid, seconds=0.8))

    assert played["drop_outs"]
    assert heard["drop_outs"]


MISSING = """
import json
from drivers.errors import DeviceUnreachableError
from drivers.sound import PortAudioSpeaker
try:
    PortAudioSpeaker("no such card").record()
except DeviceUnreachableError as error:
    print(json.dumps({"error": str(error)}))
"""


def test_a_card_that_is_not_there_is_named_with_those_that_are(environment: dict[str, str]) -> None:
    (said,) = run(environment, MISSING)

    assert "no such card" in str(said["error"])
    assert "lab_microphone" in str(said["error"])


LIST = """
import dataclasses, json
from drivers.sound import devices
found = devices({address!r})
for device in found.devices:
    print(json.dumps(dataclasses.asdict(device)))
assert not found.problems, found.problems
"""


def test_devices_of_both_systems_are_listed(
    environment: dict[str, str], server: PulseServer, pair: VirtualPair
) -> None:
    listed = {(each["system"], each["name"]): each for each in run(environment, LIST.format(address=server.address))}

    speaker = listed["pulse", pair.speaker.sink]
    assert (speaker["inputs"], speaker["outputs"], speaker["sample_rate"]) == (0, 1, 48_000)
    assert listed["pulse", pair.speaker.source]["monitor"]
    microphone = listed["pulse", pair.microphone.source]
    assert (microphone["inputs"], microphone["outputs"], microphone["monitor"]) == (1, 0, False)
    assert int(str(listed["portaudio", "lab_microphone"]["inputs"])) >= 1


def test_a_server_that_is_not_there_is_a_problem_and_no_crash() -> None:
    found = devices("unix:/nowhere/native")

    assert any("/nowhere/native" in problem for problem in found.problems)
    assert not [device for device in found.devices if device.system == "pulse"]
