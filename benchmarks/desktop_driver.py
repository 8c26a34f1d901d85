"""The desktop driver beside pyatspi and dogtail on one running mate-calc: finding, the whole source, 2^8 = 256.

`python benchmarks/desktop_driver.py [--quick]`. The driver is asked over HTTP as a client would; the peers call
libatspi in their own process. They need the system's Python: apt-get install python3-pyatspi python3-dogtail.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from devices.desktop.actions import ELEMENT_KEY
from devices.desktop.capabilities import Settings
from devices.desktop.desk import Desk, open_desk

NAMES = ("2", "x_pow_y", "8", "result")


class Client:
    """A WebDriver client of one connection, as thin as can be."""

    def __init__(self, url: str) -> None:
        host, port = url.removeprefix("http://").split(":")
        self._connection = http.client.HTTPConnection(host, int(port))
        self.session = ""

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body)
        self._connection.request(method, self.session + path, data, {"Content-Type": "application/json"})
        value = json.loads(self._connection.getresponse().read())["value"]
        if isinstance(value, dict) and "error" in value:
            raise RuntimeError(f"{method} {path}: {value['error']}: {value['message']}")
        return value

    def find(self, using: str, value: str) -> str:
        return str(self.ask("POST", "/element", {"using": using, "value": value})[ELEMENT_KEY])

    def script(self, name: str, **arguments: Any) -> Any:
        return self.ask("POST", "/execute/sync", {"script": f"desktop: {name}", "args": [arguments]})


def timed(work: Any, repeats: int, before: Any = None) -> float:
    times = []
    for _ in range(repeats):
        if before is not None:
            before()
        began = time.perf_counter()
        work()
        times.append((time.perf_counter() - began) * 1000)
    return statistics.median(times)


def power(client: Client, bar: str) -> None:
    for name in NAMES:
        client.ask("POST", f"/element/{client.find('name', name)}/click", {})
    client.script("wait", element={ELEMENT_KEY: bar}, equals="256")


def measure(client: Client, desk: Desk, repeats: int) -> dict[str, float]:
    """Medians in milliseconds."""
    capabilities = {
        "appium:app": "mate-calc",
        "lab:display": desk.display,
        "lab:sessionBus": desk.session_bus,
        "timeouts": {"implicit": 10_000},
    }
    began = time.perf_counter()
    started = client.ask("POST", "/session", {"capabilities": {"alwaysMatch": capabilities}})
    session_ms = (time.perf_counter() - began) * 1000
    client.session = f"/session/{started['sessionId']}"
    client.script("menu", path=["Mode", "Advanced"])
    client.find("name", "x_pow_y")
    bar = client.find("css selector", "editbar")
    # Each click on the calculator is followed by events that outdate the driver's mirror, as in any test.
    press = client.find("name", "5")
    return {
        "session": session_ms,
        "find": timed(lambda: client.find("name", "2"), repeats),
        "find after a change": timed(
            lambda: client.find("name", "2"),
            repeats,
            lambda: client.script("click", element={ELEMENT_KEY: press}, by="pointer"),
        ),
        "find by xpath": timed(lambda: client.find("xpath", "//push-button[@name='2']"), repeats),
        "source": timed(lambda: client.ask("GET", "/source"), repeats),
        "screenshot": timed(lambda: client.ask("GET", "/screenshot"), max(3, repeats // 5)),
        "power": timed(lambda: power(client, bar), repeats, lambda: client.ask("POST", f"/element/{bar}/clear", {})),
        "nodes": float(len(client.ask("POST", "/elements", {"using": "xpath", "value": "//*"}))),
    }


def peer(name: str, desk: Desk, repeats: int) -> dict[str, float] | None:
    script = Path(__file__).parent / "_desktop_peer.py"
    ran = subprocess.run(
        ["/usr/bin/python3", str(script), name, str(repeats)],
        env=desk.environment, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    if ran.returncode:
        print(f"{name} did not run: {ran.stderr.strip().splitlines()[-1:]}", file=sys.stderr)
        return None
    return dict(json.loads(ran.stdout.splitlines()[-1]))


async def run(repeats: int) -> None:
    desk = await open_desk(Settings())
    driver = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "devices.desktop", "--port", "0", stdout=asyncio.subprocess.PIPE
    )
    try:
        assert driver.stdout is not None
        client = Client((await driver.stdout.readline()).decode().split()[-1])
        ours = await asyncio.to_thread(measure, client, desk, repeats)
        peers = {
            name: await asyncio.to_thread(peer, name, desk, max(3, repeats // 3)) for name in ("pyatspi", "dogtail")
        }
    finally:
        driver.terminate()
        await driver.wait()
        await desk.end()
    show(ours, peers)


def show(ours: dict[str, float], peers: dict[str, dict[str, float] | None]) -> None:
    print(f"mate-calc in Advanced mode, {ours['nodes']:.0f} elements shown; medians; load {os.getloadavg()[0]:.1f}\n")
    print("| | goal, ms | desktop driver, ms | pyatspi, ms | dogtail, ms | pyatspi / ours | dogtail / ours |")
    print("|---|---|---|---|---|---|---|")
    rows = {
        "find": ("find by name", "10"), "find after a change": ("find by name, the application having changed", "10"),
        "find by xpath": ("find by xpath", ""), "source": ("whole source with places and texts", "20"),
        "power": ("2^8 = 256: four finds, four clicks, the result", "300"),
        "screenshot": ("screenshot, 1280 x 1024", ""),
        "session": ("session on a running display, application started", ""),
    }  # fmt: skip
    for key, (title, goal) in rows.items():
        cells, ratios = [], []
        for found in peers.values():
            value = None if found is None else found.get("find" if key == "find after a change" else key)
            cells.append("" if value is None else f"{value:.1f}")
            ratios.append("" if value is None else f"{value / ours[key]:.1f}")
        print(f"| {title} | {goal} | {ours[key]:.1f} | {' | '.join(cells)} | {' | '.join(ratios)} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer repetitions")
    asyncio.run(run(5 if parser.parse_args().quick else 30))


if __name__ == "__main__":
    main()
