"""Runs every benchmark of this folder, one after the other, and says where each one's table went.

`python benchmarks/run.py [--quick] [NAME ...]`: tables go to the terminal and to out/benchmarks/NAME.md.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def names() -> list[str]:
    """The benchmarks: every script beside this one that is no shared module."""
    return sorted(path.stem for path in HERE.glob("*.py") if path.stem != "run" and not path.stem.startswith("_"))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(names())}; all when none is named")
    parser.add_argument("--quick", action="store_true", help="fewer repetitions: to see that a benchmark still works")
    options = parser.parse_args()
    unknown = sorted(set(options.names) - set(names()))
    if unknown:
        parser.error(f"no benchmark named {', '.join(unknown)}; there are {', '.join(names())}")

    folder = HERE.parent / "out" / "benchmarks"
    folder.mkdir(parents=True, exist_ok=True)
    failed = []
    for name in options.names or names():
        print(f"== {name}", flush=True)
        began = time.monotonic()
        arguments = [sys.executable, str(HERE / f"{name}.py"), *(["--quick"] if options.quick else [])]
        run = subprocess.run(
            arguments, cwd=HERE.parent, env=os.environ | ONE_THREAD, stdout=subprocess.PIPE, text=True, check=False
        )
        print(run.stdout, flush=True)
        (folder / f"{name}.md").write_text(run.stdout, encoding="utf-8")
        print(f"-- {name}: exit {run.returncode}, {time.monotonic() - began:.0f} s\n", flush=True)
        if run.returncode:
            failed.append(name)
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
