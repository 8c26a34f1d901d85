"""The audio service over HTTP: uploads are verified before they are stored; jobs are created, started, judged."""

from __future__ import annotations

import io
import os
import struct
import time
from collections.abc import Iterator
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile

from audio import reference
from labctl.config import Lab
from labctl.daemon import Daemon, run_daemon
from labctl.errors import InvalidInputError
from labctl.scoring import AudioJob, AudioPool
from labctl.scoring import files as files_module
from labctl.scoring.outcome import Refused, Scored

RATE = 8000


def wav(seconds: float = 1.0, level: float = 0.1, channels: int = 1, rate: int = RATE) -> bytes:
    stream = io.BytesIO()
    shape = (int(seconds * rate), channels)
    samples = level * np.random.default_rng(1).standard_normal(shape).clip(-3, 3)
    soundfile.write(stream, samples, rate, format="WAV", subtype="PCM_16")
    return stream.getvalue()


def upload(http: httpx.Client, content: bytes, name: str = "call.wav") -> httpx.Response:
    return http.post("/api/v1/audio/files", content=content, params={"name": name})


class ScriptedPool:
    """Stands in for the processes: scores are what the test says for the name of a recording."""

    processes = 2

    def __init__(self, pool: AudioPool, scores: dict[str, Any]) -> None:
        self._pool = pool
        self.scores = scores
        self.asked: list[str] = []

    def run(self, target: str, *arguments: Any) -> Any:
        if target.endswith(":inspect_file"):
            return self._pool.run(target, *arguments)
        names = arguments[1]
        self.asked.append(names["recording"])
        found = self.scores[names["recording"]]
        if isinstance(found, BaseException):
            raise found
        return found

    def close(self) -> None:
        self._pool.close()


def scored(passed: bool = True, reason: str = "", report: bool = False) -> Scored:
    row = {"name": "MOS", "value": 4.2, "unit": "1", "low": 3.5, "high": None, "verdict": "passed"}
    return Scored(passed, reason, (row,), {"mos": 4.2}, report)


class KeptPool:
    """The processes of one daemon, handed on to the next: to start them anew takes longer than most tests."""

    def __init__(self, pool: AudioPool) -> None:
        self._pool = pool
        self.processes = pool.processes
        self.run = pool.run

    def close(self) -> None: ...


@pytest.fixture(scope="module")
def kept_pool() -> Iterator[AudioPool]:
    pool = AudioPool()
    yield pool
    pool.close()


@pytest.fixture(autouse=True)
def daemons_share_processes(kept_pool: AudioPool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("labctl.daemon.AudioPool", lambda: KeptPool(kept_pool))


@pytest.fixture
def pool(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> ScriptedPool:
    scripted = ScriptedPool(daemon.audio_jobs._pool, {})
    monkeypatch.setattr(daemon.audio_jobs, "_pool", scripted)
    return scripted


def test_an_uploaded_file_is_described_and_comes_back_byte_for_byte(http: httpx.Client) -> None:
    content = wav(2.0)
    answer = upload(http, content)
    assert answer.status_code == 201
    file = answer.json()
    assert (file["name"], file["container"], file["sample_rate"], file["channels"]) == ("call.wav", "WAV", RATE, 1)
    assert (file["duration_s"], file["silent"], file["size"]) == (2.0, False, len(content))
    assert http.get(file["href"]).content == content
    assert http.get("/api/v1/audio/files").json()["items"] == [file]
    assert http.get(f"/api/v1/audio/files/{file['id']}").json() == file


def _promising() -> bytes:
    content = bytearray(wav())
    content[40:44] = struct.pack("<I", 0xFFFFFFF0)
    return bytes(content)


def test_what_is_no_usable_audio_is_refused_and_nothing_of_it_is_stored(http: httpx.Client, daemon: Daemon) -> None:
    for content, reason in (
        (b"", "is empty"),
        (b"<html>not audio</html>", "no WAV, FLAC or OGG"),
        (wav()[:-100], "cut off"),
        (wav(0), "no samples"),
        (wav(channels=7), "7 channels"),
        (wav(rate=1000), "sample rate of 1000 Hz"),
        (_promising(), "promises 4294967280 bytes"),
    ):
        answer = upload(http, content, "odd.wav")
        assert answer.status_code == 422
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["detail"].startswith("odd.wav")
        assert reason in answer.json()["detail"]
    assert http.get("/api/v1/audio/files").json()["items"] == []
    assert [path for path in daemon.audio_files._folder.rglob("*") if path.is_file()] == []


def test_an_upload_that_is_too_large_is_refused_before_and_while_it_is_read(
    http: httpx.Client, monkeypatch: pytest.MonkeyPatch, daemon: Daemon
) -> None:
    monkeypatch.setattr(files_module, "LARGEST_BYTES", 10_000)
    monkeypatch.setattr("labctl.api.audio.LARGEST_BYTES", 10_000)
    assert upload(http, wav(2.0)).status_code == 413
    streamed = http.post("/api/v1/audio/files", content=iter([wav(2.0)] * 3))  # no Content-Length
    assert streamed.status_code == 413
    assert [path for path in daemon.audio_files._folder.rglob("*") if path.is_file()] == []


def test_a_file_that_no_unfinished_job_needs_can_be_deleted(http: httpx.Client, pool: ScriptedPool) -> None:
    file = upload(http, wav()).json()["id"]
    job = http.post("/api/v1/audio/jobs", json={"pairs": [{"reference": "male_1", "recording": file}]}).json()["id"]
    assert http.delete(f"/api/v1/audio/files/{file}").status_code == 409
    http.post(f"/api/v1/audio/jobs/{job}/cancel")
    assert http.delete(f"/api/v1/audio/files/{file}").status_code == 204
    assert http.get(f"/api/v1/audio/files/{file}").status_code == 404


def test_a_job_is_created_then_started_and_then_has_a_result(http: httpx.Client, pool: ScriptedPool) -> None:
    pool.scores = {"call.wav": scored()}
    file = upload(http, wav()).json()["id"]
    body = {"name": "nightly", "pairs": [{"reference": "female_1", "recording": file}], "thresholds": {"min_mos": 3.5}}
    created = http.post("/api/v1/audio/jobs", json=body)
    assert created.status_code == 201
    job = created.json()
    assert (job["state"], job["verdict"], job["total"], job["done"]) == ("created", None, 1, 0)
    assert http.get(f"/api/v1/audio/jobs/{job['id']}/result").status_code == 202
    assert pool.asked == []
    assert http.post(f"/api/v1/audio/jobs/{job['id']}/start").status_code == 202
    answer = http.get(f"/api/v1/audio/jobs/{job['id']}/result", params={"wait_s": 30})
    assert answer.status_code == 200
    result = answer.json()
    assert (result["state"], result["verdict"], result["done"]) == ("finished", "passed", 1)
    (item,) = result["items"]
    assert item["result"] == {"mos": 4.2}
    assert item["measurements"][0]["low"] == 3.5
    assert item["pair"]["reference"] == "female_1"
    again = http.post(f"/api/v1/audio/jobs/{job['id']}/start")
    assert again.status_code == 409


def test_the_verdict_is_the_worst_of_all_pairs_and_progress_is_told_by_events(
    http: httpx.Client, pool: ScriptedPool
) -> None:
    pool.scores = {
        "good.wav": scored(),
        "poor.wav": scored(False, "MOS is 2.1, must be at least 3.5"),
        "odd.wav": Refused("odd.wav lasts 0.010 s"),
        "killer.wav": BrokenProcessPool(),
    }
    for names, verdict, reason in (
        (["good.wav"] * 3, "passed", ""),
        (["good.wav", "poor.wav", "good.wav"], "failed", "1 of 3 failed"),
        (["poor.wav", "odd.wav", "killer.wav"], "errored", "2 of 3 errored"),
    ):
        files = [upload(http, wav(), name).json()["id"] for name in names]
        pairs = [{"reference": "male_2", "recording": file} for file in files]
        job = http.post("/api/v1/audio/jobs", json={"pairs": pairs}).json()["id"]
        http.post(f"/api/v1/audio/jobs/{job}/start")
        result = http.get(f"/api/v1/audio/jobs/{job}/result", params={"wait_s": 30, "full": False}).json()
        assert (result["verdict"], result["reason"]) == (verdict, reason)
        assert [item["position"] for item in result["items"]] == [0, 1, 2]
        events = http.get("/api/v1/events", params={"limit": 1000}).json()["items"]
        told = [each["data"] for each in events if each["data"].get("audio_job") == job and "done" in each["data"]]
        assert [each["done"] for each in told] == [1, 2, 3]
    assert result["items"][2]["reason"].startswith("the process that scored it died")


def test_hundreds_of_pairs_are_scored(http: httpx.Client, pool: ScriptedPool) -> None:
    pool.scores = {"call.wav": scored()}
    file = upload(http, wav()).json()["id"]
    pairs = [{"reference": "male_1", "recording": file, "name": str(number)} for number in range(300)]
    job = http.post("/api/v1/audio/jobs", json={"pairs": pairs}).json()["id"]
    http.post(f"/api/v1/audio/jobs/{job}/start")
    result = http.get(f"/api/v1/audio/jobs/{job}/result", params={"wait_s": 60, "full": False}).json()
    assert (result["verdict"], len(result["items"]), len(pool.asked)) == ("passed", 300, 300)


@pytest.mark.parametrize(
    ("body", "where", "what"),
    [
        ({"pairs": []}, "/pairs", "at least 1"),
        ({"pairs": [{"reference": "male_1"}]}, "/pairs/0/recording", "is required"),
        ({"pairs": [{"reference": "tenor", "recording": "noise"}]}, "/pairs/0/reference", "references are female_1"),
        ({"pairs": [{"reference": "silence", "recording": "noise"}]}, "/pairs/0/reference", "is silent"),
        ({"pairs": [{"reference": "noise", "recording": "noise", "own_said": "noise"}]}, "/pairs/0", "go together"),
        ({"pairs": [{"reference": "noise", "recording": "noise"}], "thresholds": {"min_mos": 7}}, "/min_mos", "5"),
        ({"pairs": [{"reference": "noise", "recording": "noise"}], "thresholds": {"mos": 3}}, "/thresholds/mos", ""),
        (
            {"pairs": [{"reference": "noise", "recording": "noise"}], "thresholds": {"min_echo_return_loss_db": 30}},
            "",
            "own_said",
        ),
        (
            {"pairs": [{"reference": "noise", "recording": "noise"}], "thresholds": {"others": {"visqol": {"min": 3}}}},
            "",
            "names visqol; the programs asked, in others: none",
        ),
        ({"pairs": [{"reference": "noise", "recording": "noise"}], "others": ["polqa:/tmp/x"]}, "/others/0", "visqol"),
    ],
)
def test_a_wrong_job_is_refused_with_the_place(http: httpx.Client, body: dict[str, Any], where: str, what: str) -> None:
    answer = http.post("/api/v1/audio/jobs", json=body)
    assert answer.status_code == 422
    assert any(where in error["pointer"] and what in error["detail"] for error in answer.json()["errors"])
    assert http.get("/api/v1/audio/jobs").json()["items"] == []


def test_a_silent_file_is_taken_as_a_recording_and_refused_as_a_reference(http: httpx.Client) -> None:
    silent = upload(http, wav(level=0.0), "mute.wav").json()
    assert silent["silent"]
    taken = http.post("/api/v1/audio/jobs", json={"pairs": [{"reference": "male_1", "recording": silent["id"]}]})
    assert taken.status_code == 201
    refused = http.post("/api/v1/audio/jobs", json={"pairs": [{"reference": silent["id"], "recording": "male_1"}]})
    assert "mute.wav is silent" in refused.json()["detail"]


def test_what_is_not_there_is_not_found(http: httpx.Client) -> None:
    for path in ("files/none", "files/none/content", "jobs/none", "jobs/none/result", "jobs/none/reports/0"):
        assert http.get(f"/api/v1/audio/{path}").status_code == 404
    assert http.post("/api/v1/audio/jobs/none/start").status_code == 404
    assert http.delete("/api/v1/audio/files/none").status_code == 404


def test_a_report_is_shown_without_rights(http: httpx.Client, pool: ScriptedPool, daemon: Daemon) -> None:
    pool.scores = {"call.wav": scored(report=True)}
    file = upload(http, wav()).json()["id"]
    job = http.post("/api/v1/audio/jobs", json={"pairs": [{"reference": "male_1", "recording": file}]}).json()["id"]
    page = daemon.audio_jobs._report(job, 0)
    page.parent.mkdir(parents=True)
    page.write_text("<!doctype html><p>report</p>", encoding="utf-8")
    http.post(f"/api/v1/audio/jobs/{job}/start")
    result = http.get(f"/api/v1/audio/jobs/{job}/result", params={"wait_s": 30}).json()
    answer = http.get(result["items"][0]["report"])
    assert "report" in answer.text
    assert answer.headers["content-security-policy"] == "sandbox"


def test_a_job_goes_on_after_the_daemon_was_restarted(lab: Lab, tmp_path: Path) -> None:
    with run_daemon(lab, tmp_path / "data") as first:
        job = first.audio_jobs.create(AudioJob.model_validate({"pairs": [TONES, TONES]}), "someone")
        first.audio_jobs.close()  # so that nothing is scored before the end
        first.store.write(lambda transaction: files_module.rows.start_job(transaction, job))
        first.store.write(lambda transaction: files_module.rows.add_score(transaction, job, 0, ROW))
    with run_daemon(lab, tmp_path / "data") as second:
        for _ in range(600):
            with second.store.read() as connection:
                table = files_module.rows.audio_jobs
                state = connection.execute(table.select().where(table.c.id == job)).one()
            if state.state == "finished":
                break
            time.sleep(0.1)
        assert (state.state, state.total) == ("finished", 2)


TONES = {"reference": "tone_500", "recording": "tone_1000"}
ROW = {"verdict": "passed", "reason": "", "measurements": [], "result": None, "report": False}


def test_a_task_that_kills_its_process_fails_alone() -> None:
    pool = AudioPool(1)
    try:
        with pytest.raises(BrokenProcessPool):
            pool.run("os:abort")
        assert pool.run("os:getpid") != os.getpid()
    finally:
        pool.close()


def test_after_its_close_the_pool_says_that_the_daemon_is_ending() -> None:
    pool = AudioPool(1)
    pool.close()
    with pytest.raises(Exception, match="shutting down"):
        pool.run("os:getpid")


def test_a_file_that_kills_its_reader_is_refused(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    class Dying:
        def run(self, _target: str, *_arguments: Any) -> Any:
            raise BrokenProcessPool

    monkeypatch.setattr(daemon.audio_files, "_pool", Dying())
    with daemon.audio_files.upload() as under_way:
        under_way.add(wav())
        with pytest.raises(InvalidInputError, match="crash"):
            daemon.audio_files.keep(under_way, "evil.wav", "someone")
    assert not under_way.path.exists()


def test_a_real_pair_is_scored_judged_and_drawn_in_a_process(http: httpx.Client) -> None:
    voice = reference.load("male_2")
    muted = np.concatenate([np.zeros(4800), voice.samples])
    muted[5 * 48_000 : 7 * 48_000] = 0
    stream = io.BytesIO()
    soundfile.write(stream, muted, 48_000, format="FLAC", subtype="PCM_16")
    file = upload(http, stream.getvalue(), "muted.flac").json()["id"]
    pairs = [{"reference": "male_2", "recording": file}, {"reference": "male_2", "recording": "male_2"}]
    body = {"pairs": pairs, "thresholds": {"min_mos": 3.0}, "sample_rate": 16_000}
    job = http.post("/api/v1/audio/jobs", json=body).json()["id"]
    http.post(f"/api/v1/audio/jobs/{job}/start")
    for _ in range(3):
        answer = http.get(f"/api/v1/audio/jobs/{job}/result", params={"wait_s": 25}, timeout=60)
        if answer.status_code == 200:
            break
    result = answer.json()
    assert (result["verdict"], result["reason"]) == ("failed", "1 of 2 failed")
    bad, good = result["items"]
    assert bad["result"]["delay_ms"] == pytest.approx(100, abs=2)
    assert any(reason["kind"] == "mute" for reason in bad["result"]["reasons"])
    assert good["result"]["mos"] > 4.5
    page = http.get(bad["report"]).text
    assert "muted.flac" in page
    assert "mute" in page
