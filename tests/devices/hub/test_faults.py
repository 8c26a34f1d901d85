"""What breaks, and what the client is told: the right WebDriver error, and a device that others can have."""

from __future__ import annotations

import asyncio
import socket
import threading
import time

import httpx
import pytest
from _webdriver_target import answer, hang, raw
from _webdriver_target import http as response_of

from devices.hub import HubSettings, Target


def error_of(response: httpx.Response, status: int, code: str) -> dict:
    """The error in an answer, after a look at its form."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json; charset=utf-8"
    assert response.headers["cache-control"] == "no-cache"
    value = response.json()["value"]
    assert value.keys() >= {"error", "message", "stacktrace"}
    assert value["error"] == code
    return value


def test_capabilities_that_no_device_has(http, running):
    response = http.post("/session", json={"capabilities": {"alwaysMatch": {"browserName": "netscape"}}})
    error_of(response, 500, "session not created")
    assert running.shelf.free == {"left"}


def test_a_target_that_refuses_a_session_is_named_and_free_again(http, running, target, until):
    refusal = {"error": "session not created", "message": "no display", "stacktrace": ""}
    target.scripted["POST /session"] = answer(refusal, 500)
    error = error_of(http.post("/session", json={"capabilities": {}}), 500, "session not created")
    assert error["message"] == "left: no display"
    assert error["data"] == {"device": "left"}
    assert running.shelf.free == {"left"}
    device, ending = running.shelf.freed[0]
    assert (device, ending.verdict, ending.suspect) == ("left", "errored", False)
    until(lambda: running.shelf.concluded)


def test_the_target_s_own_code_for_bad_capabilities_stays(http, target):
    target.scripted["POST /session"] = answer({"error": "invalid argument", "message": "bad", "stacktrace": ""}, 400)
    error_of(http.post("/session", json={"capabilities": {}}), 400, "invalid argument")


@pytest.mark.parametrize(
    ("reply", "closes"),
    [
        (b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello", False),
        (b"SSH-2.0-OpenSSH\r\n\r\n", True),
        (b"", True),
        (response_of(b'{"value": {"sessionId": 5, "capabilities": {}}}'), False),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{", True),
    ],
    ids=["text", "another protocol", "nothing", "a number for an id", "half an answer"],
)
def test_rubbish_instead_of_a_session_makes_the_target_suspect(http, running, target, reply, closes):
    target.scripted["POST /session"] = raw(reply, close=closes)
    error = error_of(http.post("/session", json={"capabilities": {}}), 500, "session not created")
    assert error["message"].startswith("left: ")
    assert running.shelf.freed[0][1].suspect
    assert running.shelf.free == {"left"}


def test_a_target_that_is_not_there(http, running, shelf):
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    shelf.targets["left"] = Target(f"http://127.0.0.1:{port}")
    error = error_of(http.post("/session", json={"capabilities": {}}), 500, "session not created")
    assert f"127.0.0.1:{port} cannot be reached" in error["message"]


def test_rubbish_in_the_middle_of_a_session_does_not_end_it(begin, http, target):
    session = begin()["sessionId"]
    target.scripted["GET /url"] = raw(b"\x00\x01rubbish\r\n\r\n", close=True)
    error = error_of(http.get(f"/session/{session}/url"), 500, "unknown error")
    assert "left: " in error["message"]
    assert "no HTTP" in error["message"]
    assert error["data"] == {"device": "left", "session_ended": False}
    assert http.get(f"/session/{session}/title").status_code == 200


def test_what_nobody_nests_passes_and_spoils_nothing(begin, http, running, target, until):
    deep = b"[" * 3000
    session = begin()["sessionId"]
    target.scripted["GET /url"] = raw(b"HTTP/1.1 404 Not Found\r\ncontent-length: 3000\r\n\r\n" + deep)
    target.scripted["DELETE /window"] = raw(b"HTTP/1.1 200 OK\r\ncontent-length: 3000\r\n\r\n" + deep)
    assert http.get(f"/session/{session}/url").content == deep
    assert http.delete(f"/session/{session}/window").content == deep
    assert http.post(f"/session/{session}/url", content=deep).status_code == 200
    error_of(http.post(f"/session/{session}/lab/verdict", content=deep), 400, "invalid argument")
    http.delete(f"/session/{session}")
    until(lambda: running.shelf.concluded)
    assert len((running.shelf.root / "kept" / "commands.jsonl").read_text(encoding="utf-8").splitlines()) >= 5


def test_an_answer_that_breaks_off_becomes_an_error(begin, http, target):
    session = begin()["sessionId"]
    target.scripted["GET /source"] = raw(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{", close=True)
    error = error_of(http.get(f"/session/{session}/source"), 500, "unknown error")
    assert "half-way through its answer" in error["message"]


def test_a_target_that_does_not_know_its_timeouts_has_its_session_all_the_same(begin, http, target):
    session = begin()["sessionId"]
    target.scripted["GET /timeouts"] = answer({"error": "unknown command", "message": "", "stacktrace": ""}, 404)
    target.scripted["GET /source"] = raw(b"", close=True)
    error = error_of(http.get(f"/session/{session}/source"), 500, "unknown error")
    assert error["data"] == {"device": "left", "session_ended": False}
    assert http.get(f"/session/{session}/title").status_code == 200


def test_a_large_answer_that_breaks_off_breaks_off_for_the_client_too(begin, http, target):
    session = begin()["sessionId"]
    part = b"x" * (6 << 20)
    target.scripted["GET /screenshot"] = raw(b"HTTP/1.1 200 OK\r\ncontent-length: 20000000\r\n\r\n" + part, close=True)
    with pytest.raises(httpx.TransportError):
        http.get(f"/session/{session}/screenshot")
    assert http.get(f"/session/{session}/title").status_code == 200


def test_a_target_that_dies_ends_the_session(begin, http, running, target, until):
    session = begin()["sessionId"]
    target.run(target.stop())
    error = error_of(http.get(f"/session/{session}/url"), 500, "unknown error")
    assert error["data"] == {"device": "left", "session_ended": True}
    device, ending, files = until(lambda: running.shelf.concluded)[0]
    assert (device, ending.verdict, ending.suspect) == ("left", "errored", True)
    assert files == ["commands.jsonl"]
    later = error_of(http.get(f"/session/{session}/url"), 404, "invalid session id")
    assert "the target of left was lost" in later["message"]


def test_a_target_that_forgot_the_session_ends_it(begin, http, running, target, until):
    session = begin()["sessionId"]
    target.sessions.clear()
    assert http.get(f"/session/{session}/url").json()["value"]["error"] == "invalid session id"
    assert until(lambda: running.shelf.concluded)[0][1].verdict == "errored"
    assert "DELETE /session/*" not in target.commands()


def test_a_command_that_hangs_times_out_and_the_session_lives_on(begin, http, running, shelf, target):
    shelf.targets["left"] = Target(target.url, command_timeout_s=0.3)
    session = begin()["sessionId"]
    target.scripted["GET /url"] = hang
    error = error_of(http.get(f"/session/{session}/url"), 500, "timeout")
    assert error["data"] == {"device": "left", "session_ended": False}
    assert http.get(f"/session/{session}/title").status_code == 200


def test_a_client_that_hangs_up_frees_the_target(begin, running, target, until):
    session = begin()["sessionId"]
    target.scripted["GET /url"] = hang
    with pytest.raises(httpx.ReadTimeout):
        httpx.get(f"{running.url}/session/{session}/url", timeout=1.2, trust_env=False)
    until(lambda: next(iter(running.hub.lifecycle.table)).busy == 0)


def test_quit_of_a_dead_target_says_so_and_frees(begin, http, running, target, until):
    session = begin()["sessionId"]
    target.run(target.stop())
    error = error_of(http.delete(f"/session/{session}"), 500, "unknown error")
    assert error["message"].endswith("the session has ended all the same")
    assert running.shelf.free == {"left"}
    assert until(lambda: running.shelf.concluded)[0][1].suspect


def test_a_target_that_refuses_to_quit_is_looked_after_before_anybody_gets_the_device(
    begin, http, running, target, until
):
    session = begin()["sessionId"]
    target.scripted["DELETE /session/*"] = answer({"error": "unknown error", "message": "no", "stacktrace": ""}, 500)
    assert http.delete(f"/session/{session}").status_code == 500
    _, ending = until(lambda: running.shelf.freed)[0]
    assert (ending.verdict, ending.suspect) == ("errored", True)
    assert "did not end the session: it answered with HTTP 500" in ending.reason


class TestClientsThatVanish:
    @pytest.fixture
    def settings(self) -> HubSettings:
        return HubSettings(idle_timeout_s=0.5)

    def test_keys_are_let_go_before_the_session_quits(self, begin, running, target, until):
        begin()
        until(lambda: running.shelf.concluded)
        assert target.commands()[-2:] == ["DELETE /session/*/actions", "DELETE /session/*"]
        _, ending = running.shelf.freed[0]
        assert (ending.verdict, ending.suspect) == ("cancelled", False)
        assert "lab:idleTimeout" in ending.reason

    def test_a_session_may_ask_for_more_time(self, http, running, target, until):
        patient = {"lab:idleTimeout": 600, "lab:device": "left"}
        response = http.post("/session", json={"capabilities": {"alwaysMatch": patient}})
        session = next(iter(running.hub.lifecycle.table))
        assert (response.status_code, session.idle_timeout_s) == (200, 600)

    def test_one_that_hangs_is_given_up(self, begin, running, target, until):
        target.scripted["DELETE /actions"] = raw(b"", close=True)
        begin()
        assert until(lambda: running.shelf.concluded)[0][1].suspect


def test_a_client_that_goes_while_its_session_begins_leaves_none(running, target, until):
    begun, released = threading.Event(), threading.Event()

    async def slowly(writer: asyncio.StreamWriter) -> None:
        begun.set()
        await asyncio.to_thread(released.wait, 10)
        target.sessions.add("s" * 32)
        await answer({"sessionId": "s" * 32, "capabilities": {}})(writer)

    target.scripted["POST /session"] = slowly
    host, port = running.url.removeprefix("http://").removesuffix("/webdriver").split(":")
    with socket.create_connection((host, int(port))) as client:
        body = b'{"capabilities": {}}'
        head = b"POST /webdriver/session HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
        client.sendall(head + body)
        assert begun.wait(10)
    released.set()
    _, ending, _ = until(lambda: running.shelf.concluded)[0]
    assert ending.verdict == "cancelled"
    assert "went away" in ending.reason
    assert target.sessions == set()
    assert running.shelf.free == {"left"}


def test_a_session_that_begins_while_the_lab_ends_is_none(http, running, target, until):
    begun, go = threading.Event(), threading.Event()

    async def slowly(writer: asyncio.StreamWriter) -> None:
        begun.set()
        await asyncio.to_thread(go.wait, 10)
        target.sessions.add("s" * 32)
        await answer({"sessionId": "s" * 32, "capabilities": {}})(writer)

    target.scripted["POST /session"] = slowly
    lifecycle, answers = running.hub.lifecycle, []
    asking = threading.Thread(target=lambda: answers.append(http.post("/session", json={"capabilities": {}})))
    asking.start()
    assert begun.wait(10)
    closing = threading.Thread(target=lambda: running.run(running.hub.close()))
    closing.start()
    until(lambda: lifecycle._closing)
    go.set()
    asking.join(20)
    closing.join(20)
    assert "the lab is shutting down" in error_of(answers[0], 500, "session not created")["message"]
    assert target.sessions == set()
    assert running.shelf.free == {"left"}


class TestTheQueue:
    def test_a_second_session_waits_and_gets_the_device(self, begin, http, running, until):
        first = begin()["sessionId"]
        got: list[dict] = []
        second = threading.Thread(target=lambda: got.append(begin(**{"lab:device": "left"})))
        second.start()
        waiting = until(lambda: list(running.hub.lifecycle.table.waiting))[0]
        until(lambda: waiting.reason == "all that would do are taken")
        assert waiting.wanted == "device=left"
        assert http.get("/status").json()["value"]["lab"] == {"sessions": 1, "waiting": 1}
        http.delete(f"/session/{first}")
        second.join(20)
        assert got[0]["capabilities"]["lab:device"] == "left"

    def test_one_that_waited_in_vain_hears_why(self, begin, http):
        begin()
        wanted = {"capabilities": {"alwaysMatch": {"lab:queueTimeout": 0.2}}}
        error = error_of(http.post("/session", json=wanted), 500, "session not created")
        assert error["message"].startswith("no device became free within 0.2 s: all that would do are taken")
        assert error["data"] == {"waited_s": 0.2, "reason": "all that would do are taken"}

    def test_one_that_went_away_waits_no_more(self, begin, running, until):
        begin()
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{running.url}/session", json={"capabilities": {}}, timeout=0.5, trust_env=False)
        until(lambda: not running.hub.lifecycle.table.waiting)

    def test_a_busy_device_delays_no_other(self, begin, http, running, shelf, target):
        shelf.add("right", Target(target.url), browserName="trivial")
        slow, fast = begin(**{"lab:device": "left"})["sessionId"], begin(**{"lab:device": "right"})["sessionId"]
        target.scripted["GET /url"] = hang
        stuck = threading.Thread(target=_ask_in_vain, args=(f"{running.url}/session/{slow}/url",))
        stuck.start()
        began = time.monotonic()
        for _ in range(50):
            assert http.get(f"/session/{fast}/title").status_code == 200
        assert stuck.is_alive() or time.monotonic() - began > 2
        stuck.join(20)


def _ask_in_vain(url: str) -> None:
    with pytest.raises(httpx.ReadTimeout):
        httpx.get(url, timeout=2, trust_env=False)
