"""CPU time of `labctl --help` beside `labgrid-client --help`, each as a whole process, in turn.

The peer is looked for in .venv-labgrid (made by `make bench`) or named by --peer.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import sys
from pathlib import Path


def cpu_seconds(command: list[str]) -> float:
    """User plus system time of one run, as the operating system accounts it."""
    pid = os.fork()
    if pid == 0:
        with open(os.devnull, "w") as nowhere:  # noqa: PTH123 - the child is about to become another program
            os.dup2(nowhere.fileno(), 1)
            os.dup2(nowhere.fileno(), 2)
        os.execv(command[0], command)
    _, status, usage = os.wait4(pid, 0)
    if os.waitstatus_to_exitcode(status) != 0:
        raise SystemExit(f"{' '.join(command)} ended with {os.waitstatus_to_exitcode(status)}")
    return usage.ru_utime + usage.ru_stime


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="5 runs of each instead of 25")
    parser.add_argument("--peer", default=".venv-labgrid/bin/labgrid-client", help="the labgrid-client to compare with")
    options = parser.parse_args()

    ours = Path(sys.executable).parent / "labctl"
    commands = {"labctl": [str(ours), "--help"]}
    if peer := shutil.which(options.peer):
        commands["labgrid-client"] = [peer, "--help"]
    else:
        print(f"no labgrid-client at {options.peer}: `make bench` installs it, or name one by --peer\n")

    for command in commands.values():
        cpu_seconds(command)  # fills the caches
    runs: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(5 if options.quick else 25):
        for name, command in commands.items():
            runs[name].append(cpu_seconds(command))

    print("| command | CPU median, s | min | max |\n|---|---|---|---|")
    for name, seconds in runs.items():
        print(
            f"| `{name} --help` | {statistics.median(seconds):.3f} | {min(seconds):.3f} | {max(seconds):.3f} |",
        )
    if len(runs) == 2:
        ratio = statistics.median(a / b for a, b in zip(runs["labctl"], runs["labgrid-client"], strict=True))
        print(f"\nratio labctl / labgrid-client, median of pairs: {ratio:.2f} (to reach: at most 0.33)")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
