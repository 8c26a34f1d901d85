"""Taking a measurement at a point: at rest, after settling, from many scans."""

from __future__ import annotations

from dataclasses import dataclass

from courses.driving import Driver
from courses.errors import LabError
from drivers.errors import DeviceSilentError
from drivers.types import BaseState, Pose, Scan

ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class Visit:
    """What was captured at a point, before anything is computed from it.

    `guess`: where the driving code thought the base was. `before`, `after`: the wheels round the scans.
    """

    label: str
    guess: Pose
    before: BaseState
    after: BaseState
    scans: tuple[Scan, ...]


def capture(driver: Driver, label: str, scans: int, settle_s: float) -> Visit:
    """Stand still, settle, and take `scans` scans.

    Raises LabError when the base is moved during each of three attempts; DeviceSilentError when scans do not come.
    """
    for _ in range(ATTEMPTS):
        before = driver.wait_for_rest(settle_s)
        taken: list[Scan] = []
        latest = driver.clock.now()
        while len(taken) < scans:
            driver.cancel.check()
            try:
                scan = driver.take_scan(latest)
            except DeviceSilentError as exc:
                raise LabError(f"point {label}: {len(taken)} of {scans} scans came, then: {exc}") from exc
            taken.append(scan)
            latest = scan.time
        after = driver.observe()
        if (before.left_ticks, before.right_ticks) == (after.left_ticks, after.right_ticks):
            return Visit(label, driver.pose, before, after, tuple(taken))
    raise LabError(f"point {label}: the wheels were moved during each of {ATTEMPTS} measurements")
