"""Jobs over HTTP: submitted once for a key, as matrices, run again, with results that CI servers read."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import junitparser
import pytest

from labctl.client import Lab
from labctl.daemon import Daemon
from labctl.steps import Measurement, Outcome, StepContext, Verdict

Offer = Callable[[str, Callable[[StepContext], Outcome]], None]
ACT = {"uses": "test.act"}


def document(*steps: dict[str, Any], **more: Any) -> dict[str, Any]:
    lane = {"steps": list(steps) or [ACT], **more.pop("lane", {})}
    return {"name": "j", "roles": {"eye": {"device": "alone"}}, "lanes": {"eye": lane}, **more}


@pytest.fixture
def client(url: str) -> Iterator[Lab]:
    with Lab(url) as lab:
        yield lab


def run(client: Lab, wanted: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The finished job, and its last run."""
    job = client.run(json.dumps(wanted))
    return job, client.run_result(job["runs"][-1])


def passing(_context: StepContext) -> Outcome:
    return Outcome(Verdict.PASSED)


def shown(run: dict[str, Any], lane: str = "eye") -> list[tuple[str, str, int]]:
    return [(step["title"], step["verdict"], step["attempt"]) for step in run["lanes"][lane]["steps"]]


def test_what_a_step_tells_of_itself_may_be_called_anything(client: Lab, offer: Offer) -> None:
    told = {"kind": "obstacle", "detail": "a box"}
    offer("test.act", lambda context: (context.emit("progress", told), Outcome(Verdict.PASSED))[1])
    job, _ = run(client, document())
    progress = [each["data"] for each in client.follow(job["id"]) if each["kind"] == "step.progress"]
    assert [(each["kind"], each["detail"], each["lane"]) for each in progress] == [("obstacle", "a box", "eye")]


def test_a_key_queues_a_job_once(http: httpx.Client, offer: Offer) -> None:
    offer("test.act", passing)
    first = http.post("/api/v1/jobs", json=document(), headers={"idempotency-key": "build-7"})
    again = http.post("/api/v1/jobs", json=document(), headers={"idempotency-key": "build-7"})
    other = http.post("/api/v1/jobs", json=document(), headers={"idempotency-key": "build-8"})
    assert (first.status_code, again.status_code, other.status_code) == (201, 200, 201)
    assert first.json()["id"] == again.json()["id"] != other.json()["id"]
    assert first.headers["location"] == f"/api/v1/jobs/{first.json()['id']}"
    wrong = http.post("/api/v1/jobs", json=document(priority=5), headers={"idempotency-key": "build-7"})
    assert (wrong.status_code, wrong.json()["job"]) == (422, first.json()["id"])
    assert len(http.get("/api/v1/jobs").json()["items"]) == 2


def test_a_job_that_waits_says_which_role_lacks_what(http: httpx.Client, offer: Offer) -> None:
    offer("test.act", passing)
    http.post("/api/v1/leases", json={"devices": ["alone"], "duration_s": 60})
    job = http.post("/api/v1/jobs", json=document()).json()
    (role,) = job["queue"]["roles"]
    assert (role["role"], role["free"], role["obstacles"][0]["device"]) == ("eye", [], "alone")
    assert role["obstacles"][0]["holder"] == "local"
    waits = http.post(
        "/api/v1/jobs", json=document(roles={"eye": {"kind": "lidar", "at_least": {"battery_ratio": 0.5}}})
    )
    assert waits.status_code == 201
    assert "battery_ratio" in str(waits.json()["queue"])


def test_vars_are_set_from_outside(client: Lab, offer: Offer) -> None:
    seen: list[Any] = []
    offer("test.act", lambda context: (seen.append(context.run), Outcome(Verdict.PASSED))[1])
    wanted = document({"notify": "n", "payload": "${{ vars.room }} ${{ vars.n }}"}, vars={"room": "a", "n": 1})
    job = client.submit(json.dumps(wanted), variables={"room": "b c", "n": "2"})
    list(client.follow(job["id"]))
    said = client.request("GET", f"/api/v1/runs/{client.job(job['id'])['runs'][0]}/signals")
    assert [each["payload"] for each in said["items"]] == ["b c 2"]


def test_a_doubtful_job_is_taken_with_a_warning(http: httpx.Client) -> None:
    wanted = document({"notify": "n", "if": "vars.x"}, {"wait": "n"}, vars={"x": True})
    told = http.post("/api/v1/jobs/check", json=wanted).json()
    assert told["jobs"] == ["j"]
    assert "'n' is notified only under an if" in told["warnings"][0]
    assert http.get("/api/v1/jobs").json()["items"] == []


def test_a_matrix_is_one_job_of_several_that_ends_with_the_worst(client: Lab, offer: Offer) -> None:
    wanted = document(
        {
            "name": "measure ${{ matrix.n }}",
            "uses": "run.measure",
            "with": {"name": "n", "value": "${{ matrix.n }}"},
            "measurements": {"n": {"max": 2}},
        },
        matrix={"n": [1, 2, 3]},
    )
    job = client.run(json.dumps(wanted))
    assert (job["verdict"], job["reason"]) == ("failed", "1 of 3 failed: j (3)")
    assert [(each["name"], each["verdict"]) for each in job["jobs"]] == [
        ("j (1)", "passed"),
        ("j (2)", "passed"),
        ("j (3)", "failed"),
    ]
    assert len(job["runs"]) == 3
    suites = junitparser.JUnitXml.fromstring(client.junit(job["id"]))
    assert [(suite.name, suite.tests, suite.failures) for suite in suites] == [
        ("j (1).eye", 2, 0),
        ("j (2).eye", 2, 0),
        ("j (3).eye", 2, 2),
    ]
    assert [suite.name and next(iter(suite)).name for suite in suites] == ["measure 1", "measure 2", "measure 3"]
    again = client.rerun(job["id"])
    list(client.follow(again["id"]))
    ended = client.job(again["id"])
    assert (ended["verdict"], ended["rerun_of"], len(ended["jobs"])) == ("failed", job["id"], 3)


def test_cancelling_a_matrix_cancels_all_of_it(client: Lab, daemon: Daemon, offer: Offer) -> None:
    offer("test.act", lambda context: (context.cancellation.wait(60), Outcome(Verdict.CANCELLED))[1])
    job = client.submit(json.dumps(document(matrix={"n": [1, 2, 3]})))["id"]
    client.cancel(job, "enough")
    list(client.follow(job))
    assert [each["verdict"] for each in client.job(job)["jobs"]] == ["cancelled"] * 3


def test_a_finished_job_is_run_again_as_it_was(client: Lab, offer: Offer) -> None:
    verdicts = [Outcome(Verdict.FAILED, "flaky"), Outcome(Verdict.PASSED)]
    offer("test.act", lambda context: verdicts.pop(0))
    job, _ = run(client, document(priority=3))
    again = client.rerun(job["id"])
    list(client.follow(again["id"]))
    ended = client.job(again["id"])
    assert (job["verdict"], ended["verdict"], ended["priority"], ended["rerun_of"]) == (
        "failed",
        "passed",
        3,
        job["id"],
    )


def test_a_step_is_tried_again_and_its_last_try_counts(client: Lab, offer: Offer) -> None:
    tries: list[int] = []

    def act(context: StepContext) -> Outcome:
        tries.append(len(tries))
        context.output("try", len(tries))
        context.measure([Measurement("level", float(len(tries)), "dB")])
        return Outcome(Verdict.PASSED)

    offer("test.act", act)
    step = {**ACT, "id": "act", "retry": {"times": 5, "delay": "1ms"}, "measurements": {"level": {"min": 3}}}
    wanted = document(step, outputs={"try": "${{ lanes.eye.steps.act.outputs.try }}"})
    job, found = run(client, wanted)
    assert (job["verdict"], found["outputs"]) == ("passed", {"try": 3})
    assert shown(found) == [("test.act", "passed", 3)]
    assert [each["verdict"] for each in found["measurements"]] == ["failed", "failed", "passed"]
    (suite,) = junitparser.JUnitXml.fromstring(client.junit(job["id"]))
    assert (suite.tests, suite.failures) == (2, 0)


@pytest.mark.parametrize(
    ("measurements", "verdict", "reason"),
    [
        ({"level": {"max": -3, "unit": "dB"}}, "failed", "level is -1 dB, outside its limit: at most -3"),
        ({"level": {"max": 0, "unit": "V"}}, "errored", "level is measured in dB, and its limits are in V"),
        ({"levl": {"max": 0}}, "errored", "test.act did not measure 'levl'; it measured level"),
        ({"level": {"min": -2, "max": 0}}, "passed", ""),
    ],
)
def test_what_is_measured_must_be_within_the_jobs_limits(
    client: Lab, offer: Offer, measurements: dict[str, Any], verdict: str, reason: str
) -> None:
    offer("test.act", lambda context: (context.measure([Measurement("level", -1.0, "dB")]), Outcome(Verdict.PASSED))[1])
    job, _ = run(client, document({**ACT, "measurements": measurements}))
    assert (job["verdict"], job["reason"]) == (verdict, reason)


def test_a_step_must_leave_the_files_that_it_promised(client: Lab, offer: Offer) -> None:
    def act(context: StepContext) -> Outcome:
        (context.folder / "a.txt").write_text("x", encoding="utf-8")
        context.keep(context.folder / "a.txt", "a.txt", "text/plain")
        return Outcome(Verdict.PASSED)

    offer("test.act", act)
    assert run(client, document({**ACT, "artifacts": ["*.txt"]}))[0]["verdict"] == "passed"
    job, _ = run(client, document({**ACT, "artifacts": ["*.pcap"]}))
    assert (job["verdict"], job["reason"]) == ("errored", "test.act left no file '*.pcap'; it left a.txt")


def test_conditions_choose_the_steps(client: Lab, offer: Offer) -> None:
    offer("test.act", passing)
    offer("test.fail", lambda context: Outcome(Verdict.FAILED, "bad"))
    steps = [
        {**ACT, "name": "left out", "if": "vars.x == 2"},
        {"uses": "test.fail", "id": "f", "name": "fails"},
        {**ACT, "name": "after"},
        {**ACT, "name": "still condition of success", "if": "vars.x == 1"},
        {**ACT, "name": "on failure", "if": "failure() && steps.f.verdict == 'failed'"},
        {**ACT, "name": "broken", "if": "always() && fromJSON('x')"},
    ]
    lane = {"always": [{**ACT, "name": "teardown"}, {**ACT, "name": "no teardown", "if": "success()"}]}
    job, found = run(client, document(*steps, vars={"x": 1}, lane=lane))
    assert [each[:2] for each in shown(found)] == [
        ("left out", "skipped"),
        ("fails", "failed"),
        ("after", "skipped"),
        ("still condition of success", "skipped"),
        ("on failure", "passed"),
        ("broken", "errored"),
        ("teardown", "passed"),
        ("no teardown", "skipped"),
    ]
    assert job["verdict"] == "errored"
    (suite,) = junitparser.JUnitXml.fromstring(client.junit(job["id"]))
    assert (suite.tests, suite.failures, suite.errors, suite.skipped) == (8, 1, 1, 4)


def test_an_errored_run_is_queued_again_where_the_job_says_so(client: Lab, offer: Offer) -> None:
    verdicts = [Outcome(Verdict.ERRORED, "no link"), Outcome(Verdict.FAILED, "bad"), Outcome(Verdict.PASSED)]
    offer("test.act", lambda context: verdicts.pop(0))
    job, found = run(client, document(on_lab_failure="requeue"))
    assert (job["verdict"], found["attempt"], len(job["runs"])) == ("failed", 2, 2)
    kinds = [event["kind"] for event in client.follow(job["id"])]
    assert (kinds.count("run.finished"), kinds.count("job.finished"), kinds.count("job.queued_again")) == (2, 1, 1)


def test_a_job_that_always_errors_is_tried_three_times(client: Lab, offer: Offer) -> None:
    offer("test.act", lambda context: Outcome(Verdict.ERRORED, "no link"))
    job, found = run(client, document(on_lab_failure="requeue"))
    assert (job["verdict"], job["reason"], found["attempt"]) == ("errored", "no link", 3)


def test_junit_survives_odd_characters(client: Lab, offer: Offer) -> None:
    offer("test.act", lambda context: Outcome(Verdict.FAILED, "too \x01 <far> & \U0001f600"))
    job, _ = run(client, document({**ACT, "name": 'a <b> & "c" \u2603'}))
    (suite,) = junitparser.JUnitXml.fromstring(client.junit(job["id"]))
    (case,) = suite
    assert case.name == 'a <b> & "c" \u2603'
    assert case.result[0].message == "too ? <far> & \U0001f600"


def test_a_list_of_jobs_in_a_state_that_there_is_not_is_no_empty_list(http: httpx.Client) -> None:
    answer = http.get("/api/v1/jobs", params={"state": "done"})
    assert answer.status_code == 422
    assert "state: Input should be 'queued', 'running' or 'finished'" in answer.json()["detail"]
