"""Tokens, policies and the audit log over a real socket; and that every route asks before it does anything."""

from __future__ import annotations

import base64
import json
import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from labctl.auth.tokens import Token
from labctl.client import Lab as Client
from labctl.client import LabClientError
from labctl.config import Lab
from labctl.daemon import Daemon, run_daemon
from labctl.steps import Outcome, Verdict

# Whatever the policies say, these are open: to everybody, or to whoever is known.
OPEN = {"/healthz", "/readyz"}
OPEN_TO_THE_KNOWN = {"/api/v1/whoami", "/api/v1/robots/{name}/estop", "/docs"}
POLICIES = """
groups:
  crew: ["person:anna", "person:ben"]
statements:
  - name: the crew reads the left side
    effect: allow
    principals: [group:crew]
    actions: [read]
    resources: ["device:*"]
    when: {labels: {side: left}}
  - name: the crew's own
    effect: allow
    principals: [group:crew]
    actions: ["*"]
    resources: ["lease:*", "job:*", "run:*", "token:*"]
    when: {own: true}
  - {effect: allow, principals: [group:crew], actions: [leases.request], resources: ["device:*t", "device:hall"]}
  - {effect: allow, principals: [group:crew], actions: [jobs.submit, actions.run], resources: ["job:*", "action:t*"]}
  - {effect: allow, principals: [group:crew], actions: [read], resources: ["event:*"]}
  - {effect: deny, principals: ["*"], actions: [tokens.create], resources: ["principal:mallory"]}
"""


@pytest.fixture
def lab(lab: Lab, tmp_path: Path) -> Lab:
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "lab.yaml").write_text(POLICIES, encoding="utf-8")
    return Lab.model_construct(lab=lab.lab, devices=lab.devices, policies=(tmp_path / "policies",))


@pytest.fixture
def daemon(lab: Lab, tmp_path: Path) -> Iterator[Daemon]:
    with run_daemon(lab, tmp_path / "data") as running:
        yield running


Asking = Callable[..., httpx.Client]


@pytest.fixture
def root(http: httpx.Client) -> httpx.Client:
    """An administrator with a token, the lab's first one."""
    issued = http.post("/api/v1/tokens", json={"principal": "root", "administrator": True})
    http.headers["authorization"] = f"Bearer {issued.json()['token']}"
    return http


@pytest.fixture
def asking(root: httpx.Client) -> Iterator[Asking]:
    """A client of a principal with a token of its own."""
    opened: list[httpx.Client] = []

    def make(name: str, kind: str = "person", **more: Any) -> httpx.Client:
        issued = root.post("/api/v1/tokens", json={"principal": name, "kind": kind, **more}).json()
        headers = {"authorization": f"Bearer {issued['token']}"}
        opened.append(httpx.Client(base_url=root.base_url, headers=headers, trust_env=False, timeout=30))
        return opened[-1]

    yield make
    for each in opened:
        each.close()


def routes(root: httpx.Client) -> list[tuple[str, str]]:
    paths = root.get("/openapi.json").json()["paths"]
    return [(method.upper(), path) for path, methods in paths.items() for method in methods]


def test_every_route_denies_a_principal_without_rights(root: httpx.Client, asking: Asking) -> None:
    nobody = asking("nobody")
    walked = routes(root)
    assert len(walked) > 30
    asked = [(each, ask(nobody, *each)) for each in walked if each[1] not in OPEN | OPEN_TO_THE_KNOWN]
    # A session on a host is found by who opened it, and by nobody else.
    wrong = [
        f"{method} {path} {told.text[:150]}"
        for (method, path), told in asked
        if told.status_code != (404 if "/hosts/{name}/sessions/{session}" in path else 403)
    ]
    assert not wrong, "\n".join(wrong)
    assert {told.json()["title"] for _, told in asked} == {"Not allowed", "Not found"}


def test_every_route_asks_who_it_is(root: httpx.Client) -> None:
    with httpx.Client(base_url=root.base_url, trust_env=False) as stranger:
        for method, path in routes(root):
            told = ask(stranger, method, path)
            if path in OPEN:
                assert told.status_code == 200
            else:
                assert told.status_code == 401, (method, path)
                assert told.headers["www-authenticate"].startswith("Basic")
                assert "labctl login" in told.json()["detail"]


def ask(client: httpx.Client, method: str, path: str) -> httpx.Response:
    """A request that a route understands as far as its form goes: rights are checked before anything is looked up."""
    filled = re.sub(r"\{(position|number|event)\}", "1", path)
    filled = re.sub(r"\{[a-z_]+\}", "none", filled.replace("{what}", "on"))
    description = client.get("/openapi.json")
    body: Any = {} if method in ("POST", "PUT", "PATCH") else None
    if description.status_code == 200:
        whole = description.json()
        operation = whole["paths"][path][method.lower()]
        content = operation.get("requestBody", {}).get("content", {})
        if "application/json" in content:
            body = sample(whole, content["application/json"]["schema"])
        required = {
            each["name"]: sample(whole, each["schema"])
            for each in operation.get("parameters", ())
            if each["in"] == "query" and each.get("required")
        }
    else:
        required = {}
    body = BODIES.get((method, path), body)
    return client.request(method, filled, json=body, params=PARAMETERS.get(path, required))


def sample(whole: dict[str, Any], schema: dict[str, Any]) -> Any:
    """The least that the schema takes."""
    if "$ref" in schema:
        return sample(whole, whole["components"]["schemas"][schema["$ref"].rpartition("/")[2]])
    if choices := schema.get("enum") or schema.get("anyOf") or schema.get("oneOf"):
        return sample(whole, choices[0]) if isinstance(choices[0], dict) else choices[0]
    kind = schema.get("type", "")
    if kind == "object":
        return {name: sample(whole, schema["properties"][name]) for name in schema.get("required", ())}
    if kind == "array":
        return [sample(whole, schema["items"]) for _ in range(schema.get("minItems", 0))]
    number = schema.get("minimum", 1)
    plain: dict[str, Any] = {"integer": number, "number": number, "boolean": False}
    return schema.get("const", plain.get(kind, "x" * max(1, schema.get("minLength", 1))))


# Where the least that the form takes is not enough.
BODIES: dict[tuple[str, str], dict[str, Any]] = {
    ("POST", "/api/v1/leases"): {"devices": ["left"]},
    ("POST", "/api/v1/hosts/{name}/sessions"): {"command": "true"},
    ("POST", "/api/v1/hosts/{name}/key"): {"fingerprint": "SHA256:" + "x" * 43},
    ("POST", "/api/v1/webhooks"): {"url": "http://192.0.2.1/"},
    ("POST", "/api/v1/audio/jobs"): {"pairs": [{"reference": "en_f", "recording": "0"}]},
}
PARAMETERS = {
    "/api/v1/policies/explain": {"principal": "root", "action": "read", "resource": "device:left"},
}


def test_lists_show_only_what_may_be_read(root: httpx.Client, asking: Asking) -> None:
    anna, ben = asking("anna"), asking("ben")
    assert [each["name"] for each in anna.get("/api/v1/devices").json()["items"]] == ["left"]
    assert len(root.get("/api/v1/devices").json()["items"]) == 4
    hers = anna.post("/api/v1/leases", json={"devices": ["left"]}).json()
    assert [each["id"] for each in anna.get("/api/v1/leases").json()["items"]] == [hers["id"]]
    assert ben.get("/api/v1/leases").json()["items"] == []
    assert ben.get(f"/api/v1/leases/{hers['id']}").status_code == 403
    assert ben.delete(f"/api/v1/leases/{hers['id']}").status_code == 403
    assert {each["principal"] for each in anna.get("/api/v1/tokens").json()["items"]} == {"anna"}
    kinds = {each["kind"] for each in anna.get("/api/v1/events?limit=1000").json()["items"]}
    assert "lease.granted" in kinds
    assert "lease.granted" not in {each["kind"] for each in ben.get("/api/v1/events?limit=1000").json()["items"]}
    assert anna.delete(f"/api/v1/leases/{hers['id']}").status_code == 200


def test_leases_and_jobs_are_had_only_with_devices_and_actions_that_are_allowed(
    root: httpx.Client, asking: Asking, offer: Callable[..., None]
) -> None:
    anna = asking("anna")
    assert anna.post("/api/v1/leases", json={"devices": ["alone"]}).status_code == 403
    # Any LiDAR would do, and "alone" comes first; what she gets is one that she may have.
    granted = anna.post("/api/v1/leases", json={"require": [{"kind": "lidar"}]})
    assert granted.status_code == 201
    assert "alone" not in granted.json()["devices"]
    offer("test.act", lambda context: Outcome(Verdict.PASSED))
    job = {"name": "j", "roles": {"eye": {"device": "alone"}}, "lanes": {"eye": {"steps": [{"uses": "test.act"}]}}}
    refused = anna.post("/api/v1/jobs", json=job)
    assert (refused.status_code, "device:alone" in refused.json()["detail"]) == (403, True)
    job["roles"] = {"eye": {"device": "left"}}
    assert anna.post("/api/v1/jobs", json=job).status_code == 201
    job["lanes"] = {"eye": {"steps": [{"uses": "drive.course", "with": {"course": "standard"}}]}}
    refused = anna.post("/api/v1/jobs", json=job)
    assert (refused.status_code, "actions.run to action:drive.course" in refused.json()["detail"]) == (403, True)


def test_pages_of_a_list_are_full_though_much_is_left_out(root: httpx.Client, asking: Asking) -> None:
    anna = asking("anna")
    for number in range(12):
        root.post("/api/v1/tokens", json={"principal": f"p{number}"})
    mine = [root.post("/api/v1/tokens", json={"principal": "anna"}).json()["id"] for _ in range(4)]
    first = anna.get("/api/v1/tokens", params={"limit": 3}).json()
    rest = anna.get("/api/v1/tokens", params={"limit": 3, "cursor": first["next"]}).json()
    assert (len(first["items"]), rest["next"]) == (3, None)
    assert {each["id"] for each in first["items"] + rest["items"]} >= set(mine)
    assert len(first["items"] + rest["items"]) == 5


def test_a_token_comes_in_the_user_part_of_the_url_too(root: httpx.Client) -> None:
    token = root.post("/api/v1/tokens", json={"principal": "anna"}).json()["token"]
    for userinfo in (f"anna:{token}", f":{token}", token):
        url = str(root.base_url).replace("http://", f"http://{userinfo}@")
        assert httpx.get(f"{url}/api/v1/whoami", trust_env=False).json()["name"] == "anna"
    assert httpx.get(f"{root.base_url}/api/v1/whoami", auth=("anna", "x"), trust_env=False).status_code == 401


def test_an_event_stream_takes_the_token_from_the_url_and_shows_what_may_be_read(
    root: httpx.Client, asking: Asking
) -> None:
    anna = asking("anna")
    token = anna.headers["authorization"].removeprefix("Bearer ")
    headers = {"authorization": "Basic " + base64.b64encode(f"anna:{token}".encode()).decode()}
    headers |= {"accept": "text/event-stream"}
    with httpx.stream("GET", f"{root.base_url}/api/v1/events", headers=headers, trust_env=False, timeout=30) as stream:
        assert stream.status_code == 200
        root.post("/api/v1/leases", json={"devices": ["alone"]})
        anna.post("/api/v1/leases", json={"devices": ["left"]})
        for line in stream.iter_lines():
            if line.startswith("data: ") and json.loads(line[6:])["kind"] == "lease.granted":
                assert json.loads(line[6:])["data"]["holder"] == "anna"
                break
    with httpx.stream("GET", f"{root.base_url}/api/v1/events", trust_env=False) as refused:
        assert refused.status_code == 401


def test_an_emergency_stop_needs_to_be_known_but_no_right(root: httpx.Client, asking: Asking) -> None:
    nobody = asking("nobody")
    # The lab of this test has no robot: that it is looked for shows that nothing else stood in the way.
    assert nobody.post("/api/v1/robots/none/estop").status_code == 404
    assert httpx.post(f"{root.base_url}/api/v1/robots/none/estop", trust_env=False).status_code == 401
    newest = root.get("/api/v1/audit", params={"action": "robots.estop"}).json()["items"][0]
    assert (newest["principal"], newest["allowed"]) == ("person:nobody", True)


def test_a_token_is_issued_shown_once_rotated_and_revoked(root: httpx.Client) -> None:
    issued = root.post("/api/v1/tokens", json={"principal": "ci-1", "kind": "ci", "duration_s": 60, "note": "n"}).json()
    assert set(issued) >= {"token", "id", "expires_at", "created_by"}
    listed = root.get("/api/v1/tokens", params={"principal": "ci-1"}).json()["items"]
    assert [each["id"] for each in listed] == [issued["id"]]
    assert "token" not in listed[0]
    assert "hash" not in listed[0]
    assert issued["token"] not in root.get("/api/v1/events?limit=1000").text
    fresh = root.post(f"/api/v1/tokens/{issued['id']}/rotate", json={"overlap_s": 60}).json()
    for token in (issued["token"], fresh["token"]):
        assert who(root, token) == "ci-1"
    root.delete(f"/api/v1/tokens/{fresh['id']}")
    assert who(root, fresh["token"]) is None
    assert who(root, issued["token"]) == "ci-1"
    assert root.post(f"/api/v1/tokens/{fresh['id']}/rotate").status_code == 409
    assert root.delete("/api/v1/tokens/none").status_code == 404


def who(client: httpx.Client, token: str) -> str | None:
    told = httpx.get(f"{client.base_url}/api/v1/whoami", headers={"authorization": f"Bearer {token}"}, trust_env=False)
    return told.json().get("name") if told.status_code == 200 else None


def test_nobody_makes_himself_an_administrator(root: httpx.Client, asking: Asking, tmp_path: Path) -> None:
    (tmp_path / "policies" / "more.yaml").write_text(
        'statements: [{effect: allow, principals: ["person:anna"], actions: [tokens.*], resources: ["*"]},\n'
        '  {effect: deny, principals: ["person:anna"], actions: [tokens.create_administrator], resources: ["*"]}]',
        encoding="utf-8",
    )
    root.post("/api/v1/policies/reload")
    anna = asking("anna")
    assert anna.post("/api/v1/tokens", json={"principal": "ben"}).status_code == 201
    assert anna.post("/api/v1/tokens", json={"principal": "anna", "administrator": True}).status_code == 403
    of_root = root.get("/api/v1/whoami").json()["token"]
    assert anna.post(f"/api/v1/tokens/{of_root}/rotate").status_code == 403


def test_a_token_without_the_right_does_not_rotate_its_way_to_an_administrators(
    root: httpx.Client, asking: Asking
) -> None:
    plain = asking("anna")
    whole = root.post("/api/v1/tokens", json={"principal": "anna", "administrator": True}).json()
    # "The crew's own" lets her rotate her tokens; what comes out would have more rights than the one that asked.
    assert plain.post(f"/api/v1/tokens/{whole['id']}/rotate").status_code == 403
    assert who(root, whole["token"]) == "anna"
    mine = plain.get("/api/v1/whoami").json()["token"]
    fresh = plain.post(f"/api/v1/tokens/{mine}/rotate", json={"overlap_s": 60})
    assert (fresh.status_code, fresh.json()["administrator"]) == (201, False)
    # A token that leaked is revoked with whatever token is at hand.
    assert plain.delete(f"/api/v1/tokens/{whole['id']}").status_code == 200
    assert who(root, whole["token"]) is None


def test_a_stream_of_events_ends_with_its_token(root: httpx.Client, asking: Asking) -> None:
    anna = asking("anna")
    mine = anna.get("/api/v1/whoami").json()["token"]
    live = {"accept": "text/event-stream"}
    with anna.stream("GET", "/api/v1/events", headers=live, timeout=60) as answer:
        lines = answer.iter_lines()
        assert next(lines).startswith("id: ")
        root.delete(f"/api/v1/tokens/{mine}")
        assert list(lines)  # to its end


def test_a_deny_binds_administrators(root: httpx.Client) -> None:
    told = root.post("/api/v1/tokens", json={"principal": "mallory"})
    assert told.status_code == 403
    assert re.search(r"lab\.yaml:20", told.json()["statement"])


def test_policies_are_shown_explained_and_read_again(root: httpx.Client, asking: Asking, tmp_path: Path) -> None:
    shown = root.get("/api/v1/policies").json()
    assert len(shown["items"]) == 6
    question = {"principal": "anna", "action": "read", "resource": "device:left"}
    told = root.get("/api/v1/policies/explain", params=question).json()
    assert (told["allowed"], told["version"]) == (True, shown["version"])
    assert told["statement"].endswith("lab.yaml:5 (the crew reads the left side)")
    assert not root.get("/api/v1/policies/explain", params={**question, "resource": "device:right"}).json()["allowed"]
    anna = asking("anna")
    assert anna.get("/api/v1/policies/explain", params=question).status_code == 200
    assert anna.get("/api/v1/policies/explain", params={**question, "principal": "root"}).status_code == 403
    file = tmp_path / "policies" / "lab.yaml"
    file.write_text("statements: [{effect: allow}]", encoding="utf-8")
    broken = root.post("/api/v1/policies/reload")
    assert (broken.status_code, "lab.yaml:1:14" in broken.json()["detail"]) == (422, True)
    assert anna.get("/api/v1/devices").status_code == 200
    file.write_text("statements: []", encoding="utf-8")
    assert root.post("/api/v1/policies/reload").json()["items"] == []
    assert anna.get("/api/v1/devices").status_code == 403
    old = root.get(f"/api/v1/policies/versions/{shown['version']}").json()
    assert old["sources"] == [{"name": str(file), "text": POLICIES}]


def test_the_audit_log_is_read_and_verified_but_has_no_other_route(root: httpx.Client, asking: Asking) -> None:
    anna = asking("anna")
    anna.post("/api/v1/robots/r/estop/reset", json={"person": "a", "reason": "b"}, headers={"x-request-id": "req-1"})
    entry = root.get("/api/v1/audit", params={"allowed": False}).json()["items"][0]
    assert (entry["principal"], entry["action"], entry["request"]) == ("person:anna", "robots.reset", "req-1")
    whole = root.get("/api/v1/audit/verify").json()
    assert whole["problem"] is None
    assert root.get("/api/v1/audit/verify", params={"known": whole["head"]}).json()["problem"] is None
    changing = [each for each in routes(root) if each[1].startswith("/api/v1/audit") and each[0] != "GET"]
    assert changing == []


def test_every_answer_has_a_request_id(root: httpx.Client) -> None:
    assert root.get("/healthz", headers={"x-request-id": "mine-7"}).headers["x-request-id"] == "mine-7"
    assert re.fullmatch("[0-9a-f]{16}", root.get("/healthz", headers={"x-request-id": "a b"}).headers["x-request-id"])


def test_a_proxy_is_not_taken_for_the_local_user(http: httpx.Client) -> None:
    told = http.get("/api/v1/devices", headers={"x-forwarded-for": "192.0.2.9"})
    assert (told.status_code, "--behind-proxy" in told.json()["detail"]) == (403, True)


def test_another_sites_page_cannot_use_a_browsers_stored_password(root: httpx.Client) -> None:
    token = root.headers["authorization"].removeprefix("Bearer ")
    origin = {"origin": "http://evil.example"}
    with httpx.Client(base_url=root.base_url, auth=("u", token), trust_env=False) as browser:
        for sent in (origin["origin"], "null", "http://[", ""):
            assert browser.get("/api/v1/whoami", headers={"origin": sent}).status_code == 403
    assert root.get("/api/v1/whoami", headers=origin).status_code == 200  # no page can send a Bearer token


def test_the_client_takes_its_token_from_everywhere(
    root: httpx.Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = str(root.base_url).rstrip("/")
    token = root.headers["authorization"].removeprefix("Bearer ")
    monkeypatch.setenv("LABCTL_CREDENTIALS", str(tmp_path / "credentials.json"))
    with Client(url) as stranger, pytest.raises(LabClientError, match="labctl login"):
        stranger.devices()
    for lab in (Client(url, token), Client(url.replace("http://", f"http://u:{token}@"))):
        with lab:
            assert len(lab.devices()) == 4
            assert token not in lab.url
    monkeypatch.setenv("LABCTL_TOKEN", token)
    with Client(url) as known:
        assert known.request("GET", "/api/v1/whoami")["name"] == "root"


def test_a_database_that_hangs_holds_nobody_up_but_whoever_shows_a_token_it_may_know(
    root: httpx.Client, url: str, daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, over = threading.Event(), threading.Event()

    def hang() -> None:
        asked.set()
        over.wait(60)

    monkeypatch.setattr(daemon.authority.keyring, "read", hang)
    monkeypatch.setattr("labctl.auth.authority._ASKED_FOR_S", 1.0)
    stranger = {"authorization": f"Bearer {Token.new().text}"}
    try:
        with ThreadPoolExecutor(2) as threads:
            held = [
                threads.submit(httpx.get, f"{url}/api/v1/whoami", headers=stranger),
                threads.submit(httpx.post, f"{url}/webdriver/session", json={"capabilities": {}}, headers=stranger),
            ]
            assert asked.wait(30)
            assert root.post("/api/v1/robots/none/estop").status_code == 404  # taken; there is none of that name
            told, session = [each.result() for each in held]
    finally:
        over.set()
    assert (told.status_code, "the database does not answer" in told.json()["detail"]) == (503, True)
    assert (session.status_code, session.json()["value"]["error"]) == (503, "session not created")
