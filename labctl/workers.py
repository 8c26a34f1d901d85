"""Processes that draw reports and do other long sums, so that the daemon never does. They touch no device."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from concurrent.futures import ProcessPoolExecutor


def worker_pool(processes: int = 1) -> ProcessPoolExecutor:
    """A pool that starts its processes on first use; they end with the daemon, however it ends."""
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(processes, mp_context=context, initializer=begin)


def begin() -> None:
    """What each process does first: leave Ctrl-C to the daemon, be polite, and end with it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the daemon's to handle
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, 10)  # whatever the daemon's is
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
