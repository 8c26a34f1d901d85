"""A job with devices of two daemons: each lane runs where its device is, and they meet through the database alone."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from labctl.config import load_lab
from labctl.daemon import Daemon, run_daemon
from labctl.steps import Outcome, StepContext, Verdict
from labctl.store import running
from labctl.store.tables import daemons, events, jobs, lanes, leases

Scripted = Callable[[Daemon, str, Callable[[StepContext], Outcome]], None]


Start = Callable[[str], AbstractContextManager[Daemon]]


@pytest.fixture
def start(tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Start:
    """Starts the daemon "here" with the device left, or "there" with the device right."""
    monkeypatch.setattr("labctl.sequencer.service._LOOK_FOR_DAEMONS_S", 0.05)
    database = request.getfixturevalue("postgresql").create(request.getfixturevalue("migrated"))

    def daemon(name: str) -> AbstractContextManager[Daemon]:
        path, device = tmp_path / f"{name}.yaml", {"here": "left", "there": "right"}[name]
        text = (
            f"lab: {name}\nartifacts: memory://lab\ndevices:\n  {device}: {{kind: lidar, url: 'tcp://127.0.0.1:1'}}\n"
        )
        path.write_text(text, encoding="utf-8")
        return run_daemon(load_lab(path), tmp_path / name, database)

    return daemon


@pytest.fixture
def two(start: Start) -> Iterator[list[Daemon]]:
    with start("here") as here, start("there") as there:
        yield [here, there]


def submit(daemon: Daemon, left: dict[str, Any], right: dict[str, Any], **more: Any) -> str:
    roles = {"left": {"device": "left"}, "right": {"device": "right"}}
    document = {"name": "j", "roles": roles, "lanes": {"left": left, "right": right}, **more}
    return daemon.submissions.submit(json.dumps(document), "job", "me").job


def finish(daemon: Daemon, job: str) -> sa.Row[Any]:
    seen = 0
    while True:
        with daemon.store.read() as connection:
            row = connection.execute(sa.select(jobs).where(jobs.c.id == job)).one()
        if row.state == "finished":
            return row
        seen = daemon.store.bell.wait(seen, 20)


def kinds(daemon: Daemon, job: str) -> list[str]:
    with daemon.store.read() as connection:
        found = sa.select(events.c.kind).where(events.c.job_id == job).order_by(events.c.sequence)
        return list(connection.execute(found).scalars())


def test_each_lane_runs_on_the_daemon_of_its_device_and_they_meet(two: list[Daemon], scripted: Scripted) -> None:
    ran: dict[str, str] = {}
    for number, daemon in enumerate(two):
        name = ("here", "there")[number]
        scripted(
            daemon,
            "test.act",
            lambda context, name=name: (ran.update({context.lane: name}), Outcome(Verdict.PASSED))[1],
        )
    act = {"uses": "test.act"}
    left = {"steps": [act, {"id": "port", "wait": "port"}, {"barrier": "end"}]}
    right = {"steps": [act, {"notify": "port", "payload": {"port": 5004}}, {"barrier": "end"}]}
    job = submit(two[0], left, right, outputs={"port": "${{ lanes.left.steps.port.outputs.payload.port }}"})
    assert finish(two[1], job).verdict == "passed"
    assert ran == {"left": "here", "right": "there"}
    with two[1].store.read() as connection:
        owners = {row.name: row.daemon for row in connection.execute(sa.select(lanes))}
        held = connection.execute(sa.select(leases.c.state)).scalars().all()
    assert owners == {"left": two[0].store.daemon_id, "right": two[1].store.daemon_id}
    assert held == ["released"]
    assert kinds(two[0], job).count("run.finished") == 1


def test_a_job_is_cancelled_through_any_daemon_on_all(two: list[Daemon], scripted: Scripted) -> None:
    begun, torn_down = threading.Barrier(3, timeout=30), []
    for daemon in two:
        scripted(
            daemon,
            "test.act",
            lambda context: (begun.wait(), context.cancellation.wait(60), Outcome(Verdict.CANCELLED))[2],
        )
        scripted(daemon, "test.clean", lambda context: (torn_down.append(context.lane), Outcome(Verdict.PASSED))[1])
    lane = {"steps": [{"uses": "test.act"}], "always": [{"uses": "test.clean"}]}
    job = submit(two[0], lane, lane)
    begun.wait()
    two[1].cancel(job, "enough")
    row = finish(two[0], job)
    assert (row.verdict, row.reason, sorted(torn_down)) == ("cancelled", "enough", ["left", "right"])


@pytest.mark.parametrize("back", [True, False])
def test_a_lane_that_waits_outlives_the_restart_of_its_daemon_but_not_its_end(
    start: Start, scripted: Scripted, monkeypatch: pytest.MonkeyPatch, back: bool
) -> None:
    """The other daemon carries on meanwhile, and looks for those that are gone."""
    going, looked, torn_down = threading.Event(), threading.Semaphore(0), threading.Event()
    lost_daemons = running.lost_daemons

    def look(connection: sa.Connection, gone: set[str]) -> set[str]:
        found = lost_daemons(connection, gone)
        if found:
            looked.release()
        return found

    with start("here") as here:
        scripted(here, "test.hold", lambda _context: (going.wait(60), Outcome(Verdict.PASSED))[1])
        scripted(here, "test.clean", lambda _context: (torn_down.set(), Outcome(Verdict.PASSED))[1])
        with start("there") as there:
            scripted(there, "test.clean", lambda _context: Outcome(Verdict.PASSED))
            scripted(there, "test.hold", lambda _context: Outcome(Verdict.PASSED))
            clean = [{"uses": "test.clean"}]
            left = {"steps": [{"uses": "test.hold"}, {"notify": "go"}, {"barrier": "end"}], "always": clean}
            job = submit(here, left, {"steps": [{"wait": "go"}, {"barrier": "end"}]})
            seen = 0
            while kinds(here, job).count("step.started") < 2:
                seen = here.store.bell.wait(seen, 20)
            monkeypatch.setattr(running, "lost_daemons", look)
        for _ in range(3):  # the second look is over when the third begins
            assert looked.acquire(timeout=60)
        assert "lane.finished" not in kinds(here, job)
        if back:
            with start("there"):
                going.set()
                assert finish(here, job).verdict == "passed"
        else:
            long_gone = sa.update(daemons).where(daemons.c.name == "there").values(expires_at=0.0)
            here.store.write(lambda transaction: transaction.execute(long_gone))
            while "lane.finished" not in kinds(here, job):
                seen = here.store.bell.wait(seen, 20)
            going.set()
            row = finish(here, job)
            assert (row.verdict, row.reason) == ("errored", "the daemon there is gone")
        assert torn_down.is_set()
        assert kinds(here, job).count("run.started") == 1


@pytest.mark.parametrize("again", ["errored", "requeue"])
def test_a_daemon_that_is_gone_ends_the_run_once_and_the_other_tears_down(
    two: list[Daemon], scripted: Scripted, again: str
) -> None:
    """It is stalled, and comes back when all is over: what it has to say then counts no more."""
    here, there = two
    stalled, wake, torn_down = threading.Event(), threading.Event(), threading.Event()
    turns: list[int] = []

    def stall(_context: StepContext) -> Outcome:
        turns.append(len(turns))
        if len(turns) > 1:
            return Outcome(Verdict.PASSED)
        stalled.set()
        wake.wait(60)
        return Outcome(Verdict.FAILED, "too late")

    scripted(there, "test.stall", stall)
    scripted(here, "test.stall", stall)
    for daemon in two:
        scripted(daemon, "test.clean", lambda context: (torn_down.set(), Outcome(Verdict.PASSED))[1])
    left = {"steps": [{"wait": "done"}], "always": [{"uses": "test.clean"}]}
    right = {"steps": [{"uses": "test.stall"}, {"notify": "done"}]}
    job = submit(here, left, right, on_lab_failure=again)
    assert stalled.wait(30)
    gone = sa.update(daemons).where(daemons.c.id == there.store.daemon_id).values(expires_at=0.0)
    here.store.write(lambda transaction: transaction.execute(gone))
    seen = 0
    while "run.finished" not in (told := kinds(here, job)):
        seen = here.store.bell.wait(seen, 20)
    assert torn_down.is_set()
    wake.set()
    row = finish(here, job)
    if again == "errored":
        assert (row.verdict, row.reason) == ("errored", "the daemon there is gone")
        assert told.count("run.finished") == 1
    else:
        assert (row.verdict, row.reason) == ("passed", "")
        assert [each for each in kinds(here, job) if each.startswith("run.")].count("run.started") == 2
    with here.store.read() as connection:
        verdicts = connection.execute(sa.text("SELECT verdict, count(*) FROM runs GROUP BY verdict")).all()
        held = connection.execute(sa.select(leases.c.state)).scalars().all()
    assert ("errored", 1) in {tuple(each) for each in verdicts}
    assert "active" not in held
