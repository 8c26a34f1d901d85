"""How soon a robot stops whose pilot is lost: browser killed or frozen, session ended, program killed with a key held.

    python benchmarks/pilot_stop.py [--quick]

The robot drives straight on at about 0.2 m/s by keys held down in a real browser, on the program's own page and on
another maker's, whose robot keeps its last velocity whatever becomes of the page. From the loss (a command to the
browser that causes one counts in) until the motion guard has stopped the robot, or used its stop channel; until it
rests; and the way it goes till then. The peer in the same run is the maker's robot without a guard: what it drives in
2 s, and it goes on.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

from _browsers import BROWSERS
from _lost_pilots import LOSSES, PAGES, SPEED_M_S, START, Loss, piloted_robot
from _vendors_robot import vendors_robot


def unguarded_m() -> float:
    """How far the maker's robot drives in the 2 s after its page is gone."""
    with vendors_robot() as (robot, vendor):
        robot.put_robot(*START)
        vendor.ask(SPEED_M_S, 0.0)
        until = time.monotonic() + 30
        while robot.truth().linear < 0.9 * SPEED_M_S:
            if time.monotonic() > until:
                raise SystemExit("the robot did not get under way within 30 s; is the machine overloaded?")
            time.sleep(0.01)
        before = robot.truth()
        time.sleep(2.0)
        return robot.truth().x - before.x


def row(page: str, browser: str, cause: str, found: list[Loss]) -> None:
    stops, rests, ways = ([getattr(each, name) for each in found] for name in ("stop_s", "rest_s", "way_m"))
    print(
        f"| {page} | {browser} | {cause} | {len(found)} | {statistics.median(stops):.2f} | {max(stops):.2f} | "
        f"{statistics.median(rests):.2f} | {statistics.median(ways):.3f} | {max(ways):.3f} |",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="once each, in Chromium alone")
    quick = parser.parse_args().quick
    print(
        "| page | browser | lost | rounds | stopped, median s | worst s | at rest, median s | way, median m | worst m |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for page in PAGES:
        with tempfile.TemporaryDirectory() as memory, piloted_robot(page, Path(memory)) as piloted:
            for browser in BROWSERS[:1] if quick else BROWSERS:
                for cause in LOSSES:
                    found = []
                    for _ in range(1 if quick else 5):
                        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
                            found.append(piloted.lose(cause, "keyboard", browser, Path(folder)))
                    row(page, browser, cause, found)
    print(
        f"| another maker's, no guard | any | page closed | 1 | never | never | never | {unguarded_m():.3f} in 2 s | |"
    )
    print(f"\nLoad average at the end: {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
