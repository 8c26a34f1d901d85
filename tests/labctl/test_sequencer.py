"""Runs: lanes side by side, teardown always, exactly one verdict."""

from __future__ import annotations

import json
import math
import os
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from xml.etree import ElementTree

import httpx
import pytest
import sqlalchemy as sa

from drivers.errors import DeviceSilentError
from labctl.config import Lab
from labctl.daemon import Daemon, run_daemon
from labctl.errors import LabFailureError
from labctl.leases import Leases
from labctl.matching import Requirement
from labctl.registry import ActionRegistry
from labctl.steps import Measurement, Outcome, StepContext, Verdict
from labctl.store import Transaction, inventory, open_store, running, submitting
from labctl.store.submitting import NewJob
from labctl.store.tables import artifacts, events, jobs, lanes, leases, measurements, runs

Offer = Callable[[str, Callable[[StepContext], Outcome]], None]
Scripted = Callable[[Daemon, str, Callable[[StepContext], Outcome]], None]


def job(lanes: dict[str, dict[str, Any]], **more: Any) -> str:
    roles = {name: {"device": {"one": "alone", "two": "left"}[name]} for name in lanes}
    return json.dumps({"name": "job", "roles": roles, "lanes": lanes, **more})


def lane(*names: str, always: tuple[str, ...] = (), **step: Any) -> dict[str, Any]:
    return {
        "steps": [{"uses": f"test.{name}", **step} for name in names],
        "always": [{"uses": f"test.{name}"} for name in always],
    }


def submit(daemon: Daemon, text: str) -> str:
    return daemon.submissions.submit(text, "job", "me").job


def finish(daemon: Daemon, submitted: str) -> sa.Row[Any]:
    seen = 0
    while True:
        with daemon.store.read() as connection:
            row = connection.execute(sa.select(jobs).where(jobs.c.id == submitted)).one()
            held = connection.execute(sa.select(leases.c.state).where(leases.c.job_id == submitted)).scalars().all()
        if row.state == "finished" and "active" not in held:
            return row
        seen = daemon.store.bell.wait(seen, 20)


def run(daemon: Daemon, text: str) -> tuple[str, str]:
    row = finish(daemon, submit(daemon, text))
    return row.verdict, row.reason


def kinds(daemon: Daemon, submitted: str) -> list[str]:
    with daemon.store.read() as connection:
        found = sa.select(events.c.kind).where(events.c.job_id == submitted).order_by(events.c.sequence)
        return list(connection.execute(found).scalars())


def test_steps_run_in_order_and_stop_at_the_first_that_does_not_pass(daemon: Daemon, offer: Offer) -> None:
    done: list[str] = []

    def act(name: str, verdict: Verdict) -> None:
        offer(f"test.{name}", lambda context: (done.append(name), Outcome(verdict, name))[1])

    act("a", Verdict.PASSED)
    act("b", Verdict.FAILED)
    act("c", Verdict.PASSED)
    act("z", Verdict.PASSED)
    assert run(daemon, job({"one": lane("a", "b", "c", always=("z",))})) == ("failed", "b")
    assert done == ["a", "b", "z"]


def test_lanes_run_at_the_same_time(daemon: Daemon, offer: Offer) -> None:
    meeting = threading.Barrier(2, timeout=20)
    offer("test.meet", lambda context: (meeting.wait(), Outcome(Verdict.PASSED))[1])
    assert run(daemon, job({"one": lane("meet"), "two": lane("meet")})) == ("passed", "")


def test_the_worst_verdict_of_all_lanes_counts(daemon: Daemon, offer: Offer) -> None:
    offer("test.bad", lambda context: Outcome(Verdict.FAILED, "bad"))
    offer("test.broken", lambda context: Outcome(Verdict.ERRORED, "broken"))
    assert run(daemon, job({"one": lane("bad"), "two": lane("broken")})) == ("errored", "broken")


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (DeviceSilentError("the board says nothing"), "the board says nothing"),
        (LabFailureError("the guard is away"), "the guard is away"),
        (ZeroDivisionError("division by zero"), "test.act failed in itself: ZeroDivisionError: division by zero"),
    ],
)
def test_an_error_is_the_labs_and_teardown_still_runs(
    daemon: Daemon, offer: Offer, error: Exception, reason: str
) -> None:
    torn_down = threading.Event()

    def act(context: StepContext) -> Outcome:
        raise error

    offer("test.act", act)
    offer("test.clean", lambda context: (torn_down.set(), Outcome(Verdict.PASSED))[1])
    assert run(daemon, job({"one": lane("act", always=("clean",))})) == ("errored", reason)
    assert torn_down.is_set()


def test_cancellation_reaches_the_step_and_tears_down(daemon: Daemon, offer: Offer) -> None:
    under_way, torn_down = threading.Event(), threading.Event()

    def act(context: StepContext) -> Outcome:
        under_way.set()
        context.cancellation.wait(30)
        return Outcome(Verdict.CANCELLED)

    def clean(context: StepContext) -> Outcome:
        assert not context.cancellation.asked
        torn_down.set()
        return Outcome(Verdict.PASSED)

    offer("test.act", act)
    offer("test.clean", clean)
    submitted = submit(daemon, job({"one": lane("act", always=("clean",))}))
    assert under_way.wait(20)
    daemon.cancel(submitted, "changed my mind")
    row = finish(daemon, submitted)
    assert (row.verdict, row.reason, torn_down.is_set()) == ("cancelled", "changed my mind", True)
    told = kinds(daemon, submitted)
    assert told.count("run.finished") == 1
    assert told[:4] == ["job.submitted", "lease.granted", "run.started", "step.started"]
    assert told[-3:] == ["run.finished", "lease.released", "job.finished"]


@pytest.mark.parametrize("where", ["step", "job"])
def test_a_time_limit_makes_the_run_errored(daemon: Daemon, offer: Offer, where: str) -> None:
    offer("test.act", lambda context: (context.cancellation.wait(30), Outcome(Verdict.CANCELLED))[1])
    if where == "step":
        text, reason = job({"one": lane("act", timeout=0.1)}), "test.act took longer than its 0.1 s"
    else:
        text, reason = job({"one": lane("act")}, timeout=0.1), "the job took longer than its 0.1 s"
    assert run(daemon, text) == ("errored", reason)


def test_a_lease_that_is_taken_away_ends_the_run(daemon: Daemon, offer: Offer) -> None:
    under_way = threading.Event()

    def act(context: StepContext) -> Outcome:
        under_way.set()
        context.cancellation.wait(30)
        return Outcome(Verdict.CANCELLED)

    offer("test.act", act)
    submitted = submit(daemon, job({"one": lane("act")}))
    assert under_way.wait(20)
    with daemon.store.read() as connection:
        lease = connection.execute(sa.select(leases.c.id).where(leases.c.job_id == submitted)).scalar_one()
    daemon.leases.release(lease, "needed elsewhere")
    row = finish(daemon, submitted)
    assert (row.verdict, row.reason) == ("errored", "its lease ended: needed elsewhere")


def test_measurements_are_kept_with_units_limits_and_verdicts(daemon: Daemon, offer: Offer) -> None:
    def act(context: StepContext) -> Outcome:
        context.measure([Measurement("offset", 0.02, "m", None, 0.05, Verdict.PASSED), Measurement("p", None, "1")])
        return Outcome(Verdict.PASSED)

    offer("test.act", act)
    assert run(daemon, job({"one": lane("act")})) == ("passed", "")
    with daemon.store.read() as connection:
        rows = connection.execute(sa.select(measurements).order_by(measurements.c.id)).all()
    assert [(row.name, row.value, row.unit, row.high, row.verdict) for row in rows] == [
        ("offset", 0.02, "m", 0.05, "passed"),
        ("p", None, "1", None, None),
    ]


def test_a_verdict_that_the_database_did_not_take_is_written_later(
    daemon: Daemon, offer: Offer, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusals = [sa.exc.OperationalError("INSERT", {}, Exception("database or disk is full"))]
    finish_lane = running.finish_lane

    def full_at_first(*arguments: Any) -> Any:
        if refusals:
            raise refusals.pop()
        return finish_lane(*arguments)

    monkeypatch.setattr("labctl.store.running.finish_lane", full_at_first)
    monkeypatch.setattr("labctl.sequencer.run._WRITE_AGAIN_S", 0.01)
    offer("test.act", lambda context: Outcome(Verdict.FAILED, "it squeaks"))
    assert run(daemon, job({"one": lane("act")})) == ("failed", "it squeaks")
    assert refusals == []


def test_a_daemon_that_closes_ends_its_runs(lab: Lab, tmp_path: Path, scripted: Scripted) -> None:
    under_way = threading.Event()

    def act(context: StepContext) -> Outcome:
        under_way.set()
        context.cancellation.wait(30)
        return Outcome(Verdict.CANCELLED)

    with run_daemon(lab, tmp_path / "data") as daemon:
        scripted(daemon, "test.act", act)
        submitted = submit(daemon, job({"one": lane("act")}))
        assert under_way.wait(20)
    store = open_store(tmp_path / "data")
    with store.read() as connection:
        row = connection.execute(sa.select(jobs).where(jobs.c.id == submitted)).one()
    store.close()
    assert (row.verdict, row.reason) == ("errored", "the daemon is shutting down")


def leave_open(lab: Lab, data: Path, database_url: str, devices: tuple[str, ...], **more: Any) -> list[str]:
    """Jobs in the state as `kill -9` leaves them, the first of them in a step."""
    store = open_store(data, database_url)
    service = Leases(store)

    def leave(transaction: Transaction) -> list[str]:
        inventory.register(transaction, lab.devices, set())
        document = json.loads(job({"one": {"steps": [{"uses": "test.act"}]}}, **more))
        left = []
        for name in devices:
            wanted = NewJob("job", document, [Requirement(device=name, role="one")], 0, 60.0)
            left.append(submitting.submit(transaction, "me", "job", [wanted])[0])
        return left

    left = service.change(leave)

    def begin(transaction: Transaction) -> None:
        first = transaction.execute(sa.select(runs.c.id).where(runs.c.job_id == left[0])).scalar_one()
        transaction.execute(sa.update(lanes).where(lanes.c.run_id == first).values(state="running"))
        row = {"step_id": None, "title": "test.act", "what": "test.act", "attempt": 1}
        running.begin_step(transaction, first, "one", 0, row)

    store.write(begin)
    store.close()
    return left


def test_a_daemon_starts_though_the_device_of_a_job_to_be_queued_again_left_the_lab(
    lab: Lab, tmp_path: Path, database_url: str
) -> None:
    (left,) = leave_open(lab, tmp_path / "data", database_url, ("alone",), on_lab_failure="requeue")
    others = lab.model_copy(update={"devices": {name: lab.devices[name] for name in ("hall", "left", "right")}})
    with run_daemon(others, tmp_path / "data", database_url) as daemon:
        row = finish(daemon, left)
    assert row.verdict == "errored"
    assert row.reason.endswith("; not queued again: there is no device 'alone'; devices are: hall, left, right")


def test_what_a_dead_daemon_left_open_is_closed_at_the_next_start(
    lab: Lab, tmp_path: Path, database_url: str, scripted: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The state as `kill -9` leaves it: one run in a step, one whose lane was not taken up, one job waiting."""
    left = leave_open(lab, tmp_path / "data", database_url, ("alone", "left", "left"))

    actions = ActionRegistry()  # known before the daemon begins: it takes up what waits at once
    scripted(cast("Daemon", SimpleNamespace(actions=actions)), "test.act", lambda context: Outcome(Verdict.PASSED))
    monkeypatch.setattr("labctl.daemon.ActionRegistry", lambda: actions)
    with run_daemon(lab, tmp_path / "data", database_url) as daemon:
        ended = [finish(daemon, each) for each in left]
        with daemon.store.read() as connection:
            verdicts = connection.execute(sa.select(runs.c.job_id, runs.c.verdict)).all()
    assert [row.verdict for row in ended] == ["errored", "passed", "passed"]
    assert "the daemon ended while this run was under way" in ended[0].reason
    assert len(verdicts) == 3


@pytest.mark.parametrize(("said", "kept"), [("a\0b", "a\ufffdb"), ("half \ud83d of a pair", "half ? of a pair")])
def test_what_no_database_keeps_costs_no_run_its_verdict(daemon: Daemon, offer: Offer, said: str, kept: str) -> None:
    offer("test.act", lambda context: Outcome(Verdict.FAILED, said))
    assert run(daemon, job({"one": lane("act")})) == ("failed", kept)


def test_a_value_that_is_no_number_spoils_neither_its_run_nor_the_event_log(
    daemon: Daemon, offer: Offer, http: httpx.Client
) -> None:
    def act(context: StepContext) -> Outcome:
        context.measure([Measurement("residual", math.nan, "m"), Measurement("range", 2.0, "m", 0.0, math.inf)])
        context.emit("progress", {"left_m": math.inf, "ranges_m": [1.0, math.nan]})
        return Outcome(Verdict.PASSED)

    offer("test.act", act)
    text = job({"one": lane("act", measurements={"residual": {"max": 1}})})
    assert run(daemon, text) == ("failed", "residual is unknown, outside its limit: at most 1")
    told = {each["kind"]: each["data"] for each in http.get("/api/v1/events", params={"limit": 1000}).json()["items"]}
    assert [each["value"] for each in told["run.measured"]["measurements"]] == [None, 2.0]
    assert [told["step.progress"][name] for name in ("left_m", "ranges_m")] == [None, [1.0, None]]


@pytest.mark.parametrize("said", ["NaN", "[1e999]"])
def test_an_output_that_is_no_json_is_null(daemon: Daemon, offer: Offer, said: str) -> None:
    offer("test.act", lambda context: (context.output("text", said), Outcome(Verdict.PASSED))[1])
    outputs = {"number": "${{ fromJSON(lanes.one.steps.act.outputs.text) }}"}
    assert run(daemon, job({"one": lane("act", id="act")}, outputs=outputs)) == ("passed", "")
    with daemon.store.read() as connection:
        assert connection.execute(sa.select(runs.c.outputs)).scalar_one() == {"number": None}


def test_a_run_whose_wishes_could_not_be_read_when_it_began_still_runs_and_hears_of_them(
    daemon: Daemon, offer: Offer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database went away between the claim of the lanes and a look at the run."""
    lost = [sa.exc.OperationalError("SELECT", {}, Exception("the server closed the connection"))]
    look = daemon.sequencer._cancel

    def lost_at_first(run: Any) -> None:
        if lost:
            ask(run.claim.grant.job)
            raise lost.pop()
        look(run)

    def ask(submitted: str) -> None:  # what was asked for before the lanes were taken up is no news afterwards
        wish = {"cancel_asked": True, "cancel_reason": "enough", "cancel_verdict": "cancelled"}
        daemon.store.write(lambda tx: tx.execute(sa.update(runs).where(runs.c.job_id == submitted).values(**wish)))

    monkeypatch.setattr(daemon.sequencer, "_cancel", lost_at_first)
    offer("test.act", lambda context: (context.cancellation.wait(20), Outcome(Verdict.CANCELLED))[1])
    assert run(daemon, job({"one": lane("act")})) == ("cancelled", "enough")
    assert lost == []


@pytest.mark.parametrize("said", ["\ufffe", "\uffff", "\x1b[31m"])
def test_junit_holds_no_character_that_xml_has_not(daemon: Daemon, offer: Offer, http: httpx.Client, said: str) -> None:
    offer("test.act", lambda context: Outcome(Verdict.FAILED, said))
    submitted = submit(daemon, job({"one": lane("act")}))
    finish(daemon, submitted)
    suites = ElementTree.fromstring(http.get(f"/api/v1/jobs/{submitted}/junit").content)
    assert [each.get("message") for each in suites.iter("failure")] == [said.replace(said[0], "?")]


def test_a_job_that_a_newer_daemon_took_ends_as_errored_where_it_is_not_understood(
    daemon: Daemon, offer: Offer
) -> None:
    offer("test.act", lambda context: Outcome(Verdict.PASSED))
    document = {**json.loads(job({"one": lane("act")})), "moon_phase": "full"}
    wanted = NewJob("job", document, [Requirement(device="alone", role="one")], 0, 60.0)
    submitted, _ = daemon.leases.change(lambda transaction: submitting.submit(transaction, "me", "job", [wanted]))
    row = finish(daemon, submitted)
    assert row.verdict == "errored"
    assert row.reason.startswith("this daemon does not understand the job: ")
    assert "moon_phase" in row.reason
    assert run(daemon, job({"one": lane("act")})) == ("passed", "")


def test_a_daemon_starts_though_a_file_of_a_killed_one_has_a_name_that_is_no_text(
    lab: Lab, tmp_path: Path, database_url: str
) -> None:
    (left,) = leave_open(lab, tmp_path / "data", database_url, ("alone",))
    store = open_store(tmp_path / "data", database_url)
    with store.read() as connection:
        under_way = connection.execute(sa.select(runs.c.id).where(runs.c.job_id == left)).scalar_one()
    store.close()
    folder = tmp_path / "data" / "scratch" / f"{under_way}-x"
    folder.mkdir(parents=True)
    (folder / os.fsdecode(b"scan-\xff")).write_bytes(b"1 2 3")
    with run_daemon(lab, tmp_path / "data", database_url) as daemon:
        assert finish(daemon, left).verdict == "errored"
        with daemon.store.read() as connection:
            assert connection.execute(sa.select(artifacts.c.name)).scalars().all() == ["scan-?"]
    assert not folder.exists()
