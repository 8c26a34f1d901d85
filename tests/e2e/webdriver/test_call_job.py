"""Two browsers in a call as a job of the library: heard by a mock speaker, scored; a muted call fails and says why."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from labctl.cli.daemon_child import daemon_child
from labctl.client import Lab
from labctl.jobs import shipped

pytestmark = [pytest.mark.alone, pytest.mark.timeout(1500)]

CHROME = {"goog:chromeOptions": {"args": ["--headless=new", "--no-sandbox", "--disable-dev-shm-usage"]}}


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    folder = tmp_path_factory.mktemp("lab")
    devices: dict[str, Any] = {}
    for who in ("alice", "bob"):
        devices[f"{who}-audio"] = {"kind": "audio", "endpoint": {"driver": "virtual"}}
        devices[who] = {
            "kind": "browser",
            "target": {"driver": "chromedriver"},
            "sound": {"microphone": f"{who}-audio", "speaker": f"{who}-audio"},
            "defaults": CHROME,
        }
    devices["spare-audio"] = devices["bob-audio"]
    (folder / "lab.json").write_text(json.dumps({"lab": "call", "devices": devices}), encoding="utf-8")
    with daemon_child(folder / "lab.json", folder / "data", folder / "daemon.log") as child, Lab(child.url) as client:
        for _ in client.events(0):
            if {each["state"] for each in client.devices()} == {"good"}:
                break
        yield client


def call(lab: Lab, **changes: str) -> dict[str, Any]:
    """The last run of the job, which the lab repeats by itself where its own machine was too busy."""
    job = lab.submit(shipped.text("browser-call"), variables=changes)["id"]
    for _ in lab.follow(job):
        pass
    ended = lab.job(job)
    return {**lab.run_result(ended["runs"][-1]), "reason": ended["reason"], "verdict": ended["verdict"]}


def judged(lab: Lab, **changes: str) -> dict[str, Any]:
    """A run that the lab could judge: where the machine stays too busy the job is asked for three times at most."""
    for _ in range(3):
        run = call(lab, **changes)
        if run["verdict"] != "errored":
            break
    return run


def measured(run: dict[str, Any]) -> dict[str, float]:
    return {each["name"]: each["value"] for each in run["measurements"]}


def test_the_far_end_hears(lab: Lab) -> None:
    run = judged(lab)

    assert run["verdict"] == "passed", run["reason"]
    assert measured(run)["MOS"] >= 3.6
    assert {"call.flac", "score.html", "score.json", "alice-commands.jsonl"} <= {
        each["name"] for each in run["artifacts"]
    }


@pytest.mark.soak
def test_a_muted_call_fails_and_says_why(lab: Lab) -> None:
    run = judged(lab, muted="true")

    assert run["verdict"] == "failed", run["reason"]
    assert "the recording is silent" in run["reason"]


@pytest.mark.soak
def test_sound_that_no_browser_is_on_says_nothing_about_the_call(lab: Lab) -> None:
    run = call(lab, microphone="spare-audio")

    assert run["verdict"] == "errored"
    assert "no client is on" in run["reason"]
