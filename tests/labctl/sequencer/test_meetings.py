"""Lanes that meet: signals, barriers, deadlines, and what happens to those who wait for a lane that dies."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from labctl.daemon import Daemon
from labctl.steps import Outcome, StepContext, Verdict
from labctl.store.tables import events, jobs, leases, steps

Offer = Callable[[str, Callable[[StepContext], Outcome]], None]
ROLES = {"a": {"device": "alone"}, "b": {"device": "left"}}


def submit(daemon: Daemon, a: list[Any], b: list[Any], **more: Any) -> str:
    lanes = {name: each if isinstance(each, dict) else {"steps": each} for name, each in (("a", a), ("b", b)) if each}
    document = {"name": "j", "roles": {name: ROLES[name] for name in lanes}, "lanes": lanes, **more}
    return daemon.submissions.submit(json.dumps(document), "job", "me").job


def finish(daemon: Daemon, job: str) -> sa.Row[Any]:
    seen = 0
    while True:
        with daemon.store.read() as connection:
            row = connection.execute(sa.select(jobs).where(jobs.c.id == job)).one()
            held = connection.execute(sa.select(leases.c.state).where(leases.c.job_id == job)).scalars().all()
        if row.state == "finished":
            assert "active" not in held  # in the same transaction
            return row
        seen = daemon.store.bell.wait(seen, 20)


def verdicts(daemon: Daemon, job: str) -> dict[str, str]:
    """Each step's verdict by lane and number."""
    with daemon.store.read() as connection:
        found = connection.execute(sa.select(steps).order_by(steps.c.lane, steps.c.number)).all()
    return {f"{row.lane}{row.number}": row.verdict for row in found}


def run(daemon: Daemon, a: list[Any] | dict[str, Any], b: list[Any] | dict[str, Any], **more: Any) -> tuple[str, str]:
    row = finish(daemon, submit(daemon, a, b, **more))
    return row.verdict, row.reason


def run_of(http: httpx.Client, job: str) -> str:
    while not (found := http.get(f"/api/v1/jobs/{job}").json()["runs"]):
        pass
    return str(found[-1])


def test_a_signal_carries_its_payload_to_the_lane_that_waits(daemon: Daemon, offer: Offer) -> None:
    heard: list[Any] = []
    offer("test.hear", lambda context: (heard.append(context.device), Outcome(Verdict.PASSED))[1])
    waiting = [
        {"id": "ready", "wait": "ready"},
        {
            "uses": "test.hear",
            "if": "steps.ready.outputs.payload.port == 5004 && steps.ready.outputs.sender == 'lane b'",
        },
    ]
    assert run(
        daemon, waiting, [{"notify": "ready", "payload": {"port": "${{ vars.port }}"}}], vars={"port": 5004}
    ) == (
        "passed",
        "",
    )
    assert heard == ["alone"]


def test_a_signal_that_was_sent_before_the_wait_is_found(daemon: Daemon) -> None:
    a = [{"notify": "one"}, {"wait": "two"}, {"wait": "one"}]
    b = [{"wait": "one"}, {"notify": "two"}]
    assert run(daemon, a, b) == ("passed", "")


def test_the_event_of_a_signal_names_its_own_job(daemon: Daemon) -> None:
    said = [{"notify": "now"}]
    of_jobs = [submit(daemon, said, []) for _ in range(3)]
    for job in of_jobs:
        finish(daemon, job)
    with daemon.store.read() as connection:
        found = sa.select(events.c.job_id).where(events.c.kind == "run.signal").order_by(events.c.sequence)
        assert list(connection.execute(found).scalars()) == of_jobs


def test_lanes_leave_a_barrier_together(daemon: Daemon, offer: Offer) -> None:
    order: list[str] = []
    offer("test.before", lambda context: (order.append("before"), Outcome(Verdict.PASSED))[1])
    offer("test.after", lambda context: (order.append("after"), Outcome(Verdict.PASSED))[1])
    lane = [{"uses": "test.before"}, {"barrier": "all", "payload": "${{ role }}"}, {"uses": "test.after"}]
    assert run(daemon, lane, lane) == ("passed", "")
    assert order == ["before", "before", "after", "after"]


@pytest.mark.parametrize(
    ("meeting", "reason"),
    [({"wait": "never", "timeout": "50ms"}, "'never' was not notified within 0.05 s"),
     ({"barrier": "all", "timeout": "50ms"}, "only a came to the barrier 'all' within 0.05 s, not 2 lanes")],
)  # fmt: skip
def test_a_deadline_fails_the_lane(daemon: Daemon, offer: Offer, meeting: dict[str, Any], reason: str) -> None:
    """The lane that is waited for goes on for as long as the other one waits."""
    over = threading.Event()
    offer("test.late", lambda context: (over.wait(30), Outcome(Verdict.PASSED))[1])
    offer("test.over", lambda context: (over.set(), Outcome(Verdict.PASSED))[1])
    late = [{"uses": "test.late"}, {"notify": "never"}, {"barrier": "all"}]
    if "wait" in meeting:
        late.pop()
    verdict, told = run(daemon, {"steps": [meeting], "always": [{"uses": "test.over"}]}, late)
    assert verdict == "failed"
    assert reason in told


@pytest.mark.parametrize("died_of", [Verdict.FAILED, Verdict.ERRORED])
@pytest.mark.parametrize("meeting", ["wait", "barrier"])
def test_a_lane_that_dies_wakes_its_waiters_with_the_reason(
    daemon: Daemon, offer: Offer, died_of: Verdict, meeting: str
) -> None:
    """At once: the teardown of the dead lane lasts until the waiter has ended."""
    waiter_over = threading.Event()
    offer("test.die", lambda context: Outcome(died_of, "no dial tone"))
    offer("test.linger", lambda context: Outcome(Verdict.PASSED if waiter_over.wait(30) else Verdict.ERRORED, "late"))
    offer("test.over", lambda context: (waiter_over.set(), Outcome(Verdict.PASSED))[1])
    notify = {"notify": "accepted"} if meeting == "wait" else {"barrier": "accepted"}
    dying = {"steps": [{"uses": "test.die"}, notify], "always": [{"uses": "test.linger"}]}
    waiting = {"steps": [{meeting: "accepted"}], "always": [{"uses": "test.over"}]}
    job = submit(daemon, waiting, dying)
    row = finish(daemon, job)
    what = "notified 'accepted'" if meeting == "wait" else "came to the barrier 'accepted'"
    assert (row.verdict, row.reason) == (died_of, "no dial tone")
    with daemon.store.read() as connection:
        waited = connection.execute(sa.select(steps).where(steps.c.lane == "a", steps.c.number == 0)).one()
    assert (waited.verdict, waited.reason) == (died_of, f"the lane b ended ({died_of}: no dial tone) before it {what}")


def test_a_teardown_can_still_notify(daemon: Daemon, offer: Offer) -> None:
    offer("test.die", lambda context: Outcome(Verdict.FAILED, "no dial tone"))
    dying = {"steps": [{"uses": "test.die"}], "always": [{"notify": "gone"}]}
    job = submit(daemon, [{"wait": "gone"}], dying)
    assert finish(daemon, job).reason == "no dial tone"
    assert verdicts(daemon, job) == {"a0": "passed", "b0": "failed", "b1": "passed"}


def test_cancelling_wakes_who_waits_and_tears_down(daemon: Daemon, offer: Offer) -> None:
    torn_down = threading.Event()
    offer("test.clean", lambda context: (torn_down.set(), Outcome(Verdict.PASSED))[1])
    lane = {"steps": [{"wait": "outside"}, {"wait": "outside"}], "always": [{"uses": "test.clean"}]}
    job = submit(daemon, lane, [], signals=["outside"])
    seen = 0
    while not verdicts(daemon, job):
        seen = daemon.store.bell.wait(seen, 20)
    daemon.cancel(job, "changed my mind")
    row = finish(daemon, job)
    assert (row.verdict, row.reason, torn_down.is_set()) == ("cancelled", "changed my mind", True)
    assert verdicts(daemon, job) == {"a0": "cancelled", "a1": "skipped", "a2": "passed"}


def test_a_program_says_something_to_a_lane_and_hears_from_it(daemon: Daemon, http: httpx.Client) -> None:
    job = submit(daemon, [{"id": "in", "wait": "in"}, {"notify": "out", "payload": "${{ steps.in.outputs.payload }}"},
                          {"wait": "end"}], [], signals=["in", "end"])  # fmt: skip
    signals = f"/api/v1/runs/{run_of(http, job)}/signals"
    assert http.get(f"{signals}/out").status_code == 204
    answers: list[httpx.Response] = []
    waiter = threading.Thread(target=lambda: answers.append(http.get(f"{signals}/out", params={"wait": "30s"})))
    waiter.start()
    payload = {"text": "grüße", "list": [1, None, True]}
    sent = http.post(f"{signals}/in", json=payload, params={"sender": "my test"})
    assert (sent.status_code, sent.json()["sender"]) == (201, "my test")
    waiter.join(30)
    assert (answers[0].status_code, answers[0].json()["payload"]) == (200, payload)
    assert [each["name"] for each in http.get(signals).json()["items"]] == ["in", "out"]
    again = http.get(f"{signals}/out", params={"after": answers[0].json()["number"]})
    assert again.status_code == 204
    large = http.post(f"{signals}/in", json="x" * 70_000)
    assert (large.status_code, large.json()["detail"]) == (
        413,
        "a payload may have 65536 bytes; keep files as artifacts",
    )
    http.post(f"{signals}/end")
    finish(daemon, job)
    over = http.post(f"{signals}/in", json=1)
    assert (over.status_code, over.json()["detail"]) == (409, f"run {run_of(http, job)} is over: passed")


def test_a_program_that_waits_hears_that_it_waits_in_vain(daemon: Daemon, http: httpx.Client, offer: Offer) -> None:
    go_on, told = threading.Event(), threading.Event()
    offer("test.die", lambda context: (go_on.wait(30), Outcome(Verdict.FAILED, "no dial tone"))[1])
    offer("test.linger", lambda context: Outcome(Verdict.PASSED if told.wait(30) else Verdict.ERRORED))
    lane = {"steps": [{"uses": "test.die"}, {"notify": "ready"}], "always": [{"uses": "test.linger"}]}
    job = submit(daemon, lane, [])
    run = run_of(http, job)
    answers: list[httpx.Response] = []
    waiter = threading.Thread(target=lambda: answers.append(http.get(f"/api/v1/runs/{run}/signals/ready?wait=30")))
    waiter.start()
    go_on.set()
    waiter.join(30)
    told.set()
    assert answers[0].status_code == 409
    assert "nobody will say 'ready': the lane a ended (failed: no dial tone)" in answers[0].json()["detail"]
    finish(daemon, job)


@pytest.mark.parametrize(
    ("path", "content", "status"),
    [
        ("/api/v1/runs/none/signals/go", b"", 404),
        ("/api/v1/runs/{run}/signals/no%20name", b"", 422),
        ("/api/v1/runs/{run}/signals/go", b"{", 422),
        ("/api/v1/runs/{run}/signals/go", b"NaN", 422),
        ("/api/v1/runs/{run}/signals/go", b'"\\u0000"', 422),
        ("/api/v1/runs/{run}/signals/go", b'"' + b"x" * 70_000 + b'"', 413),
    ],
)
def test_what_is_no_signal_is_refused(
    daemon: Daemon, http: httpx.Client, path: str, content: bytes, status: int
) -> None:
    job = submit(daemon, [{"wait": "end"}], [], signals=["end"])
    run = run_of(http, job)
    assert http.post(path.format(run=run), content=content).status_code == status
    daemon.cancel(job, "")
    finish(daemon, job)
