"""A simulated outlet with a web interface: the three dialects of `drivers.power.http_outlet`, with faults on purpose.

python -m drivers.sim.power_outlet --port 8081 --sockets 4
"""

from __future__ import annotations

import argparse
import base64
import json
import re
import threading
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


@dataclass
class OutletFaults:
    """What is wrong with it: `stuck` relays do not move, `failing` answers 500, `silent` answers nothing at all."""

    stuck: bool = False
    failing: bool = False
    silent: bool = False


@dataclass
class PowerOutlet:
    """An outlet on a loopback port. `sockets`: whether each is on; `switched`: all changes in their order.

    `on_switch(number, on)` is called for each, before the answer: what hangs on the outlet.
    """

    count: int = 1
    password: str = ""
    port: int = 0
    faults: OutletFaults = field(default_factory=OutletFaults)
    on_switch: Callable[[int, bool], object] = lambda number, on: None  # noqa: ARG005 - nothing hangs on it

    def __post_init__(self) -> None:
        self.sockets = [True] * self.count
        self.switched: list[tuple[int, bool]] = []
        self._awake = threading.Event()
        outlet = self

        class Handler(_Handler):
            pass

        Handler.outlet = outlet
        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        self.port = self._server.server_address[1]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def close(self) -> None:
        """Switch the simulation off."""
        self._awake.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def wait_for_the_end(self) -> None:
        """Sleep until it is closed."""
        self._awake.wait()

    def switch(self, number: int, on: bool) -> None:
        """Move a relay."""
        if not self.faults.stuck:
            self.sockets[number] = on
            self.switched.append((number, on))
            self.on_switch(number, on)

    def answer(self, path: str, query: dict[str, str], authorization: str | None) -> tuple[int, dict[str, Any]]:
        """What it says to a request: status and JSON."""
        if self.faults.failing:
            return 500, {"error": "on purpose"}
        if path == "/cm":
            return self._tasmota(query)
        if self.password and authorization != _basic("admin", self.password):
            return 401, {"error": "Unauthorized"}
        return self._shelly_1(path, query) if path.startswith("/relay/") else self._shelly_2(path, query)

    def _shelly_1(self, path: str, query: dict[str, str]) -> tuple[int, dict[str, Any]]:
        number = path.removeprefix("/relay/")
        if not number.isdecimal() or int(number) >= self.count:
            return 404, {"error": "Not Found"}
        if query.get("turn") in ("on", "off"):
            self.switch(int(number), query["turn"] == "on")
        return 200, {"ison": self.sockets[int(number)], "has_timer": False, "source": "http"}

    def _shelly_2(self, path: str, query: dict[str, str]) -> tuple[int, dict[str, Any]]:
        number = int(query["id"]) if query.get("id", "").isdecimal() else -1
        if not 0 <= number < self.count:
            return 404, {"code": -105, "message": f"Argument 'id', value {number} not found!"}
        was = self.sockets[number]
        if path == "/rpc/Switch.Set":
            self.switch(number, query.get("on") == "true")
            return 200, {"was_on": was}
        if path == "/rpc/Switch.GetStatus":
            return 200, {"id": number, "source": "HTTP_in", "output": was, "voltage": 230.1}
        return 404, {"code": 404, "message": "No handler"}

    def _tasmota(self, query: dict[str, str]) -> tuple[int, dict[str, Any]]:
        if self.password and (query.get("user"), query.get("password")) != ("admin", self.password):
            return 401, {"WARNING": "Need user=<username>&password=<password>"}
        command = re.fullmatch(r"(?i)power(\d*)(?: (on|off))?", query.get("cmnd", ""))
        number = int(command[1] or 1) - 1 if command else -1
        if command is None or not 0 <= number < self.count:
            return 200, {"Command": "Unknown"}
        if command[2]:
            self.switch(number, command[2].lower() == "on")
        key = "POWER" if self.count == 1 else f"POWER{number + 1}"
        return 200, {key: "ON" if self.sockets[number] else "OFF"}


class _Handler(BaseHTTPRequestHandler):
    outlet: PowerOutlet

    def do_GET(self) -> None:
        outlet = self.outlet
        if outlet.faults.silent:
            outlet.wait_for_the_end()
            return
        url = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(url.query))
        status, document = outlet.answer(url.path, query, self.headers.get("Authorization"))
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: ARG002 - the base class logs to stderr
        return


def _basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def main() -> None:
    """Run an outlet until Ctrl-C."""
    parser = argparse.ArgumentParser(description="A simulated outlet with a web interface (Tasmota, Shelly).")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--sockets", type=int, default=1)
    parser.add_argument("--password", default="")
    options = parser.parse_args()
    with PowerOutlet(options.sockets, options.password, options.port) as outlet:
        print(json.dumps({"ready": True, "url": outlet.url}), flush=True)
        try:
            outlet.wait_for_the_end()
        except KeyboardInterrupt:
            return


if __name__ == "__main__":
    main()
