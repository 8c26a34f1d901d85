"""Fifty sessions at once: none disturbs another, and each ends with its own books."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import httpx
from _webdriver_target import answer

SESSIONS = 50
COMMANDS = 10


def test_fifty_sessions_at_once(running, shelf, target, until):
    for number in range(SESSIONS - 1):
        shelf.add(f"browser-{number}", shelf.targets["left"], browserName="trivial")
    for number in range(SESSIONS):
        target.scripted[f"GET /element/{number}/text"] = answer(f"text {number}")

    def whole_session(number: int) -> str:
        with httpx.Client(base_url=running.url, trust_env=False, timeout=60) as client:
            value = client.post("/session", json={"capabilities": {}}).json()["value"]
            path = f"/session/{value['sessionId']}"
            for _ in range(COMMANDS):
                assert client.get(f"{path}/element/{number}/text").json() == {"value": f"text {number}"}
            assert client.delete(path).status_code == 200
            return str(value["capabilities"]["lab:device"])

    with ThreadPoolExecutor(SESSIONS) as threads:
        devices = list(threads.map(whole_session, range(SESSIONS)))
    until(lambda: len(shelf.concluded) == SESSIONS)
    assert set(devices) <= set(shelf.offers)
    assert {ending.verdict for _, ending, _ in shelf.concluded} == {"passed"}
    assert shelf.free == set(shelf.offers)
    assert target.sessions == set()
