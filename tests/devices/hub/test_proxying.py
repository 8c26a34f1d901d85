"""Commands pass the hub as they are: bytes, headers, odd content types, large and broken bodies."""

from __future__ import annotations

import json

from _webdriver_target import http as response_of
from _webdriver_target import raw


def test_a_session_is_opened_used_and_closed(begin, http, running, target, until):
    value = begin(browserName="trivial")
    assert value["sessionId"] in target.sessions
    assert value["capabilities"] == {"browserName": "trivial", "lab:device": "left", "lab:run": "run-1"}

    assert http.get(f"/session/{value['sessionId']}/url").json() == {"value": None}
    assert http.delete(f"/session/{value['sessionId']}").json() == {"value": None}

    assert target.sessions == set()
    device, ending, files = until(lambda: running.shelf.concluded)[0]
    assert (device, ending.verdict, files) == ("left", "passed", ["commands.jsonl"])


def test_a_request_arrives_byte_by_byte(begin, http, target):
    session = begin()["sessionId"]
    body = b'{"value" :  "\xc3\xa9",\n "n": 1.0e2, "n": 3}\x00'
    http.post(
        f"/session/{session}/element/a%2Fb/value?x=%C3%A9&y",
        content=body,
        headers={"Content-Type": "text/plain;charset=UTF-8", "X-Odd": 'two  blanks, "q"', "Accept": "weird/*"},
    )
    got = target.requests[-1]
    assert (got.method, got.path) == ("POST", f"/session/{session}/element/a%2Fb/value?x=%C3%A9&y")
    assert got.body == body
    assert got.header(b"content-type") == b"text/plain;charset=UTF-8"
    assert got.header(b"x-odd") == b'two  blanks, "q"'
    assert got.header(b"accept") == b"weird/*"
    assert got.header(b"host") == target.url.removeprefix("http://").encode()


def test_an_answer_arrives_byte_by_byte(begin, http, target):
    session = begin()["sessionId"]
    body = b'\xef\xbb\xbf{"value": NaN, "x": \xff}'
    target.scripted["GET /odd"] = raw(
        b"HTTP/1.1 418 Teapot\r\nContent-Type: application/json\r\nX-Twice: a\r\nX-Twice: b\r\n"
        b"Set-Cookie: c=1; Path=/\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    )
    response = http.get(f"/session/{session}/odd")
    assert (response.status_code, response.content) == (418, body)
    assert response.headers["content-type"] == "application/json"
    assert response.headers.get_list("x-twice") == ["a", "b"]
    assert response.headers["set-cookie"] == "c=1; Path=/"


def test_credentials_and_hop_headers_stay_with_the_lab(begin, http, target):
    session = begin()["sessionId"]
    http.get(
        f"/session/{session}/url",
        headers={
            "Authorization": "Basic secret",
            "Origin": "http://page",
            "Connection": "keep-alive, X-Hop",
            "X-Hop": "1",
            "TE": "trailers",
        },
    )
    names = {name.lower() for name, _ in target.requests[-1].headers}
    assert names.isdisjoint({b"authorization", b"origin", b"x-hop", b"te"})


def test_a_chunked_answer_without_a_length_passes(begin, http, target):
    session = begin()["sessionId"]
    target.scripted["GET /source"] = raw(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n"
    )
    assert http.get(f"/session/{session}/source").content == b"hello!"


def test_an_answer_that_ends_with_the_connection_passes(begin, http, target):
    session = begin()["sessionId"]
    target.scripted["GET /source"] = raw(b"HTTP/1.0 200 OK\r\n\r\nto the end", close=True)
    assert http.get(f"/session/{session}/source").content == b"to the end"


def test_a_compressed_answer_stays_compressed(begin, http, target):
    session = begin()["sessionId"]
    target.scripted["GET /source"] = raw(
        b"HTTP/1.1 200 OK\r\nContent-Encoding: br\r\nContent-Length: 4\r\n\r\n\x0b\x00\x80\x03"
    )
    with http.stream("GET", f"/session/{session}/source") as response:
        assert b"".join(response.iter_raw()) == b"\x0b\x00\x80\x03"
        assert response.headers["content-encoding"] == "br"


def test_bodies_of_20_mb_pass_both_ways(begin, http, target):
    session = begin()["sessionId"]
    large = json.dumps({"value": "x" * (20 << 20)}).encode()
    target.scripted["GET /screenshot"] = raw(response_of(large))
    assert http.get(f"/session/{session}/screenshot").content == large
    assert http.post(f"/session/{session}/execute/sync", content=large).status_code == 200
    assert target.requests[-1].body == large
    assert target.requests[-1].header(b"content-length") == str(len(large)).encode()


def test_a_large_body_without_a_length_passes(begin, http, target):
    session = begin()["sessionId"]
    parts = [b"a" * (1 << 20)] * 3
    http.post(f"/session/{session}/execute/sync", content=iter(parts))
    assert target.requests[-1].body == b"".join(parts)


def test_vendor_commands_and_methods_pass(begin, http, target):
    session = begin()["sessionId"]
    for method, path in (
        ("POST", "/appium/device/press_keycode"),
        ("POST", "/goog/cdp/execute"),
        ("PUT", "/moz/context"),
        ("PATCH", "/x"),
    ):
        assert http.request(method, f"/session/{session}{path}", json={}).status_code == 200
        assert target.commands()[-1] == f"{method} /session/*{path}"


def test_what_is_no_command_is_answered_as_webdriver_says(http, begin):
    cases = [
        (http.get("/nothing"), 404, "unknown command"),
        (http.get("/session"), 405, "unknown method"),
        (http.get("/session/none/url"), 404, "invalid session id"),
        (http.post("/session", content=b"{"), 400, "invalid argument"),
        (http.post("/session", content=b"[" * 100_000), 400, "invalid argument"),
        (http.post("/session", content=b'{"capabilities": {"alwaysMatch": {"x:y": NaN}}}'), 400, "invalid argument"),
        (http.post("/session", json={"desiredCapabilities": {}}), 400, "invalid argument"),
    ]
    for response, status, code in cases:
        assert (response.status_code, response.json()["value"]["error"]) == (status, code)
    assert "too old" in cases[-1][0].json()["value"]["message"]
    assert http.get("/status").json()["value"]["ready"] is True


def test_the_hub_is_ready_while_somebody_would_get_a_device_at_once(http, begin):
    session = begin()["sessionId"]
    assert http.get("/status").json()["value"]["ready"] is False
    http.delete(f"/session/{session}")
    assert http.get("/status").json()["value"]["ready"] is True


def test_a_fault_of_the_lab_is_told_in_webdriver_s_words(http, shelf, monkeypatch):
    async def broken(*_: object) -> None:
        raise KeyError("left")

    monkeypatch.setattr(shelf, "acquire", broken)
    response = http.post("/session", json={"capabilities": {}})
    assert (response.status_code, response.json()["value"]["error"]) == (500, "unknown error")
    assert "KeyError('left')" in response.json()["value"]["message"]


def test_a_session_that_ended_says_why(begin, http):
    session = begin()["sessionId"]
    http.delete(f"/session/{session}")
    error = http.get(f"/session/{session}/url").json()["value"]
    assert error["error"] == "invalid session id"
    assert error["message"] == f"session {session} has ended: its client ended the session"


def test_ids_that_two_targets_would_share_are_kept_apart(begin, running, shelf, target, http):
    target.session_id = lambda: "AwesomeSession"
    shelf.add("right", shelf.targets["left"], browserName="trivial")
    first, second = begin()["sessionId"], begin()["sessionId"]
    assert len({first, second, "AwesomeSession"}) == 3
    http.get(f"/session/{second}/title")
    assert target.requests[-1].path == "/session/AwesomeSession/title"


def test_a_closed_last_window_ends_the_session(begin, http, target, running, until):
    session = begin()["sessionId"]
    target.scripted["DELETE /window"] = raw(response_of(b'{"value": []}'))
    http.delete(f"/session/{session}/window")
    until(lambda: running.shelf.concluded)
    assert running.shelf.freed[0][1].verdict == "passed"
    assert http.get(f"/session/{session}/url").status_code == 404
    assert target.sessions == set()  # which a target that keeps its session without a window would still have


def test_the_client_may_say_how_its_test_went(begin, http, running, until):
    session = begin()["sessionId"]
    assert http.post(f"/session/{session}/lab/verdict", json={"verdict": "fine"}).status_code == 400
    http.post(f"/session/{session}/lab/verdict", json={"verdict": "failed", "reason": "wrong total"})
    http.delete(f"/session/{session}")
    _, ending, _ = until(lambda: running.shelf.concluded)[0]
    assert (ending.verdict, ending.reason) == ("failed", "wrong total")
