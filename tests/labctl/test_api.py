"""The HTTP API over a real socket: what scripts rely on, and how it says no."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from labctl.daemon import Daemon
from labctl.steps import Outcome, StepContext, Verdict

PROBLEM = "application/problem+json"
JOB = {
    "name": "a job",
    "roles": {"eye": {"device": "alone"}},
    "lanes": {"eye": {"steps": [{"uses": "test.act"}]}},
}


def lease(http: httpx.Client, *names: str, **options: Any) -> httpx.Response:
    return http.post("/api/v1/leases", json={"devices": list(names), **options})


def problem(answer: httpx.Response, status: int) -> dict[str, Any]:
    assert (answer.status_code, answer.headers["content-type"]) == (status, PROBLEM)
    document: dict[str, Any] = answer.json()
    assert document["status"] == status
    assert document["title"]
    assert document["detail"]
    return document


def finished(http: httpx.Client, job: str) -> dict[str, Any]:
    after = "0"
    while True:
        page = http.get("/api/v1/events", params={"after": after, "job": job, "wait_s": 20}).json()
        after = page["next"]
        if any(each["kind"] in ("run.finished", "job.cancelled") for each in page["items"]):
            return dict(http.get(f"/api/v1/jobs/{job}").json())


def test_devices_are_listed_with_who_holds_them(http: httpx.Client) -> None:
    granted = lease(http, "left", duration_s=30).json()
    page = http.get("/api/v1/devices").json()
    assert [each["name"] for each in page["items"]] == ["alone", "hall", "left", "right"]
    by_name = {each["name"]: each for each in page["items"]}
    assert page["next"] is None
    assert by_name["alone"]["lease"] is None
    assert by_name["left"]["labels"] == {"side": "left"}
    assert by_name["hall"]["lease"]["id"] == granted["id"]
    assert by_name["left"]["lease"]["expires_at"] == granted["expires_at"]


def test_pages_go_on_where_the_last_one_ended(http: httpx.Client) -> None:
    first = http.get("/api/v1/devices", params={"limit": 3}).json()
    second = http.get("/api/v1/devices", params={"limit": 3, "cursor": first["next"]}).json()
    assert [each["name"] for each in first["items"] + second["items"]] == ["alone", "hall", "left", "right"]
    assert second["next"] is None


def test_a_lease_is_granted_shown_renewed_and_released(http: httpx.Client) -> None:
    answer = lease(http, "left", duration_s=30)
    granted = answer.json()
    assert answer.status_code == 201
    assert (granted["devices"], granted["fencing"]) == (["hall", "left"], 1)
    assert granted["expires_at"].endswith("Z")
    assert http.get(f"/api/v1/leases/{granted['id']}").json() == granted
    assert http.post(f"/api/v1/leases/{granted['id']}/renew").json()["expires_at"] >= granted["expires_at"]
    assert http.delete(f"/api/v1/leases/{granted['id']}").json()["state"] == "released"
    assert http.get("/api/v1/leases").json() == {"items": [], "next": None}
    problem(http.delete(f"/api/v1/leases/{granted['id']}"), 409)


def test_a_taken_device_answers_with_holder_and_end(http: httpx.Client) -> None:
    granted = lease(http, "left").json()
    told = problem(lease(http, "right"), 409)
    assert told["taken"] == [
        {"device": "hall", "lease": granted["id"], "holder": "local", "expires_at": granted["expires_at"]}
    ]
    assert "hall is held by local until" in told["detail"]
    assert [each["id"] for each in http.get("/api/v1/leases").json()["items"]] == [granted["id"]]


def test_requirements_choose_among_devices(http: httpx.Client) -> None:
    wanted = {"require": [{"kind": "lidar", "labels": {"side": "right"}}, {"kind": "lidar"}]}
    assert set(http.post("/api/v1/leases", json=wanted).json()["devices"]) >= {"right", "hall"}


def test_a_held_request_is_granted_when_the_device_is_released(http: httpx.Client, url: str) -> None:
    granted = lease(http, "alone").json()
    answers: list[httpx.Response] = []

    def wait() -> None:
        body = {"devices": ["alone"], "wait_s": 30}
        answers.append(httpx.post(f"{url}/api/v1/leases", json=body, timeout=40, trust_env=False))

    waiter = threading.Thread(target=wait)
    waiter.start()
    while not any(each["state"] == "waiting" for each in http.get("/api/v1/leases").json()["items"]):
        pass
    http.delete(f"/api/v1/leases/{granted['id']}")
    waiter.join(30)
    assert answers[0].status_code == 201
    waited = answers[0].json()
    assert waited["fencing"] > granted["fencing"]
    assert http.get(f"/api/v1/leases/{waited['id']}").json() == waited


def test_a_held_request_ends_with_its_time_and_leaves_the_queue(http: httpx.Client) -> None:
    lease(http, "alone")
    told = problem(lease(http, "alone", wait_s=0.2), 409)
    assert "not granted within 0.2 s" in told["detail"]
    assert len(http.get("/api/v1/leases").json()["items"]) == 1


def test_a_held_request_of_a_client_that_left_is_withdrawn(http: httpx.Client, url: str, daemon: Daemon) -> None:
    lease(http, "alone")
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{url}/api/v1/leases", json={"devices": ["alone"], "wait_s": 60}, timeout=0.3, trust_env=False)
    seen = 0
    while [each["state"] for each in http.get("/api/v1/leases").json()["items"]] != ["active"]:
        seen = daemon.store.bell.wait(seen, 0.05)


@pytest.mark.parametrize(
    ("body", "pointer", "detail"),
    [
        ({}, "", 'give either "devices" (names) or "require" (kinds and labels)'),
        ({"devices": ["left"], "duration_s": 0}, "/duration_s", "Input should be greater than or equal to 1"),
        ({"devices": ["left"], "wait": 3}, "/wait", "Extra inputs are not permitted"),
        (
            {"require": [{"labels": {}}]},
            "/require/0",
            'give at least one of "device", "kind", "labels", "capability", "model", "site"',
        ),
        ({"devices": ["left", "left"]}, "", '"devices" names a device twice'),
    ],
)
def test_what_is_wrong_with_a_body_is_pointed_at(
    http: httpx.Client, body: dict[str, Any], pointer: str, detail: str
) -> None:
    told = problem(http.post("/api/v1/leases", json=body), 422)
    assert told["errors"] == [{"detail": detail, "pointer": pointer}]


def test_every_refusal_is_a_problem_document(http: httpx.Client) -> None:
    problem(http.get("/api/v1/nothing"), 404)
    problem(http.put("/api/v1/devices"), 405)
    problem(http.get("/api/v1/devices/none"), 404)
    problem(http.get("/api/v1/leases/none"), 404)
    problem(http.get("/api/v1/jobs/none"), 404)
    problem(http.get("/api/v1/runs/none"), 404)
    problem(http.get("/api/v1/artifacts/none/content"), 404)
    problem(http.post("/api/v1/robots/none/estop"), 404)
    problem(http.post("/api/v1/leases", content=b"{", headers={"content-type": "application/json"}), 422)
    assert problem(http.get("/api/v1/events?after=x"), 422)["errors"][0]["parameter"] == "after"
    problem(lease(http, "nowhere"), 404)


def test_pages_of_other_sites_cannot_use_the_daemon(http: httpx.Client) -> None:
    problem(http.get("/api/v1/devices", headers={"host": "evil.example"}), 403)
    problem(http.post("/api/v1/leases", json={}, headers={"origin": "http://evil.example"}), 403)
    assert http.get("/healthz", headers={"origin": str(http.base_url).rstrip("/")}).status_code == 200


def test_events_come_in_order_by_cursor_and_by_stream(http: httpx.Client) -> None:
    first = http.get("/api/v1/events", params={"limit": 2}).json()
    rest = http.get("/api/v1/events", params={"after": first["next"]}).json()
    numbers = [each["sequence"] for each in first["items"] + rest["items"]]
    assert numbers == list(range(1, len(numbers) + 1))
    headers = {"accept": "text/event-stream", "last-event-id": "2"}
    with http.stream("GET", "/api/v1/events", headers=headers) as stream:
        lines = stream.iter_lines()
        assert next(lines) == "id: 3"
        assert next(lines) == f"event: {rest['items'][0]['kind']}"
        assert json.loads(next(lines).removeprefix("data: ")) == rest["items"][0]


def test_a_reader_that_waits_is_woken_by_the_next_event(http: httpx.Client, daemon: Daemon) -> None:
    after = http.get("/api/v1/events", params={"limit": 1000}).json()["next"]
    assert http.get("/api/v1/events", params={"from_now": True}).json() == {"items": [], "next": after}
    timer = threading.Timer(0.1, lambda: daemon.store.write(lambda transaction: transaction.emit("late")))
    timer.start()
    page = http.get("/api/v1/events", params={"after": after, "wait_s": 20}).json()
    assert [each["kind"] for each in page["items"]] == ["late"]
    assert page["next"] == str(page["items"][0]["sequence"])
    assert http.get("/api/v1/events", params={"after": page["next"]}).json() == {"items": [], "next": page["next"]}


def test_a_job_is_run_and_leaves_measurements_and_artifacts(
    http: httpx.Client, offer: Callable[..., None], daemon: Daemon
) -> None:
    def act(context: StepContext) -> Outcome:
        file = context.folder / "notes.txt"
        file.write_text("0123456789", encoding="utf-8")
        context.keep(file, "notes.txt", "text/plain")
        return Outcome(Verdict.FAILED, "too dark")

    offer("test.act", act)
    answer = http.post("/api/v1/jobs", json=JOB)
    assert (answer.status_code, answer.json()["name"]) == (201, "a job")
    job = finished(http, answer.json()["id"])
    assert (job["state"], job["verdict"], job["reason"]) == ("finished", "failed", "too dark")
    run = http.get(f"/api/v1/runs/{job['runs'][0]}").json()
    (artifact,) = run["artifacts"]
    content = http.get(artifact["href"], headers={"range": "bytes=2-4"})
    assert (content.status_code, content.text) == (206, "234")
    assert http.get("/api/v1/artifacts", params={"run": run["id"]}).json()["items"] == [artifact]


def test_a_job_that_waits_says_for_whom(http: httpx.Client, offer: Callable[..., None]) -> None:
    offer("test.act", lambda context: Outcome(Verdict.PASSED))
    granted = lease(http, "alone").json()
    job = http.post("/api/v1/jobs", json=JOB).json()
    assert job["state"] == "queued"
    assert [(each["device"], each["lease"]) for each in job["waits_for"]] == [("alone", granted["id"])]
    cancelled = http.post(f"/api/v1/jobs/{job['id']}/cancel").json()
    assert (cancelled["state"], cancelled["verdict"]) == ("finished", "cancelled")
    problem(http.post(f"/api/v1/jobs/{job['id']}/cancel"), 409)


def test_a_job_file_gives_all_its_errors_with_their_places(http: httpx.Client, offer: Callable[..., None]) -> None:
    offer("test.act", lambda context: Outcome(Verdict.PASSED))
    text = """name: x
roles: {eye: {device: alone}, ear: {kin: lidar}}
lanes:
  eyes:
    steps:
      - {uses: drive.curse, timout_s: 3}
"""
    headers = {"content-type": "application/yaml"}
    told = problem(http.post("/api/v1/jobs", params={"source": "job.yaml"}, content=text, headers=headers), 422)
    assert told["detail"].splitlines() == [
        "job.yaml:2:37: at roles.ear.kin unknown key; did you mean 'kind'?",
        "job.yaml:4:3: at lanes.eyes no role has this name; did you mean 'eye'?",
        "job.yaml:6:10: at lanes.eyes.steps[0].uses no action 'drive.curse'; did you mean 'drive.course'?",
        "job.yaml:6:29: at lanes.eyes.steps[0].timout_s unknown key; did you mean 'timeout'?",
    ]
    assert http.get("/api/v1/jobs").json()["items"] == []


def test_parameters_of_an_action_are_checked_before_the_job_is_taken(http: httpx.Client) -> None:
    steps = [{"uses": "drive.course", "with": {"course": "standerd"}}]
    told = problem(http.post("/api/v1/jobs", json={**JOB, "lanes": {"eye": {"steps": steps}}}), 422)
    assert "no course named 'standerd'; there are: " in told["detail"]


def test_a_huge_or_broken_job_is_refused(http: httpx.Client) -> None:
    problem(http.post("/api/v1/jobs", content=b"x" * (1 << 20 | 1)), 413)
    problem(http.post("/api/v1/jobs", content=b"\xff\xfe"), 422)
    problem(http.post("/api/v1/jobs", content=b""), 422)


def test_health_metrics_and_documentation(http: httpx.Client) -> None:
    assert http.get("/healthz").json()["status"] == "ok"
    assert http.get("/readyz").json() == {"status": "ok", "lab": "test"}
    metrics = http.get("/metrics").text
    assert 'labctl_devices{state="good"} 4.0' in metrics
    assert 'labctl_http_requests_total{method="GET",route="/readyz",status="200"} 1.0' in metrics
    page = http.get("/docs").text
    assert "/api/v1/robots/{name}/estop</code>" in page
    assert "https://" not in page
    assert "<script" not in page


def test_the_description_names_every_path_that_scripts_rely_on(http: httpx.Client) -> None:
    paths = http.get("/openapi.json").json()["paths"]
    for path in ("devices", "leases", "jobs", "runs", "artifacts", "events", "robots/{name}/estop"):
        assert f"/api/v1/{path}" in paths


def test_a_removed_artifact_is_said_to_be_gone(http: httpx.Client, offer: Callable[..., None], daemon: Daemon) -> None:
    def act(context: StepContext) -> Outcome:
        (context.folder / "a.txt").write_text("a", encoding="utf-8")
        context.keep(context.folder / "a.txt", "a.txt", "text/plain")
        return Outcome(Verdict.PASSED)

    offer("test.act", act)
    finished(http, http.post("/api/v1/jobs", json=JOB).json()["id"])
    (artifact,) = http.get("/api/v1/artifacts").json()["items"]
    for file in Path(daemon.artifacts.folder).rglob("*.txt"):
        file.unlink()
    assert "was removed" in problem(http.get(artifact["href"]), 404)["detail"]
