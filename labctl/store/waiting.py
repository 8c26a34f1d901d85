"""Why a request waits, or is not granted at once. Each function is part of a transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from labctl.matching import Requirement
from labctl.scheduler import Lack, Outlook, lacks, look_ahead, other_reason
from labctl.store.transaction import Transaction


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a request waits. `ahead`: so many come before it; `why`: where every role has a free device."""

    lacks: list[Lack]
    ahead: int
    why: str
    outlook: Outlook


def obstacles(transaction: Transaction, require: Sequence[Requirement], limit_s: float = 0.0) -> list[dict[str, Any]]:
    """Why a request waits: each device that would do, with its holder and end, or why it is not usable."""
    found: dict[str, dict[str, Any]] = {}
    for lack in lacks(transaction.recall().board, require, True, transaction.now, limit_s):
        for each in lack.obstacles:
            told: dict[str, Any] = {"device": each.device}
            if each.holder is not None:
                told |= {"lease": each.lease, "holder": each.holder, "expires_at": each.until}
            else:
                told |= {"state": each.state, "reason": each.reason}
            found.setdefault(each.device, told)
    return list(found.values())


def explain(transaction: Transaction, lease: str) -> Explanation | None:
    """Why a request waits, and what its likely start follows from; None when it does not wait."""
    memory = transaction.recall()
    asked = memory.board.requests.get(lease)
    if asked is None:
        return None
    now = transaction.now
    missing = lacks(memory.board, asked.require, asked.rooms, now, asked.limit_s)
    why = "" if any(not each.free for each in missing) else other_reason(memory.board, asked, memory.rules, now)
    return Explanation(missing, memory.board.ahead_of(asked), why, look_ahead(memory.board, asked, now))
