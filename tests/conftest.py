"""For every test: no time limit to an example of hypothesis, sums on one core, and a machine that lets the test run."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

# Before numpy is loaded: threads of a numeric library that wait for each other on a busy machine take minutes.
for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import pytest  # noqa: E402 - see above
from hypothesis import settings  # noqa: E402 - see above

if TYPE_CHECKING:
    from drivers.sim import BenchRobot
    from drivers.sim.vendor import VendorRobot

settings.register_profile("lab", deadline=None)
settings.load_profile("lab")

NAP_S = 0.01
# A simulated LiDAR in this process that is this much late has used half of what the guard allows a scan's age to be.
STARVED_S = 0.05
REPEATED = 2
IN_REAL_TIME = (
    "drivers",
    "courses",
    "devices/pilot",
    "e2e",
    "labctl/test_robots",
    "labctl/test_foreign",
    "labctl/test_charging",
)


class Lateness:
    """By how much this process got to run too late: a thread that asks for short naps and notes what it got."""

    def __init__(self) -> None:
        self._worst = 0.0
        self._restarted = self._napping_since = time.monotonic()
        threading.Thread(target=self._watch, name="lateness", daemon=True).start()

    def restart(self) -> None:
        """Forget what was."""
        self._worst, self._restarted = 0.0, time.monotonic()

    def worst(self) -> float:
        """Seconds by which the longest nap since `restart` was too long."""
        return max(self._worst, self._late())

    def is_starved(self) -> bool:
        """Whether a test that needed real time could not get it."""
        return self.worst() > STARVED_S

    def _watch(self) -> None:
        while True:
            self._napping_since = time.monotonic()
            time.sleep(NAP_S)
            self._worst = max(self._worst, self._late())

    def _late(self) -> float:
        return time.monotonic() - max(self._napping_since, self._restarted) - NAP_S


lateness = Lateness()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # As a course that the lab spoils is errored and not failed: what fails while the machine keeps it waiting says
    # nothing, is shown as RERUN, and runs again. What fails on a machine that runs it in time has failed.
    here = Path(__file__).parent
    for item in items:
        if item.path.relative_to(here).as_posix().startswith(IN_REAL_TIME):
            item.add_marker(pytest.mark.flaky(reruns=REPEATED, condition=lateness.is_starved))


def pytest_runtest_logstart() -> None:
    lateness.restart()


@pytest.hookimpl(wrapper=True, tryfirst=True)  # around those that add sections
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        late = f"this process was kept waiting for up to {lateness.worst() * 1e3:.0f} ms during the test"
        report.sections.append(("this machine", late))
        # A fuzzed text that is none would break the connection to the process that reports.
        report.sections[:] = [
            (title, text.encode(errors="backslashreplace").decode()) for title, text in report.sections
        ]
    return report


@pytest.fixture(scope="module")
def vendors() -> Iterator[tuple[BenchRobot, VendorRobot]]:
    """A robot on the bench that another maker's client drives, and the vendor's computer on it."""
    from _vendors_robot import vendors_robot  # noqa: PLC0415 - few tests need all that comes with it

    with vendors_robot() as both:
        yield both


@pytest.fixture(scope="module")
def visitor(vendors: tuple[BenchRobot, VendorRobot]) -> BenchRobot:
    """The robot."""
    return vendors[0]


@pytest.fixture(scope="module")
def vendor(vendors: tuple[BenchRobot, VendorRobot]) -> VendorRobot:
    """Its vendor's computer."""
    return vendors[1]
