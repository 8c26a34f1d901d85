"""Who may open and use sessions, and how those are told who may not."""

from __future__ import annotations

import base64
import http.client
import json

import httpx
import pytest

from labctl.daemon import Daemon


@pytest.fixture
def tokens(daemon: Daemon, http: httpx.Client) -> dict[str, str]:
    """A token of an administrator, and one of somebody whom no policy lets do anything."""
    made = {}
    for name, administrator in (("anna", True), ("mallory", False)):
        headers = {"Authorization": f"Bearer {made['anna']}"} if made else {}
        wanted = {"principal": name, "administrator": administrator}
        response = http.post("/api/v1/tokens", json=wanted, headers=headers)
        assert response.status_code == 201, response.text
        made[name] = response.json()["token"]
    return made


def endpoint(http: httpx.Client, token: str) -> httpx.Client:
    """A client as Selenium makes one of http://user:token@host/webdriver."""
    return httpx.Client(base_url=http.base_url, auth=("user", token), trust_env=False, timeout=30)


def test_nobody_known_gets_in_and_hears_how(http, tokens):
    response = http.post("/webdriver/session", json={"capabilities": {}})
    assert response.status_code == 401
    assert response.headers["www-authenticate"].startswith("Basic ")
    assert response.json()["value"]["error"] == "session not created"


def test_a_token_in_the_address_is_enough(http, tokens, target):
    with endpoint(http, tokens["anna"]) as client:
        response = client.post("/webdriver/session", json={"capabilities": {"alwaysMatch": {"lab:device": "left"}}})
        session = response.json()["value"]["sessionId"]
        assert client.get("/api/v1/webdriver/sessions").json()["items"][0]["owner"] == "anna"
        assert client.delete(f"/webdriver/session/{session}").status_code == 200
    assert all(each.header(b"authorization") is None for each in target.requests)


def test_who_is_not_allowed_gets_no_device_and_nobody_else_s_session(http, tokens):
    with endpoint(http, tokens["anna"]) as anna, endpoint(http, tokens["mallory"]) as mallory:
        refused = mallory.post("/webdriver/session", json={"capabilities": {}})
        assert refused.json()["value"]["error"] == "session not created"
        assert "webdriver.open" in refused.json()["value"]["message"]
        session = anna.post("/webdriver/session", json={"capabilities": {}}).json()["value"]["sessionId"]
        for method, path in (("GET", "/url"), ("DELETE", "")):
            stolen = mallory.request(method, f"/webdriver/session/{session}{path}")
            assert (stolen.status_code, stolen.json()["value"]["error"]) == (404, "invalid session id")
        assert anna.get(f"/webdriver/session/{session}/url").status_code == 200


def test_each_request_is_judged_by_the_token_it_came_with(http, tokens, url):
    """Another token of the same person, with more rights, may be used while a request still comes in."""
    administrator = {"Authorization": f"Bearer {tokens['anna']}"}
    made = http.post("/api/v1/tokens", json={"principal": "anna", "administrator": False}, headers=administrator)
    credentials = base64.b64encode(f"user:{made.json()['token']}".encode()).decode()
    body = b'{"capabilities": {}}'
    connection = http_connection(url.removeprefix("http://"))
    connection.putrequest("POST", "/webdriver/session")
    connection.putheader("Authorization", f"Basic {credentials}")
    connection.putheader("Content-Length", str(len(body)))
    connection.endheaders(body[:1])
    assert http.get("/webdriver/status", headers=administrator).status_code == 200
    connection.send(body[1:])
    refused = json.loads(connection.getresponse().read())["value"]
    connection.close()
    assert refused["error"] == "session not created"
    assert "webdriver.open" in refused["message"]


def test_only_devices_that_somebody_may_use_are_taken(daemon, http, tokens, tmp_path):
    policy = tmp_path / "policy.yaml"
    policy.write_text(
        "statements:\n  - {effect: allow, principals: ['person:mallory'], actions: [webdriver.open],"
        " resources: ['device:right']}\n",
        encoding="utf-8",
    )
    daemon.authority._paths = (policy,)
    daemon.authority.reload()
    with endpoint(http, tokens["mallory"]) as mallory:
        wanted = {"capabilities": {"alwaysMatch": {"browserName": "trivial"}}}
        value = mallory.post("/webdriver/session", json=wanted).json()["value"]
        assert value["capabilities"]["lab:device"] == "right"
        wanted["capabilities"]["alwaysMatch"]["lab:device"] = "left"
        assert "webdriver.open" in mallory.post("/webdriver/session", json=wanted).json()["value"]["message"]


def test_a_page_of_another_site_may_not(http):
    response = http.post("/webdriver/session", json={"capabilities": {}}, headers={"Origin": "http://evil.example"})
    assert (response.status_code, response.json()["value"]["error"]) == (403, "session not created")


def test_credentials_are_read_as_clients_send_them(http, tokens, url):
    address = url.removeprefix("http://")
    connection = http_connection(address)
    credentials = base64.b64encode(f"{tokens['anna']}:".encode()).decode()
    connection.request("GET", "/webdriver/status", headers={"Authorization": f"Basic {credentials}"})
    assert json.loads(connection.getresponse().read())["value"]["ready"] is True
    connection.close()


def http_connection(address: str) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(address, timeout=30)
