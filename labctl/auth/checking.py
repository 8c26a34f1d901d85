"""What is odd, though not wrong, about policies: statements that cannot make a difference."""

from __future__ import annotations

from labctl.auth.documents import Conditions, Policies, Statement
from labctl.auth.patterns import matches

_ALWAYS = Conditions()


def remarks(policies: Policies) -> list[str]:
    """A sentence for each statement that never decides anything, with the one that is in its way."""
    found = []
    for number, statement in enumerate(policies.statements):
        if not statement.principals:
            found.append(f"{statement.where}: speaks of nobody, since its groups are empty")
            continue
        for position, other in enumerate(policies.statements):
            if position == number or other.when != _ALWAYS or not _covers(other, statement):
                continue
            if not other.allow and statement.allow:
                found.append(f"{statement.where}: never allows anything, since {other.where} denies all of it")
                break
            if other.allow == statement.allow and (position < number or not _covers(statement, other)):
                found.append(f"{statement.where}: adds nothing to {other.where}")
                break
    return found


def _covers(wide: Statement, narrow: Statement) -> bool:
    """Whether all that `narrow` speaks of, `wide` speaks of too."""
    return all(
        any(matches(pattern, each) for pattern in getattr(wide, what))
        for what in ("principals", "actions", "resources")
        for each in getattr(narrow, what)
    )
