"""Identifiers of rows: unique without asking the database, and in the order of their making."""

from __future__ import annotations

import secrets
import threading
import time

_lock = threading.Lock()
_latest = 0


def new_id() -> str:
    """20 hex digits: milliseconds since 1970, then 32 random bits. Those of one process grow, within a millisecond too:
    the jobs of a matrix are listed in their order."""
    global _latest  # noqa: PLW0603 - the one thing that all of them share
    made = time.time_ns() // 1_000_000 << 32 | secrets.randbits(32)
    with _lock:
        _latest = made = max(made, _latest + 1)
    return f"{made:020x}"
