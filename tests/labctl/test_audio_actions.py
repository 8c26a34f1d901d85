"""`audio.play`, `audio.record` and `audio.score` in jobs: what is played, kept, measured, and who is to blame."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from audio import reference
from drivers.documents import DocumentError
from drivers.sound import Capture, CommandSpeaker, DropOut, DropOutKind, LoopCheck, Playback, PulseMicrophone
from drivers.ssh import SshHost, SshSettings
from labctl.actions import audio as actions
from labctl.config import Lab, load_lab
from labctl.daemon import Daemon, run_daemon

LAB = """
lab: test
devices:
  alice: {kind: audio, endpoint: {driver: pulse, server: "unix:/nowhere", microphone: {sink: a, source: a.src}}}
  bob: {kind: audio, endpoint: {driver: ssh, host: nuc-1, speaker: {device: b}}}
  nuc-1: {kind: host, address: 127.0.0.1, port: 1, user: nobody}
  eye: {kind: lidar, url: "tcp://127.0.0.1:1"}
"""
LOST = DropOut(DropOutKind.DAMAGED, 1.0, 0.02, "made up")


@dataclass
class Loop:
    """A microphone whose sound a speaker hears: the client between them is `client`."""

    sample_rate: int = 48_000
    name: str = "loop"
    heard: list[Any] = field(default_factory=list)
    client: Callable[[Any], Any] = lambda sound: sound
    checks: int = 0
    lost_playing: tuple[DropOut, ...] = ()
    lost_recording: tuple[DropOut, ...] = ()
    lost_checking: tuple[DropOut, ...] = ()

    def open_microphone(self) -> Loop:
        return self

    def open_speaker(self) -> Loop:
        return self

    def play(self, sound: Any) -> Playback:
        self.heard.append(self.client(sound))
        return Playback("loop", 0.0, len(sound), self.sample_rate, self.lost_playing)

    def check(self) -> LoopCheck:
        self.checks += 1
        return LoopCheck("loop", True, 0.0, 0.01, np.inf, self.lost_checking)

    def record(self) -> Loop:
        return self

    def __enter__(self) -> Loop:
        return self

    def __exit__(self, *_: object) -> None: ...

    def stop(self) -> Capture:
        samples = np.concatenate(self.heard).astype(np.float32)
        return Capture("loop", samples, self.sample_rate, 0.0, self.lost_recording)


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    path = tmp_path / "lab.yaml"
    path.write_text(LAB, encoding="utf-8")
    return load_lab(path)


@pytest.fixture
def daemon(lab: Lab, tmp_path: Path) -> Iterator[Daemon]:
    with run_daemon(lab, tmp_path / "data") as running:
        for name, action in (("play", actions.Play), ("record", actions.Record), ("score", actions.Score)):
            running.actions._loaded[f"audio.{name}"] = action()
        yield running


@pytest.fixture
def loop(monkeypatch: pytest.MonkeyPatch) -> Loop:
    made = Loop()
    monkeypatch.setattr(actions, "_endpoint", lambda _context: made)
    return made


def run(http: httpx.Client, *steps: dict[str, Any], device: str = "alice") -> dict[str, Any]:
    job = {"name": "call", "roles": {"r": {"device": device}}, "lanes": {"r": {"steps": list(steps)}}}
    answer = http.post("/api/v1/jobs", content=json.dumps(job))
    assert answer.status_code == 201, answer.text
    made = answer.json()["id"]
    cursor = 0
    while http.get(f"/api/v1/jobs/{made}").json()["state"] != "finished":
        page = http.get("/api/v1/events", params={"after": cursor, "wait_s": 1}).json()
        cursor = page["items"][-1]["sequence"] if page["items"] else cursor
    run_id = http.get(f"/api/v1/jobs/{made}").json()["runs"][-1]
    found: dict[str, Any] = http.get(f"/api/v1/runs/{run_id}").json()
    return found


PLAY = {"uses": "audio.play", "with": {"reference": "male_1"}}
RECORD = {"uses": "audio.record", "with": {"duration_s": 0.01, "name": "call.flac"}}
SCORE = {
    "uses": "audio.score",
    "with": {"reference": "male_1", "recording": "call.flac", "sample_rate": 16_000, "thresholds": {"min_mos": 4}},
}


def test_what_was_played_is_recorded_kept_and_scored(http: httpx.Client, loop: Loop) -> None:
    found = run(http, PLAY, RECORD, SCORE)
    assert (found["verdict"], found["reason"]) == ("passed", "")
    assert sorted(each["name"] for each in found["artifacts"]) == ["call.flac", "score.html", "score.json"]
    values = {each["name"]: each for each in found["measurements"]}
    assert values["MOS"]["value"] > 4.4
    assert (values["MOS"]["low"], values["MOS"]["verdict"]) == (4, "passed")
    assert values["played"]["value"] == pytest.approx(11.557, abs=0.01)
    assert loop.checks == 1
    (kept,) = (each for each in found["artifacts"] if each["name"] == "score.json")
    assert http.get(kept["href"]).json()["reasons"] == []


def test_a_client_that_mutes_fails_with_the_reason(http: httpx.Client, loop: Loop) -> None:
    loop.client = np.zeros_like
    found = run(http, PLAY, RECORD, SCORE)
    assert found["verdict"] == "failed"
    assert "must be at least 4" in found["reason"]
    assert found["reason"].endswith("the recording is silent")


@pytest.mark.parametrize("where", ["lost_playing", "lost_recording", "lost_checking"])
def test_what_the_lab_loses_is_errored_and_never_failed(http: httpx.Client, loop: Loop, where: str) -> None:
    setattr(loop, where, (LOST,))
    found = run(http, PLAY, RECORD, SCORE)
    assert found["verdict"] == "errored"
    assert "the lab's own sound path dropped out" in found["reason"]
    kept = [each["name"] for each in found["artifacts"]]
    assert kept == (["call.flac"] if where == "lost_recording" else [])


def test_gain_and_repetitions_are_played(http: httpx.Client, loop: Loop) -> None:
    play = {"uses": "audio.play", "with": {"reference": "tone_1000", "gain_db": -20, "repeat": 3, "check": False}}
    assert run(http, play)["verdict"] == "passed"
    assert len(loop.heard) == 3
    assert loop.checks == 0
    tone = reference.load("tone_1000").samples
    assert np.abs(loop.heard[0]).max() == pytest.approx(0.1 * np.abs(tone).max(), rel=1e-3)


def test_what_was_recorded_before_the_playing_is_no_delay(http: httpx.Client, loop: Loop) -> None:
    loop.client = lambda sound: np.concatenate([np.zeros(48_000), sound])
    times = {"played_at": 1000.9, "recorded_at": 1000.0}
    score = {**SCORE, "with": {**SCORE["with"], **times}}
    found = run(http, PLAY, RECORD, score)
    values = {each["name"]: each["value"] for each in found["measurements"]}
    assert values["delay"] == pytest.approx(100, abs=1)


def test_a_recording_that_missed_the_playing_is_the_labs_fault(http: httpx.Client, loop: Loop) -> None:
    for played, recorded, told in ((1.0, 1.5, "call.flac began 0.50 s after"), (99.0, 1.0, "call.flac ended before")):
        score = {**SCORE, "with": {**SCORE["with"], "played_at": played, "recorded_at": recorded}}
        found = run(http, PLAY, RECORD, score)
        assert (found["verdict"], told in found["reason"]) == ("errored", True), found["reason"]


def test_a_client_that_has_to_be_there_is_looked_for(
    http: httpx.Client, loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    play = {"uses": "audio.play", "with": {"reference": "tone_500", "client": True}}
    assert "whether a client is on loop cannot be known" in run(http, play)["reason"]
    microphone = PulseMicrophone("unix:/nowhere", "a", "a.src")
    monkeypatch.setattr(loop, "open_microphone", lambda: microphone)
    monkeypatch.setattr(PulseMicrophone, "clients", lambda self: 0)
    monkeypatch.setattr(PulseMicrophone, "check", lambda self: loop.check())
    found = run(http, play)
    assert (found["verdict"], "no client is on a.src: is alice" in found["reason"]) == ("errored", True)


def test_what_cannot_be_played_or_found_is_the_labs_fault(http: httpx.Client, loop: Loop) -> None:
    loud = {"uses": "audio.play", "with": {"reference": "male_1", "gain_db": 20}}
    assert "would be clipped" in run(http, loud)["reason"]
    unknown = {"uses": "audio.play", "with": {"reference": "tenor"}}
    found = run(http, unknown)
    assert (found["verdict"], "references are female_1" in found["reason"]) == ("errored", True)
    assert "call.flac" in run(http, SCORE)["reason"]


def test_a_device_that_is_no_endpoint_or_lacks_the_end_is_named(http: httpx.Client) -> None:
    assert "eye is a lidar" in run(http, PLAY, device="eye")["reason"]
    assert "bob has no microphone" in run(http, PLAY, device="bob")["reason"]
    assert "alice has no speaker" in run(http, RECORD, device="alice")["reason"]


def test_wrong_parameters_are_told_with_their_place(http: httpx.Client) -> None:
    step = {"uses": "audio.score", "with": {"reference": "male_1", "recording": "x", "thresholds": {"min_mos": 9}}}
    job = {"name": "call", "roles": {"r": {"device": "alice"}}, "lanes": {"r": {"steps": [step]}}}
    answer = http.post("/api/v1/jobs", content=json.dumps(job))
    assert answer.status_code == 422
    assert "min_mos" in answer.json()["errors"][0]["where"]


def test_endpoints_open_the_drivers_that_they_name(lab: Lab) -> None:
    microphone = lab.devices["alice"].endpoint.open_microphone()
    assert isinstance(microphone, PulseMicrophone)
    assert (microphone.server, microphone.sink, microphone.source) == ("unix:/nowhere", "a", "a.src")
    assert lab.devices["alice"].endpoint.open_speaker() is None
    speaker = lab.devices["bob"].endpoint.open_speaker(SshHost(SshSettings("127.0.0.1", "nobody")))
    assert isinstance(speaker, CommandSpeaker)
    assert speaker.host.name == "nuc-1"


@pytest.mark.parametrize(
    "endpoint",
    [
        '{driver: pulse, server: "unix:/x"}',
        "{driver: ssh, host: -oProxyCommand=x, speaker: {device: b}}",
        "{driver: ssh, host: nobody-knows, speaker: {device: b}}",
        "{driver: drum, speaker: {device: b}}",
    ],
)
def test_a_senseless_endpoint_is_refused_with_its_line(tmp_path: Path, endpoint: str) -> None:
    path = tmp_path / "lab.yaml"
    path.write_text(f"lab: test\ndevices:\n  alice: {{kind: audio, endpoint: {endpoint}}}\n", encoding="utf-8")
    with pytest.raises(DocumentError, match=r"lab\.yaml:3"):
        load_lab(path)


def test_endpoints_tell_what_a_client_needs_to_be_on_them(http: httpx.Client) -> None:
    items = {each["device"]: each for each in http.get("/api/v1/audio/endpoints").json()["items"]}
    assert set(items) == {"alice", "bob"}
    assert items["alice"]["client_environment"] == {"PULSE_SERVER": "unix:/nowhere", "PULSE_SOURCE": "a.src"}
    assert (items["bob"]["driver"], items["bob"]["client_environment"]) == ("ssh", {})
