"""Device health: what lab errors and checks lead to, the way back, hooks round leases. On both databases."""

from __future__ import annotations

import json
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
import uvicorn

from labctl.api import create_app
from labctl.config import Lab, load_lab
from labctl.daemon import Daemon, run_daemon
from labctl.health.checks import Check
from labctl.health.hooks import around
from labctl.jobs import Job
from labctl.steps import Outcome, StepContext, Verdict
from labctl.store import Transaction, health, inventory
from labctl.store.tables import events

JOB = """
name: a job
roles: {eye: {device: left}}
lanes: {eye: {steps: [{uses: test.do, with: {a: 1}}]}}
"""
Script = Callable[[Daemon, str, Callable[[StepContext], Outcome]], None]


def until(http: httpx.Client, kind: str, after: int = 0, **data: object) -> dict[str, Any]:
    """The first event of a kind, with that data, after a sequence number."""
    while True:
        page = http.get("/api/v1/events", params={"after": after, "wait_s": 20, "limit": 1000}).json()
        for event in page["items"]:
            told = {**event, **event["data"]}
            if event["kind"] == kind and all(told.get(key) == value for key, value in data.items()):
                return dict(event)
        assert page["items"], f"no {kind} with {data}"
        after = page["next"]


def latest(http: httpx.Client) -> int:
    after = 0
    while (page := http.get("/api/v1/events", params={"after": after, "limit": 1000}).json())["items"]:
        after = int(page["next"])
    return after


def run_job(http: httpx.Client, text: str = JOB) -> str:
    """Submit a job and wait for its end; the verdict."""
    answer = http.post("/api/v1/jobs", content=text, headers={"content-type": "application/yaml"})
    assert answer.status_code == 201, answer.text
    return str(until(http, "job.finished", job=answer.json()["id"])["data"]["verdict"])


def health_of(http: httpx.Client, device: str = "left") -> dict[str, Any]:
    return dict(http.get(f"/api/v1/devices/{device}/health").json())


def says(verdict: Verdict, reason: str = "") -> Callable[[StepContext], Outcome]:
    return lambda _context: Outcome(verdict, reason)


def test_what_a_check_quotes_can_be_written_down() -> None:
    assert Check("adb", False, "it said \0 and \udc80").detail == "it said \ufffd and ?"


def test_lab_errors_in_a_row_make_a_device_suspect_then_quarantined(
    daemon: Daemon, http: httpx.Client, scripted: Script
) -> None:
    scripted(daemon, "test.do", says(Verdict.ERRORED, "the cable"))
    assert run_job(http) == "errored"
    found = health_of(http)
    assert (found["state"], found["lab_errors"]) == ("suspect", 1)
    assert found["reason"] == "lab error 1 of 3: the cable"
    assert run_job(http) == "errored"
    assert run_job(http) == "errored"
    found = health_of(http)
    assert (found["state"], found["lab_errors"]) == ("quarantined", 3)
    assert found["quarantine"]["cause"] == "lab_errors"
    assert "3 lab errors in a row; the last: the cable" in found["reason"]


def test_a_run_that_came_to_a_verdict_takes_the_suspicion_off(
    daemon: Daemon, http: httpx.Client, scripted: Script
) -> None:
    scripted(daemon, "test.do", says(Verdict.ERRORED, "the cable"))
    run_job(http)
    scripted(daemon, "test.do", says(Verdict.FAILED, "the device under test is wrong"))
    assert run_job(http) == "failed"
    found = health_of(http)
    assert (found["state"], found["lab_errors"]) == ("good", 0)


def test_a_failed_test_never_counts_against_the_device(daemon: Daemon, http: httpx.Client, scripted: Script) -> None:
    scripted(daemon, "test.do", says(Verdict.FAILED, "wrong"))
    for _ in range(4):
        assert run_job(http) == "failed"
    assert health_of(http)["state"] == "good"


def test_a_daemon_that_shuts_down_is_no_fault_of_the_device(
    tmp_path: Path, database_url: str, scripted: Script
) -> None:
    lab = lab_of(tmp_path, "checks: {quarantine_after: 1}")
    with running(lab, tmp_path, database_url) as (daemon, http):

        def until_cancelled(context: StepContext) -> Outcome:
            context.cancellation.wait(60)
            return Outcome(Verdict.ERRORED, "broken off")

        scripted(daemon, "test.do", until_cancelled)
        http.post("/api/v1/jobs", content=JOB.replace("left", "eye"), headers={"content-type": "application/yaml"})
        until(http, "step.started")
    with running(lab, tmp_path, database_url) as (daemon, http):
        assert until(http, "job.finished")["data"]["verdict"] == "errored"
        found = health_of(http, "eye")
        assert (found["state"], found["lab_errors"]) == ("good", 0)


def test_a_device_in_quarantine_is_not_granted_and_says_why(daemon: Daemon, http: httpx.Client) -> None:
    http.post("/api/v1/devices/left/quarantine", json={"reason": "smells of smoke", "person": "Ada"})
    asked = http.post("/api/v1/leases", json={"devices": ["left"], "duration_s": 60})
    assert asked.status_code == 409
    assert "smells of smoke" in asked.text
    assert health_of(http)["quarantine"]["cause"] == "person"


def test_the_way_back_needs_a_preflight_that_passed_and_a_person(daemon: Daemon, http: httpx.Client) -> None:
    http.post("/api/v1/devices/left/quarantine", json={"reason": "smells of smoke"})
    answer = http.post("/api/v1/devices/left/acknowledge", json={"reason": "looks well"})
    assert answer.status_code == 409
    assert "has had no preflight since" in answer.json()["detail"]

    preflight = http.post("/api/v1/devices/left/preflight").json()  # nobody listens at its address
    assert preflight["passed"] is False
    answer = http.post("/api/v1/devices/left/acknowledge", json={"reason": "looks well"})
    assert answer.status_code == 409
    assert "the preflight of left did not pass" in answer.json()["detail"]

    daemon.health._registry._loaded["lidar"] = WELL
    assert http.post("/api/v1/devices/left/preflight").json()["passed"] is True
    for nothing in (" ", "", "\x00", "a\x00b"):
        assert http.post("/api/v1/devices/left/acknowledge", json={"reason": nothing}).status_code == 422
    answer = http.post("/api/v1/devices/left/acknowledge", json={"reason": "new fuse", "person": "Ada"})
    assert answer.status_code == 200
    assert (answer.json()["state"], answer.json()["quarantine"]) == ("good", None)
    told = until(http, "device.acknowledged")
    assert (told["data"]["person"], told["data"]["reason"]) == ("Ada", "new fuse")
    again = http.post("/api/v1/devices/left/acknowledge", json={"reason": "once more"})
    assert again.status_code == 409
    assert "nothing to acknowledge" in again.json()["detail"]


class _Scripted:
    def __init__(self, *rounds: list[Check]) -> None:
        self.rounds = list(rounds)

    def quick(self, _subject: object) -> list[Check]:
        return self.rounds.pop(0) if len(self.rounds) > 1 else self.rounds[0]

    preflight = quick


WELL = _Scripted([Check("scan", True, "scans come", 40.0, "Hz", fact="scan_rate_hz")])
UNWELL = _Scripted([Check("scan", False, "no scan comes")])


def test_checks_on_a_schedule_note_facts_and_lead_to_quarantine(tmp_path: Path, database_url: str) -> None:
    lab = lab_of(tmp_path, "checks: {every_s: 0.1, quarantine_after: 2}")
    with running(lab, tmp_path, database_url) as (daemon, http):
        daemon.health._registry._loaded["lidar"] = WELL
        until(http, "device.state", device="eye", state="good")
        while health_of(http, "eye")["facts"] != {"scan_rate_hz": 40.0}:
            pass
        after = latest(http)
        daemon.health._registry._loaded["lidar"] = UNWELL
        suspect = until(http, "device.state", after, device="eye", state="suspect")
        assert suspect["data"]["reason"] == "scan: no scan comes"
        quarantined = until(http, "device.quarantined", after, device="eye")
        assert quarantined["data"]["reason"] == "checks failed 2 times in a row: scan: no scan comes"
        assert quarantined["data"]["cause"] == "checks"
        daemon.health._registry._loaded["lidar"] = WELL
        assert http.post("/api/v1/devices/eye/preflight").json()["passed"] is True
        assert health_of(http, "eye")["state"] == "quarantined"  # until a person says so


def test_a_check_of_the_lab_files_own_is_a_program(tmp_path: Path, database_url: str) -> None:
    program = [sys.executable, "-c", "import sys; print('the fan stands still', file=sys.stderr); sys.exit(7)"]
    lab = lab_of(tmp_path, f"checks: {{command: {program!r}}}")
    with running(lab, tmp_path, database_url) as (daemon, http):
        daemon.health._registry._loaded["lidar"] = WELL
        found = http.post("/api/v1/devices/eye/preflight").json()
        assert found["passed"] is False
        command = next(each for each in found["checks"] if each["name"] == "command")
        assert command["detail"].endswith("ended with 7: the fan stands still")


HOOKS = """checks: {before_use: true}
    hooks:
      before: [{uses: test.clean, with: {what: lens}}]
      after: [{uses: test.reset}]"""


def test_a_job_checks_the_device_and_does_its_hooks_before_and_after(
    tmp_path: Path, database_url: str, scripted: Script
) -> None:
    done: list[str] = []

    def doing(what: str, verdict: Verdict = Verdict.PASSED) -> Callable[[StepContext], Outcome]:
        def do(_context: StepContext) -> Outcome:
            done.append(what)
            return Outcome(verdict, what)

        return do

    with running(lab_of(tmp_path, HOOKS), tmp_path, database_url) as (daemon, http):
        scripted(daemon, "device.check", doing("check"))
        scripted(daemon, "test.clean", doing("clean"))
        scripted(daemon, "test.do", doing("do", Verdict.FAILED))
        scripted(daemon, "test.reset", doing("reset"))
        assert run_job(http, JOB.replace("left", "eye")) == "failed"
        assert done == ["check", "clean", "do", "reset"]
        assert health_of(http, "eye")["state"] == "good"

        done.clear()
        scripted(daemon, "device.check", doing("check", Verdict.ERRORED))
        assert run_job(http, JOB.replace("left", "eye")) == "errored"
        assert done == ["check", "reset"]
        assert health_of(http, "eye")["state"] == "suspect"


def test_hooks_that_move_a_robot_follow_only_what_went_well(tmp_path: Path) -> None:
    lab = lab_of(tmp_path, "hooks: {after: [{uses: robot.return_to_dock}, {uses: test.reset}]}")
    job = Job.model_validate(
        {"name": "j", "roles": {"eye": {"device": "eye"}}, "lanes": {"eye": {"steps": [{"uses": "test.do"}]}}}
    )
    returning, reset = around(job, "eye", lab.devices["eye"]).always
    assert (returning.uses, returning.condition) == ("robot.return_to_dock", "success()")
    assert (reset.uses, reset.condition) == ("test.reset", None)


def test_after_a_lease_of_a_person_nobody_gets_the_device_before_it_is_made_ready(
    tmp_path: Path, database_url: str, scripted: Script
) -> None:
    states: list[str] = []
    with running(lab_of(tmp_path, HOOKS), tmp_path, database_url) as (daemon, http):

        def reset(_context: StepContext) -> Outcome:
            states.append(health_of(http, "eye")["reason"])
            return Outcome(Verdict.PASSED)

        scripted(daemon, "test.reset", reset)
        scripted(daemon, "test.clean", says(Verdict.PASSED))
        lease = http.post("/api/v1/leases", json={"devices": ["eye"], "duration_s": 60}).json()
        waiting = http.post("/api/v1/leases", json={"devices": ["eye"], "duration_s": 60, "queue": True})
        http.delete(f"/api/v1/leases/{lease['id']}")
        finished = until(http, "hook.finished", device="eye", uses="test.reset")
        assert finished["data"]["verdict"] == "passed"
        until(http, "device.state", finished["sequence"], device="eye", state="good")
        assert states == ["it is being made ready after a lease"]
        assert waiting.status_code in (201, 202, 409, 422)

        scripted(daemon, "test.reset", says(Verdict.ERRORED, "it does not start"))
        lease = http.post("/api/v1/leases", json={"devices": ["eye"], "duration_s": 60, "wait_s": 10}).json()
        http.delete(f"/api/v1/leases/{lease['id']}")
        told = until(http, "device.quarantined", finished["sequence"], device="eye")
        assert told["data"]["reason"] == "it could not be made ready: test.reset: it does not start"


def test_what_follows_a_lease_is_done_after_a_restart_of_the_daemon(
    tmp_path: Path, database_url: str, scripted: Script
) -> None:
    lab = lab_of(tmp_path, HOOKS)
    with running(lab, tmp_path, database_url) as (daemon, http):

        def until_the_end(context: StepContext) -> Outcome:
            context.cancellation.wait(60)
            return Outcome(Verdict.PASSED)

        scripted(daemon, "test.reset", until_the_end)
        scripted(daemon, "test.clean", says(Verdict.PASSED))
        lease = http.post("/api/v1/leases", json={"devices": ["eye"], "duration_s": 60}).json()
        http.delete(f"/api/v1/leases/{lease['id']}")
        until(http, "hook.started", device="eye", uses="test.reset")
    with running(lab, tmp_path, database_url) as (daemon, http):
        # The action is this test's own, so the new daemon does not know it: it says so and withholds the device.
        told = until(http, "device.quarantined", device="eye")
        assert "no action 'test.reset'" in told["data"]["reason"]


def test_what_follows_a_lease_is_done_though_its_end_was_not_heard_of(
    tmp_path: Path, database_url: str, scripted: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when another daemon grants and ends a lease of this one's device before this one looks; and the database is
    away when the device is to be given back."""
    monkeypatch.setattr("labctl.health.service._REVIEW_S", 0.1)
    lost = [sa.exc.OperationalError("UPDATE", {}, Exception("the server closed the connection"))]
    give_back = health.made_ready

    def lost_at_first(transaction: Transaction, name: str) -> None:
        if lost:
            raise lost.pop()
        give_back(transaction, name)

    monkeypatch.setattr("labctl.store.health.made_ready", lost_at_first)
    with running(lab_of(tmp_path, HOOKS), tmp_path, database_url) as (daemon, http):
        scripted(daemon, "test.reset", says(Verdict.PASSED))
        after = latest(http)
        daemon.store.write(lambda transaction: health.withhold(transaction, ["eye"]))
        until(http, "device.state", after, device="eye", state="good")
    assert lost == []


@pytest.mark.parametrize(("how", "state"), [("quarantine", "quarantined"), ("maintenance", "maintenance")])
def test_what_a_person_withholds_while_it_is_made_ready_stays_withheld(
    tmp_path: Path, database_url: str, scripted: Script, how: str, state: str
) -> None:
    reset = Slow()
    with running(lab_of(tmp_path, "hooks: {after: [{uses: test.reset}]}"), tmp_path, database_url) as (daemon, http):
        scripted(daemon, "test.reset", reset)
        lease = http.post("/api/v1/leases", json=ASKED).json()
        http.delete(f"/api/v1/leases/{lease['id']}")
        assert reset.begun.wait(30)
        assert http.post(f"/api/v1/devices/eye/{how}", json={"reason": "it smokes"}).status_code == 200
        reset.go.set()
        until(http, "hook.finished", device="eye")
        daemon.health._pool.shutdown(wait=True)  # whatever follows the hook is done
        assert health_of(http, "eye")["state"] == state


def test_a_quarantine_is_left_neither_by_a_return_nor_through_maintenance(daemon: Daemon, http: httpx.Client) -> None:
    http.post("/api/v1/devices/alone/quarantine", json={"reason": "it fell"})
    refused = http.post("/api/v1/devices/alone/return")
    assert (refused.status_code, "a preflight has passed" in refused.json()["detail"]) == (409, True)
    assert http.post("/api/v1/devices/alone/maintenance", json={"reason": "new lens"}).json()["state"] == "maintenance"
    returned = http.post("/api/v1/devices/alone/return").json()
    assert (returned["state"], returned["reason"]) == ("quarantined", "local: it fell")
    configured = dict(daemon.lab.devices)
    alone = {"alone": configured.pop("alone")}
    for named in (configured, configured | alone):  # the lab file loses it for a while
        daemon.store.write(lambda transaction, named=named: inventory.register(transaction, named, set()))
    assert health_of(http, "alone")["state"] == "quarantined"


class Slow:
    """An action that goes on until it is let go, or cancelled."""

    def __init__(self) -> None:
        self.begun, self.go = threading.Event(), threading.Event()

    def __call__(self, context: StepContext) -> Outcome:
        self.begun.set()
        context.cancellation.on_asked(lambda _reason: self.go.set())
        self.go.wait(60)
        return Outcome(Verdict.PASSED)


BEFORE = "hooks: {before: [{uses: test.clean, with: {what: lens}}]}"
ASKED = {"devices": ["eye"], "duration_s": 60}


def test_a_lease_is_its_holders_when_the_hooks_before_it_are_done(
    tmp_path: Path, database_url: str, scripted: Script
) -> None:
    """Also for who waited for the device; the time that was asked for counts from then."""
    clean = Slow()
    with running(lab_of(tmp_path, BEFORE), tmp_path, database_url) as (daemon, http):
        scripted(daemon, "test.clean", clean)
        with ThreadPoolExecutor() as askers:
            first = askers.submit(http.post, "/api/v1/leases", json=ASKED)
            assert clean.begun.wait(30)
            (held,) = http.get("/api/v1/leases").json()["items"]
            assert (held["state"], held["ready"], held["devices"]) == ("active", False, ["eye"])
            assert not first.done()
            clean.go.set()
            lease = first.result(30).json()
            assert (lease["id"], lease["ready"]) == (held["id"], True)
            assert lease["expires_at"] > held["expires_at"]
            assert until(http, "lease.ready")["lease"] == lease["id"]

            clean.begun.clear()
            clean.go.clear()
            second = askers.submit(http.post, "/api/v1/leases", json={**ASKED, "wait_s": 60})
            until(http, "lease.granted")
            http.delete(f"/api/v1/leases/{lease['id']}")
            assert clean.begun.wait(30)
            assert not second.done()
            clean.go.set()
            assert second.result(30).json()["ready"] is True


def test_hooks_before_a_lease_that_fail_refuse_it_and_count_against_the_device(
    tmp_path: Path, database_url: str, scripted: Script
) -> None:
    with running(lab_of(tmp_path, f"checks: {{quarantine_after: 2}}\n    {BEFORE}"), tmp_path, database_url) as lab:
        daemon, http = lab
        scripted(daemon, "test.clean", says(Verdict.ERRORED, "no water"))
        for state in ("suspect", "quarantined"):
            answer = http.post("/api/v1/leases", json=ASKED)
            assert answer.status_code == 409
            assert "eye could not be prepared: test.clean: no water" in answer.json()["detail"]
            assert health_of(http, "eye")["state"] == state
        assert http.get("/api/v1/leases").json()["items"] == []


def test_who_goes_away_while_a_device_is_prepared_has_no_lease(
    tmp_path: Path, database_url: str, scripted: Script
) -> None:
    clean = Slow()
    with running(lab_of(tmp_path, BEFORE), tmp_path, database_url) as (daemon, http):
        scripted(daemon, "test.clean", clean)
        with socket.create_connection((http.base_url.host, http.base_url.port or 0)) as asker:
            body = json.dumps(ASKED).encode()
            asker.sendall(b"POST /api/v1/leases HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n")
            asker.sendall(b"content-length: %d\r\n\r\n%s" % (len(body), body))
            assert clean.begun.wait(30)
        told = until(http, "lease.released")
        assert told["data"]["reason"] == "its asker went away"
        until(http, "hook.finished", device="eye")
        assert health_of(http, "eye")["state"] == "good"
        scripted(daemon, "test.clean", says(Verdict.PASSED))
        assert http.post("/api/v1/leases", json={**ASKED, "wait_s": 30}).status_code == 201


def test_a_device_that_was_being_prepared_is_prepared_after_a_restart(
    tmp_path: Path, database_url: str, scripted: Script
) -> None:
    lab, clean = lab_of(tmp_path, BEFORE), Slow()
    with running(lab, tmp_path, database_url) as (daemon, http):
        scripted(daemon, "test.clean", clean)
        http.post("/api/v1/leases", json={**ASKED, "starts_at": _soon()})
        assert clean.begun.wait(30)
    with running(lab, tmp_path, database_url) as (daemon, http):
        # The action is this test's own, so the new daemon does not know it, and says so.
        told = until(http, "lease.released")
        assert "no action 'test.clean'" in told["data"]["reason"]


def _soon() -> str:
    return (datetime.now(UTC) + timedelta(seconds=0.5)).isoformat()


@contextmanager
def running(lab: Lab, tmp_path: Path, database_url: str) -> Iterator[tuple[Daemon, httpx.Client]]:
    """A daemon for this lab, and a client of its API."""
    with run_daemon(lab, tmp_path / "own", database_url) as daemon, socket.create_server(("127.0.0.1", 0)) as listener:
        config = uvicorn.Config(
            create_app(daemon), log_config=None, lifespan="off", ws="none", timeout_graceful_shutdown=1
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        try:
            with httpx.Client(base_url=url, trust_env=False, timeout=60) as client:
                yield daemon, client
        finally:
            server.should_exit = True
            thread.join(20)


def lab_of(tmp_path: Path, extra: str) -> Lab:
    path = tmp_path / "health.yaml"
    path.write_text(
        f'lab: test\ndevices:\n  eye:\n    kind: lidar\n    url: "tcp://127.0.0.1:1"\n    {extra}\n', encoding="utf-8"
    )
    return load_lab(path)


@pytest.mark.parametrize("path", ["devices/no/preflight", "robots/left/return-to-dock", "devices/no/acknowledge"])
def test_what_is_not_there_is_not_found(http: httpx.Client, path: str) -> None:
    answer = http.post(f"/api/v1/{path}", json={"reason": "why"})
    assert answer.status_code == 404
    assert "there is no" in answer.json()["detail"]


def test_events_of_one_device_tell_its_story(daemon: Daemon, http: httpx.Client) -> None:
    http.post("/api/v1/devices/left/quarantine", json={"reason": "smoke"})
    wanted = sa.select(events.c.kind).where(events.c.device == "left").order_by(events.c.sequence)
    with daemon.store.read() as connection:
        kinds = connection.execute(wanted).scalars().all()
    assert kinds[-2:] == ["device.state", "device.quarantined"]
    with pytest.raises(httpx.HTTPStatusError):
        http.get("/api/v1/devices/nobody/health").raise_for_status()
