"""What clients hold open while the daemon shuts down: an answer that says so, and no fault in the log."""

from __future__ import annotations

import signal
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx

from labctl.cli.daemon_child import daemon_child

LAB = """
lab: ending
devices:
  hall: {kind: room}
  pane: {kind: browser, matches: {browserName: pane}, target: {driver: url, url: "http://127.0.0.1:PORT"}}
"""
PANE = {"capabilities": {"alwaysMatch": {"browserName": "pane"}}}


class Ready(BaseHTTPRequestHandler):
    """A WebDriver server that is there."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{"value": {"ready": true, "message": ""}}')

    def log_message(self, *_: object) -> None:
        return


def test_held_requests_are_told_to_ask_again_when_the_daemon_ends(tmp_path: Path) -> None:
    lab, log = tmp_path / "lab.yaml", tmp_path / "log.txt"
    server = ThreadingHTTPServer(("127.0.0.1", 0), Ready)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    lab.write_text(LAB.replace("PORT", str(server.server_port)))
    with (
        server,
        daemon_child(lab, tmp_path / "data", log) as daemon,
        httpx.Client(base_url=daemon.url, timeout=60) as http,
        ThreadPoolExecutor() as threads,
    ):
        job = http.post("/api/v1/audio/jobs", json={"pairs": [{"reference": "female_1", "recording": "female_1"}]})
        assert job.status_code == 201, job.text
        assert http.post("/api/v1/leases", json={"devices": ["hall", "pane"]}).status_code == 201
        newest = http.get("/api/v1/events", params={"from_now": True}).json()["next"]

        def stream() -> str:
            with http.stream("GET", "/api/v1/events", headers={"Accept": "text/event-stream"}) as answer:
                return answer.read().decode()

        held: list[Future[Any]] = [
            threads.submit(http.get, "/api/v1/events", params={"after": int(newest) + 10, "wait_s": 50}),
            threads.submit(http.post, "/api/v1/leases", json={"devices": ["hall"], "wait_s": 50}),
            threads.submit(http.get, f"/api/v1/audio/jobs/{job.json()['id']}/result", params={"wait_s": 50}),
        ]
        streamed = threads.submit(stream)
        session = threads.submit(http.post, "/webdriver/session", json=PANE)
        while len(http.get("/api/v1/leases", params={"state": "waiting"}).json()["items"]) < 2:
            pass
        time.sleep(0.5)  # whether the other requests have come is not to be seen from outside
        daemon.process.send_signal(signal.SIGTERM)
        answers = [each.result(30) for each in held]
        assert streamed.result(30)
        refused = session.result(30)
        daemon.process.wait(30)
        server.shutdown()

    for answer in answers:
        assert answer.status_code == 503, answer.text
        assert answer.headers["content-type"] == "application/problem+json"
        assert "ask again when it is back" in answer.json()["detail"]
        assert answer.headers["retry-after"] == "5"
    assert refused.status_code == 500
    assert refused.json()["value"]["error"] == "session not created"
    assert "ask again when it is back" in refused.json()["value"]["message"]
    assert daemon.process.returncode == 0
    assert "Traceback" not in log.read_text()
