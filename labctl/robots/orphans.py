"""Ends a guard that a daemon left behind when it was killed, so that a new one gets the serial line."""

from __future__ import annotations

import os
import signal
import socket
import struct
import time
from pathlib import Path

_PEER_CREDENTIALS = struct.Struct("iII")  # pid, uid, gid: struct ucred, unix(7)
_ENDS_WITHIN_S = 5.0


def end_orphan(path: Path) -> int | None:
    """End the process that listens on the Unix socket `path`, if there is one of ours; returns its id."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except OSError:
            return None
        credentials = probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER_CREDENTIALS.size)
    pid, uid, _ = _PEER_CREDENTIALS.unpack(credentials)
    if uid != os.getuid() or pid in (0, os.getpid()):
        return None
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.kill(pid, number)
            os.kill(pid, signal.SIGCONT)
        except ProcessLookupError:
            return int(pid)
        if _gone(pid, _ENDS_WITHIN_S):
            break
    return int(pid)


def _gone(pid: int, within_s: float) -> bool:
    give_up = time.monotonic() + within_s
    while time.monotonic() < give_up:
        try:
            state = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state[0] == "Z":
            return True
        time.sleep(0.02)
    return False
