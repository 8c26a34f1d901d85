"""A run that only waits survives the restart of its daemon, in order or by `kill -9`, and so do the programs in it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import sqlalchemy as sa

from labctl.cli.daemon_child import daemon_child
from labctl.client import Lab
from labctl.config import Lab as LabFile
from labctl.daemon import Daemon, run_daemon
from labctl.registry import ActionRegistry
from labctl.steps import Outcome, StepContext, Verdict
from labctl.store import signalling
from labctl.store.tables import events, jobs, runs, steps

Scripted = Callable[[Daemon, str, Callable[[StepContext], Outcome]], None]


@pytest.fixture
def acted(scripted: Scripted, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the action test.act was asked to do, on whatever daemon."""
    done: list[str] = []
    actions = ActionRegistry()

    def act(context: StepContext) -> Outcome:
        done.append(context.lane)
        context.output("port", 5004)
        return Outcome(Verdict.PASSED)

    scripted(cast("Daemon", SimpleNamespace(actions=actions)), "test.act", act)
    monkeypatch.setattr("labctl.daemon.ActionRegistry", lambda: actions)
    return done


def waiting(daemon: Daemon, *steps_: dict[str, Any], always: list[dict[str, Any]] | None = None) -> tuple[str, str]:
    """A job whose lane has come to its `wait`; job and run."""
    lane = {"steps": list(steps_), "always": always or []}
    document = {"name": "j", "roles": {"one": {"device": "alone"}}, "lanes": {"one": lane}, "signals": ["go"]}
    job = daemon.submissions.submit(json.dumps(document), "job", "me").job
    seen = 0
    while True:
        with daemon.store.read() as connection:
            here = sa.select(steps.c.run_id).where(steps.c.verdict == "running", steps.c.what == "wait go")
            run = connection.execute(here).scalar()
        if run is not None:
            return job, str(run)
        seen = daemon.store.bell.wait(seen, 20)


def finish(daemon: Daemon, job: str) -> sa.Row[Any]:
    seen = 0
    while True:
        with daemon.store.read() as connection:
            row = connection.execute(sa.select(jobs).where(jobs.c.id == job)).one()
        if row.state == "finished":
            return row
        seen = daemon.store.bell.wait(seen, 20)


def test_a_lane_goes_on_waiting_with_what_it_knew(
    lab: LabFile, tmp_path: Path, database_url: str, acted: list[str]
) -> None:
    act = {"uses": "test.act", "id": "act"}
    check = {"uses": "test.act", "if": "steps.act.outputs.port == 5004 && steps.go.outputs.payload.n == 7"}
    left_out = {"uses": "test.act", "if": "false"}
    with run_daemon(lab, tmp_path / "data", database_url) as daemon:
        job, run = waiting(daemon, act, left_out, {"id": "go", "wait": "go"}, check)
    assert acted == ["one"]
    with run_daemon(lab, tmp_path / "data", database_url) as daemon:
        daemon.store.write(lambda transaction: signalling.send(transaction, run, "go", "me", {"n": 7}))
        assert finish(daemon, job).verdict == "passed"
        with daemon.store.read() as connection:
            told = [row.kind for row in connection.execute(sa.select(events).where(events.c.job_id == job))]
            attempts = connection.execute(sa.select(runs.c.attempt)).scalars().all()
    assert acted == ["one", "one"]
    assert (told.count("run.started"), told.count("run.finished"), attempts) == (1, 1, [1])


def test_a_deadline_goes_on_from_when_the_wait_began(
    lab: LabFile, tmp_path: Path, database_url: str, acted: list[str]
) -> None:
    with run_daemon(lab, tmp_path / "data", database_url) as daemon:
        job, _ = waiting(daemon, {"wait": "go", "timeout": "1h"}, always=[{"uses": "test.act"}])
    with run_daemon(lab, tmp_path / "data", database_url) as daemon:
        daemon.store.write(  # an hour goes by
            lambda transaction: transaction.execute(sa.update(steps).values(started_at=steps.c.started_at - 3600))
        )
    with run_daemon(lab, tmp_path / "data", database_url) as daemon:
        row = finish(daemon, job)
    assert (row.verdict, row.reason, acted) == ("failed", "'go' was not notified within 60 min", ["one"])


def test_a_lane_that_comes_back_too_late_tears_down(
    lab: LabFile, tmp_path: Path, database_url: str, acted: list[str]
) -> None:
    """Its lease was over, and perhaps somebody else's: it is errored without another step on the device."""
    with run_daemon(lab, tmp_path / "data", database_url) as daemon:
        job, _ = waiting(daemon, {"wait": "go"})
        daemon.store.write(
            lambda transaction: transaction.execute(sa.text("UPDATE leases SET expires_at = 1, ends_at = 1"))
        )
    with run_daemon(lab, tmp_path / "data", database_url) as daemon:
        row = finish(daemon, job)
    assert row.verdict == "errored"
    assert acted == []


def test_a_program_waits_on_through_kill_9(tmp_path: Path, database_url: str) -> None:
    """The shipped example waits for "go", the daemon dies, another takes its place, and all ends well."""
    (tmp_path / "lab.yaml").write_text(
        "lab: l\ndevices:\n  phone: {kind: endpoint, simulated: true}\n", encoding="utf-8"
    )
    document = {
        "name": "j",
        "roles": {"device": {"kind": "endpoint"}},
        "signals": ["go", "python-done"],
        "lanes": {"device": {"steps": [{"wait": "python-done"}]}},
    }
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    options = (tmp_path / "lab.yaml", tmp_path / "data", tmp_path / "log", "--port", port, "--database", database_url)
    examples = Path(__file__).parents[3] / "examples" / "signals"
    with daemon_child(*options) as child, Lab(child.url) as lab:
        job = lab.submit(json.dumps(document))["id"]
        for event in lab.follow(job):
            if event["kind"] == "step.started":
                break
        environment = {**os.environ, "LABCTL_URL": child.url, "RUN": event["run"]}
        joined = subprocess.Popen([sys.executable, str(examples / "join.py")], env=environment)
        child.process.kill()
        child.process.wait()
    with daemon_child(*options) as child, Lab(child.url) as lab:
        lab.notify(event["run"], "go", {"n": 1})
        assert joined.wait(60) == 0
        for _ in lab.follow(job):
            pass
        assert lab.job(job)["verdict"] == "passed"
        assert len(lab.job(job)["runs"]) == 1
