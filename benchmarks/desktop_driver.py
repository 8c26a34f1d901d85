"""The desktop driver beside pyatspi and dogtail: finding, the whole source, 2^8 = 256, on two real applications.

`python benchmarks/desktop_driver.py [--quick]`. mate-calc, and gtk3-widget-factory (gtk-3-examples) for its 200
objects and more. The driver is asked over HTTP as a client would; the peers call libatspi in their own process. They
need the system's Python: apt-get install gtk-3-examples python3-pyatspi python3-dogtail.

Beside the time each row has the CPU time that the driver and the application spent on it, which says the same on a
busy machine.
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
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Times:
    """Medians in milliseconds; `cpu` is that of the driver and of the application together."""

    wall: float
    cpu: float


class Meter:
    """Times work, and what the driver and the application spend on it."""

    def __init__(self, pids: list[int], repeats: int) -> None:
        self._pids = pids
        self._repeats = repeats

    def __call__(self, work: Any, before: Any = None) -> Times:
        walls, spent = [], []
        for _ in range(self._repeats):
            if before is not None:
                before()
            cpu, began = self._cpu_ms(), time.perf_counter()
            work()
            walls.append((time.perf_counter() - began) * 1000)
            spent.append(self._cpu_ms() - cpu)
        return Times(statistics.median(walls), statistics.median(spent))

    def _cpu_ms(self) -> float:
        tasks = (task for pid in self._pids for task in Path(f"/proc/{pid}/task").iterdir())
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e6


def power(client: Client, bar: str) -> None:
    for name in NAMES:
        client.ask("POST", f"/element/{client.find('name', name)}/click", {})
    client.script("wait", element={ELEMENT_KEY: bar}, equals="256")


def open_session(client: Client, desk: Desk, program: str, more: dict[str, Any] | None = None) -> float:
    """Start the program in a session of its own; how long that took, in milliseconds."""
    capabilities = {
        "appium:app": program,
        "lab:display": desk.display,
        "lab:sessionBus": desk.session_bus,
        "timeouts": {"implicit": 10_000},
        **(more or {}),
    }
    client.session = ""
    began = time.perf_counter()
    started = client.ask("POST", "/session", {"capabilities": {"alwaysMatch": capabilities}})
    client.session = f"/session/{started['sessionId']}"
    return (time.perf_counter() - began) * 1000


def process_of(program: str, desk: Desk) -> int:
    shown = f"DISPLAY={desk.display}".encode()
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            environment = (entry / "environ").read_bytes().split(b"\0")
            if (entry / "comm").read_text().strip() == program[:15] and shown in environment:
                return int(entry.name)
        except OSError:
            continue
    raise RuntimeError(f"no process {program} on {desk.display}")


def findings(client: Client, timed: Meter, name: str, press: str) -> dict[str, Times]:
    """Finding an element, as it is and after a click on another, and the source."""
    button = client.find("name", press)

    def click() -> None:
        # What follows a click outdates the driver's mirror, as in any test.
        client.script("click", element={ELEMENT_KEY: button}, by="pointer")

    return {
        "find": timed(lambda: client.find("name", name)),
        "find after a change": timed(lambda: client.find("name", name), click),
        "find by xpath": timed(lambda: client.find("xpath", f"//*[@name='{name}']")),
        "find by xpath after a change": timed(lambda: client.find("xpath", f"//*[@name='{name}']"), click),
        "source": timed(lambda: client.ask("GET", "/source")),
        "source after a change": timed(lambda: client.ask("GET", "/source"), click),
    }


def on_calculator(client: Client, desk: Desk, driver: int, repeats: int) -> tuple[dict[str, Times], int]:
    """All that is measured on mate-calc, and how many elements it shows."""
    session_ms = open_session(client, desk, "mate-calc")
    timed = Meter([driver, process_of("mate-calc", desk)], repeats)
    client.script("menu", path=["Mode", "Advanced"])
    client.find("name", "x_pow_y")
    bar = client.find("css selector", "editbar")
    shown = len(client.ask("POST", "/elements", {"using": "xpath", "value": "//*"}))
    times = findings(client, timed, "2", "5")
    times["power"] = timed(lambda: power(client, bar), lambda: client.ask("POST", f"/element/{bar}/clear", {}))
    times["screenshot"] = timed(lambda: client.ask("GET", "/screenshot"))
    times["session"] = Times(session_ms, 0.0)
    return times, shown


def on_factory(client: Client, desk: Desk, driver: int, repeats: int) -> tuple[dict[str, Times], int]:
    """All that is measured on gtk3-widget-factory, and how many objects it has on its first page."""
    open_session(client, desk, "gtk3-widget-factory", {"lab:hidden": True})
    nodes = len(client.ask("POST", "/elements", {"using": "xpath", "value": "//*"}))
    client.ask("DELETE", "")
    open_session(client, desk, "gtk3-widget-factory")
    timed = Meter([driver, process_of("gtk3-widget-factory", desk)], repeats)
    times = findings(client, timed, "Inset", "togglebutton")
    first, second = (client.find("name", f"Page {number}") for number in (1, 2))
    client.ask("POST", f"/element/{second}/click", {})
    label = client.find("name", "Bottom")

    def turn() -> None:
        # To the first page and to the second again, waiting by the label itself, which tells the mirror nothing.
        for page, showing in ((first, "false"), (second, "true")):
            client.ask("POST", f"/element/{page}/click", {})
            client.script("wait", element={ELEMENT_KEY: label}, attribute="showing", equals=showing, timeout=20_000)

    times["find after another page"] = timed(lambda: client.find("name", "Bottom"), turn)
    return times, nodes


def peer(name: str, application: str, desk: Desk, repeats: int) -> dict[str, float] | None:
    script = Path(__file__).parent / "_desktop_peer.py"
    ran = subprocess.run(
        ["/usr/bin/python3", str(script), name, application, str(repeats)],
        env=desk.environment, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    if ran.returncode:
        print(f"{name} did not run: {ran.stderr.strip().splitlines()[-1:]}", file=sys.stderr)
        return None
    return dict(json.loads(ran.stdout.splitlines()[-1]))


async def run(repeats: int) -> None:
    for application, title, measure in (
        ("mate-calc", "mate-calc in Advanced mode, {} elements shown", on_calculator),
        ("gtk3-widget-factory", "gtk3-widget-factory, {} objects on its first page", on_factory),
    ):
        desk = await open_desk(Settings())
        driver = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "devices.desktop", "--port", "0", stdout=asyncio.subprocess.PIPE
        )
        try:
            assert driver.stdout is not None
            client = Client((await driver.stdout.readline()).decode().split()[-1])
            ours, number = await asyncio.to_thread(measure, client, desk, driver.pid, repeats)
            peers = {
                name: await asyncio.to_thread(peer, name, application, desk, max(3, repeats // 3))
                for name in ("pyatspi", "dogtail")
            }
        finally:
            driver.terminate()
            await driver.wait()
            await desk.end()
        print(f"{title.format(number)}; medians; load {os.getloadavg()[0]:.1f}\n")
        show(ours, peers)


# Key: title, goal in ms, and the peers' key.
ROWS = {
    "find": ("find by name", "10", "find"),
    "find after a change": ("find by name after a click elsewhere", "10", "find"),
    "find after another page": ("find by name after most of what shows changed", "10", "find"),
    "find by xpath": ("find by xpath", "", ""),
    "find by xpath after a change": ("find by xpath after a click elsewhere", "", ""),
    "source": ("whole source with places and texts", "20", "source"),
    "source after a change": ("whole source after a click elsewhere", "20", "source"),
    "power": ("2^8 = 256: four finds, four clicks, the result", "300", "power"),
    "screenshot": ("screenshot, 1280 x 1024", "", ""),
    "session": ("session on a running display, application started", "", ""),
}


def show(ours: dict[str, Times], peers: dict[str, dict[str, float] | None]) -> None:
    print("| | goal, ms | desktop driver, ms | CPU, ms | pyatspi, ms | dogtail, ms | pyatspi / ours | dogtail / ours |")
    print("|---|---|---|---|---|---|---|---|")
    for key, (title, goal, theirs) in ROWS.items():
        if key not in ours:
            continue
        cells, ratios = [], []
        for found in peers.values():
            value = None if found is None else found.get(theirs)
            cells.append("" if value is None else f"{value:.1f}")
            ratios.append("" if value is None else f"{value / ours[key].wall:.1f}")
        cpu = f"{ours[key].cpu:.1f}" if ours[key].cpu else ""
        print(f"| {title} | {goal} | {ours[key].wall:.1f} | {cpu} | {' | '.join(cells)} | {' | '.join(ratios)} |")
    print()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer repetitions")
    asyncio.run(run(5 if parser.parse_args().quick else 30))


if __name__ == "__main__":
    main()
