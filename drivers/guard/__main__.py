"""`python -m drivers.guard CONFIG.json`: guard one base. Exit 0 after SIGTERM, 2 bad configuration, 3 no device."""

from __future__ import annotations

import gc
import json
import sys
from pathlib import Path

from drivers.errors import DeviceError
from drivers.guard.server import serve
from drivers.guard.settings import GuardSettings


def main(arguments: list[str]) -> int:
    """Run the guard; the first line on standard output says ready or why not, as JSON."""
    if len(arguments) != 1:
        return _fail("usage: python -m drivers.guard CONFIG.json", 2)
    try:
        settings = GuardSettings.from_json(Path(arguments[0]).read_bytes())
    except (OSError, ValueError) as exc:
        return _fail(f"{arguments[0]}: {exc}", 2)
    gc.freeze()  # what was imported stays: looking through it for garbage again and again would make a round late
    try:
        serve(settings)
    except DeviceError as exc:
        return _fail(str(exc), 3)
    return 0


def _fail(why: str, code: int) -> int:
    print(json.dumps({"ready": False, "error": why}), flush=True)
    print(why, file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
