"""Runs on the host, in front of the guard: checks its Python, ends a guard left behind, becomes the guard.

`python3 start_guard.py STATE_DIR`, the settings as one line of JSON on standard input. What is missing is said as the
guard says its own troubles: one line of JSON. Imports nothing of ours, and runs on any Python since 3.7, so that an old
one is told about and not stumbled over.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import sysconfig
import time
from pathlib import Path

OLDEST = (3, 11)
_GONE_WITHIN_S = 8.0


def abi() -> str:
    """What compiled modules this Python takes."""
    return f"{sysconfig.get_config_var('SOABI')} {sysconfig.get_platform()}"


def main() -> None:
    """See above."""
    state = Path(sys.argv[1])
    _check_python()
    state.mkdir(parents=True, mode=0o700, exist_ok=True)
    _end_guard_left_behind(state / "guard.pid")
    settings = {**json.loads(sys.stdin.readline()), "state_dir": str(state)}
    config = state / "guard-config.json"
    config.unlink(missing_ok=True)
    # The token in it is for this user only, from the first byte on.
    os.close(os.open(config, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    config.write_text(json.dumps(settings), encoding="utf-8")
    (state / "guard.pid").write_text(f"{os.getpid()} {_birth(os.getpid())}", encoding="ascii")
    os.execv(sys.executable, [sys.executable, "-m", "drivers.guard", str(config)])


def _check_python() -> None:
    if sys.version_info < OLDEST:
        have, need = (".".join(map(str, version[:2])) for version in (tuple(sys.version_info), OLDEST))
        _fail(f"{sys.executable} is Python {have}, the guard needs {need}; name another one with `python:`")
    try:
        import numpy  # noqa: F401, PLC0415 - whether it can be had is the question
    except ImportError as exc:
        _fail(f"{sys.executable} has no numpy ({exc})", missing="numpy", abi=abi())


def _fail(why: str, **more: str) -> None:
    print(json.dumps({"ready": False, "error": why, **more}), flush=True)
    sys.exit(3)


def _end_guard_left_behind(pid_file: Path) -> None:
    """End the guard that an earlier link left here."""
    try:
        number, born = pid_file.read_text(encoding="ascii").split()
        pid = int(number)
    except (OSError, ValueError):
        return
    for ending in (signal.SIGTERM, signal.SIGKILL):
        give_up = time.monotonic() + _GONE_WITHIN_S
        if _birth(pid) != born:
            return
        os.kill(pid, ending)
        os.kill(pid, signal.SIGCONT)
        while _birth(pid) == born and time.monotonic() < give_up:
            time.sleep(0.02)


def _birth(pid: int) -> str:
    """When a process was started, in ticks since the host was; "" when it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]


if __name__ == "__main__":
    main()
