"""A job is cancelled, or loses who waited for it, wherever it is: torn down, with one verdict, nothing held."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from labctl.cli.daemon_child import daemon_child
from labctl.client import Lab as Client
from labctl.client import LabClientError
from labctl.config import Lab, load_lab
from labctl.steps import Outcome, StepContext, Verdict

Offer = Callable[[str, Callable[[StepContext], Outcome]], None]
LAB = """
lab: test
devices:
  eye:
    kind: lidar
    url: "tcp://127.0.0.1:1"
    checks: {before_use: true}
    hooks: {before: [{uses: test.clean}], after: [{uses: test.reset}]}
  other: {kind: lidar, url: "tcp://127.0.0.1:2"}
"""
STEPS = ("device.check", "test.clean", "test.do", "test.tidy", "test.reset")
TIDIED = {"test.tidy", "test.reset"}
JOB: dict[str, Any] = {
    "name": "cancel me",
    "signals": ["go", "never"],
    "roles": {"eye": {"device": "eye"}, "other": {"device": "other"}},
    "lanes": {
        "eye": {
            "steps": [{"uses": "test.do", "retry": {"times": 1, "delay": "1h"}}, {"wait": "go"}, {"barrier": "both"}],
            "always": [{"uses": "test.tidy"}],
        },
        # It comes to the barrier only when it is told to.
        "other": {"steps": [{"uses": "test.pass"}, {"wait": "never"}, {"barrier": "both"}]},
    },
}
# Where the job is when it is cancelled, and what becomes of it. In its teardown nothing is left to cancel.
STATES = {
    "device.check": "cancelled",
    "test.clean": "cancelled",
    "test.do": "cancelled",
    "retry": "cancelled",
    "wait go": "cancelled",
    "barrier both": "cancelled",
    "test.tidy": "failed",
    "test.reset": "failed",
}


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    path = tmp_path / "lab.yaml"
    path.write_text(LAB, encoding="utf-8")
    return load_lab(path)


class Script:
    """Steps that say when they are there; the one called `stays` stays until it is cancelled, or let go."""

    def __init__(self, offer: Offer) -> None:
        self.done: list[str] = []
        self.stays = ""
        self.there = threading.Event()
        self.go_on = threading.Event()
        for name in STEPS:
            offer(name, lambda context, name=name: self._step(name, context))  # type: ignore[misc]  # name is bound
        offer("test.pass", lambda _context: Outcome(Verdict.PASSED))

    def begin(self, stays: str) -> None:
        self.done, self.stays = [], stays
        self.there.clear()
        self.go_on.clear()

    def _step(self, name: str, context: StepContext) -> Outcome:
        self.done.append(name)
        if name == self.stays:
            self.there.set()
            while not self.go_on.is_set() and not context.cancellation.wait(0.02):
                pass
        fails = name == "test.do" and self.stays in ("retry", *TIDIED)
        return Outcome(Verdict.FAILED if fails else Verdict.PASSED)


def stands(lab: Client, job: str, script: Script, state: str) -> None:
    """Returns when the job is in that state."""
    if state in STEPS:
        assert script.there.wait(100)
        return
    for event in lab.follow(job):
        about = event["data"]
        if state == "retry" and event["kind"] == "step.finished" and about["step"] == "test.do":
            return
        if event["kind"] != "step.started" or about["lane"] != "eye":
            continue
        if about["step"] == state:
            return
        if state == "barrier both" and about["step"] == "wait go":
            lab.notify(event["run"], "go")


def job_text(state: str) -> str:
    document: dict[str, Any] = json.loads(json.dumps(JOB))
    if state in TIDIED:
        del document["lanes"]["eye"]["steps"][0]["retry"]  # it fails once and for all
        del document["lanes"]["other"]["steps"][1]  # nothing is left but the teardown
    return json.dumps(document)


def ends(lab: Client, job: str) -> list[str]:
    """The verdicts that were said of the job."""
    return [each["data"]["verdict"] for each in lab.follow(job) if each["kind"] == "job.finished"]


def test_a_job_is_cancelled_in_every_state(url: str, offer: Offer) -> None:
    script = Script(offer)
    with Client(url) as lab:
        for state, verdict in STATES.items():
            script.begin(state)
            job = str(lab.submit(job_text(state))["id"])
            stands(lab, job, script, state)
            queued = str(lab.submit(job_text(state))["id"])
            assert lab.cancel(queued, "not needed")["verdict"] == "cancelled", state
            lab.cancel(job, "enough")
            if state in TIDIED:
                lab.cancel(job, "enough, I say")
            script.go_on.set()
            assert ends(lab, job) == [verdict], state
            finished = lab.job(job)
            assert (finished["state"], finished["verdict"]) == ("finished", verdict)
            assert (finished["reason"] == "enough") == (verdict == "cancelled"), state
            assert [each for each in script.done if each in TIDIED] == ["test.tidy", "test.reset"], state
            assert lab.leases() == []
            assert ends(lab, queued) == ["cancelled"]
            assert lab.job(queued)["runs"] == []
            with pytest.raises(LabClientError, match="is finished already"):
                lab.cancel(job)


@pytest.fixture
def waiting(url: str, offer: Offer, tmp_path: Path) -> Iterator[tuple[Client, Script, subprocess.Popen[str]]]:
    """A job that stays in a step, with `labctl run --wait` waiting for it."""
    script = Script(offer)
    script.begin("test.do")
    (tmp_path / "job.json").write_text(job_text(""), encoding="utf-8")
    run_it = [sys.executable, "-m", "labctl", "run", str(tmp_path / "job.json"), "--json", "--wait", "--url", url]
    command = ["env", "--default-signal=HUP,INT,TERM", *run_it]  # the tests may have been started to ignore one
    with (
        Client(url) as lab,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run,
    ):
        assert script.there.wait(100)
        yield lab, script, run
        script.go_on.set()
        run.kill()


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_whoever_is_told_to_wait_no_more_cancels_the_job(
    waiting: tuple[Client, Script, subprocess.Popen[str]], number: int
) -> None:
    lab, script, run = waiting
    run.send_signal(number)
    out, err = run.communicate(timeout=100)
    assert "Traceback" not in err
    assert run.returncode == 4
    job = json.loads(out)
    assert (job["verdict"], job["reason"]) == ("cancelled", "whoever waited for it was interrupted")
    assert ends(lab, job["id"]) == ["cancelled"]
    assert [each for each in script.done if each in TIDIED] == ["test.tidy", "test.reset"]
    assert lab.leases() == []


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_the_second_ctrl_c_leaves_the_teardown_to_the_daemon(
    waiting: tuple[Client, Script, subprocess.Popen[str]],
) -> None:
    lab, script, run = waiting
    script.there.clear()
    script.stays = "test.tidy"
    run.send_signal(signal.SIGINT)
    assert script.there.wait(100)
    run.send_signal(signal.SIGINT)
    _, err = run.communicate(timeout=100)
    job = lab.jobs()[0]["id"]
    assert (run.returncode, f"`labctl jobs wait {job}`" in err, "Traceback" in err) == (130, True, False)
    script.go_on.set()
    assert ends(lab, job) == ["cancelled"]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_job_goes_on_without_a_client_that_was_killed(
    waiting: tuple[Client, Script, subprocess.Popen[str]],
) -> None:
    lab, script, run = waiting
    run.kill()
    run.wait()
    job = lab.jobs()[0]["id"]
    script.go_on.set()
    for event in lab.follow(job):
        if event["kind"] == "step.started" and event["data"]["step"] == "wait go":
            lab.notify(event["run"], "go")
            lab.notify(event["run"], "never")
    assert lab.job(job)["verdict"] == "passed"
    assert lab.leases() == []


def test_whoever_waits_outlives_a_restart_of_the_daemon(tmp_path: Path) -> None:
    (tmp_path / "lab.yaml").write_text("lab: t\ndevices: {bob: {kind: endpoint, simulated: true}}", encoding="utf-8")
    lanes = {"bob": {"steps": [{"wait": "go"}]}}
    job = {"name": "wait", "signals": ["go"], "roles": {"bob": {"device": "bob"}}, "lanes": lanes}
    (tmp_path / "job.json").write_text(json.dumps(job), encoding="utf-8")
    arguments = (tmp_path / "lab.yaml", tmp_path / "data", tmp_path / "log")
    with daemon_child(*arguments) as child:
        port = child.url.rpartition(":")[2]
        command = [sys.executable, "-m", "labctl", "run", str(tmp_path / "job.json"), "--wait", "--url", child.url]
        run = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert run.stderr is not None
        while "wait go" not in run.stderr.readline():
            pass
        child.process.kill()
        child.process.wait()
    while "the daemon does not answer" not in run.stderr.readline():
        pass
    with daemon_child(*arguments, "--port", port) as child, Client(child.url) as lab:
        (found,) = lab.jobs()
        lab.notify(lab.job(found["id"])["runs"][0], "go")
        _, err = run.communicate(timeout=100)
    assert (run.returncode, "verdict: passed" in err) == (0, True)
