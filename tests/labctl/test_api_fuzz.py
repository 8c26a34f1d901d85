"""The whole API against its own description: no answer is a 500, every refusal a problem document."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, urlencode

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from labctl.steps import Outcome, StepContext, Verdict

Offer = Callable[[str, Callable[[StepContext], Outcome]], None]
# Would hold the test up: answers that are held, and a stream that never ends.
_HELD = ("wait", "wait_s")
_JOB = {"name": "j", "roles": {"eye": {"device": "alone"}}, "lanes": {"eye": {"steps": [{"uses": "test.act"}]}}}


def real_things(http: httpx.Client) -> dict[str, list[str]]:
    """Names that exist, by what path parameters call them."""
    job = http.post("/api/v1/jobs", json=_JOB).json()["id"]
    after = "0"
    while http.get(f"/api/v1/jobs/{job}").json()["state"] != "finished":
        after = http.get("/api/v1/events", params={"after": after, "wait_s": 20}).json()["next"]
    lease = http.post("/api/v1/leases", json={"devices": ["left"], "duration_s": 600}).json()["id"]
    webhook = http.post("/api/v1/webhooks", json={"url": "http://127.0.0.1:1/", "kinds": ["none.such"]}).json()["id"]
    runs = http.get(f"/api/v1/jobs/{job}").json()["runs"]
    return {"job": [job], "run": runs, "lease": [lease], "webhook": [webhook], "name": ["left", "alone", "go"]}


@pytest.mark.timeout(300)
def test_no_request_is_answered_with_a_fault_of_ours(http: httpx.Client, url: str, offer: Offer) -> None:
    offer("test.act", lambda context: Outcome(Verdict.PASSED))
    things = real_things(http)
    schema = schemathesis.openapi.from_dict(http.get("/openapi.json").json())
    operations = [each.ok() for each in schema.get_all_operations()]
    assert len(operations) > 40
    seen: set[str] = set()

    @settings(
        max_examples=4 * len(operations),
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.data())
    def fuzz(data: Any) -> None:
        operation = data.draw(st.sampled_from(operations))
        case = data.draw(operation.as_strategy())
        for name in case.path_parameters or {}:
            if name in things and data.draw(st.booleans()):
                case.path_parameters[name] = data.draw(st.sampled_from(things[name]))
        for name in _HELD:
            if name in (case.query or {}):
                case.query[name] = 0
        if isinstance(case.body, dict) and "wait_s" in case.body:
            case.body["wait_s"] = 0
        answer = case.call(base_url=url, timeout=60)
        about = f"{operation.label}: {answer.status_code} {answer.text[:300]}"
        assert answer.status_code != 500, about
        if answer.status_code >= 400 and operation.method.upper() != "HEAD":
            assert answer.headers["content-type"][0] == "application/problem+json", about
            assert json.loads(answer.content)["status"] == answer.status_code, about
        seen.add(operation.label)

    fuzz()
    assert len(seen) > len(operations) * 0.8


def test_half_of_a_surrogate_pair_is_quoted_in_the_refusal(http: httpx.Client) -> None:
    body = json.dumps({"name": "j", "roles": {"\ud800": {"device": "alone"}}, "lanes": {"\udfff": {}}})
    answer = http.post("/api/v1/jobs", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422
    assert answer.json()["status"] == 422


# What generators seldom think of.
_ODD = ["\0", "a\0b", "%00", "..", "../../etc/passwd", "é" * 300, "9" * 400, "-1", "1e400", "NaN", "' OR 1=1 --"]


@pytest.mark.timeout(300)
def test_odd_texts_are_refused_or_taken_everywhere(http: httpx.Client) -> None:
    document = http.get("/openapi.json").json()
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            parameters = operation.get("parameters", [])
            for text in _ODD:
                query = {each["name"]: text for each in parameters if each["in"] == "query"}
                filled = re.sub(r"\{[a-z_]+\}", lambda _match, text=text: quote(text, safe=""), path)
                body = {"devices": [text], "name": text, "reason": text, "url": text}
                address = f"{filled}?{urlencode({name: each for name, each in query.items() if name not in _HELD})}"
                answer = http.request(method, address, json=body)
                assert answer.status_code != 500, (method, address, answer.text)
