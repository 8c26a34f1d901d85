"""Precedence for programs in real time, such as sound servers and browsers in calls, before other work of a machine."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def give_precedence(pid: int, nice: int) -> None:
    """Put a process that leads a session, and what it starts from now on, before others.

    Where Linux groups processes by session (sched(7), autogroup) a nice value counts inside its session alone, and the
    session has one of its own. Without CAP_SYS_NICE nothing changes.
    """
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, pid, nice)
    with contextlib.suppress(OSError):
        Path(f"/proc/{pid}/autogroup").write_text(str(nice))
