"""Recording a phone's screen by its own `screenrecord`, begun and ended by separate commands.

Source: AOSP, frameworks/av, cmds/screenrecord: SIGINT ends a recording with a file that plays; 180 s are the most.
"""

from __future__ import annotations

import shlex
from pathlib import Path

from drivers.adb.phone import Phone
from drivers.errors import DeviceError

LONGEST_S = 180
_FINISH_S = 30.0


def start_recording(phone: Phone, path: str, limit_s: int = LONGEST_S) -> None:
    """Begin to record the screen to `path` (MP4) on the phone, for `limit_s` seconds (1 to 180) at most.

    It goes on when the connection to the phone is lost. Raises DeviceError.
    """
    if not 1 <= limit_s <= LONGEST_S:
        raise ValueError(f"a recording lasts from 1 to {LONGEST_S} s, not {limit_s}")
    file = shlex.quote(path)
    phone.ask(
        "sh", "-c",
        f"screenrecord --time-limit {limit_s} {file} </dev/null >{file}.log 2>&1 & echo $! >{file}.pid"
    )  # fmt: skip


def finish_recording(phone: Phone, path: str, target: Path) -> None:
    """End the recording at `path`, copy it to `target`, and remove it from the phone. Raises DeviceError."""
    file = shlex.quote(path)
    ended = phone.shell(
        "sh", "-c",
        f"pid=$(cat {file}.pid) && kill -2 $pid; while kill -0 $pid; do sleep 0.1; done 2>/dev/null; cat {file}.log",
        timeout_s=_FINISH_S,
    )  # fmt: skip
    try:
        if not phone.size(path):
            said = (ended.output + ended.errors).strip() or "nothing"
            raise DeviceError(f"{phone.serial}: the recording {path} is empty or not there; screenrecord said: {said}")
        phone.pull(path, target)
    finally:
        phone.shell("rm", "-f", path, f"{path}.pid", f"{path}.log")
