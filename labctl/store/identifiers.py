"""Identifiers of rows: unique without asking the database, and in the order of their making."""

from __future__ import annotations

import secrets
import time


def new_id() -> str:
    """20 hex digits: milliseconds since 1970, then 32 random bits."""
    return f"{time.time_ns() // 1_000_000:012x}{secrets.token_hex(4)}"
