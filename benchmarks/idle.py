"""What a daemon with 500 devices takes while nothing happens: its share of a core, and its memory."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

from leases import DEVICES, daemon, resident_mib

_TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float:
    """User plus system time of a process and of the children that it has waited for."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / _TICKS


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="10 s instead of 120")
    seconds = 10.0 if parser.parse_args().quick else 120.0
    with tempfile.TemporaryDirectory(prefix="labctl-bench-") as name, daemon(Path(name)) as (_, pid):
        time.sleep(5)  # what follows a start is over
        before, began = cpu_seconds(pid), time.monotonic()
        time.sleep(seconds)
        share = (cpu_seconds(pid) - before) / (time.monotonic() - began)
        print(
            f"| {DEVICES} devices, {seconds:.0f} s, load {os.getloadavg()[0]:.1f} | measured | limit |\n|---|---|---|"
        )
        print(f"| share of a core | {share:.2%} | 1 % |")
        print(f"| resident memory | {resident_mib(pid):.0f} MiB | 150 MiB |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
