"""Why somebody may or may not: every statement that speaks of the question, and which one decided."""

from __future__ import annotations

from dataclasses import dataclass, replace

from labctl.auth.documents import Policies, Statement
from labctl.auth.evaluation import Evaluator
from labctl.auth.patterns import matches
from labctl.auth.principals import Decision, Principal, Resource


@dataclass(frozen=True, slots=True)
class Considered:
    """A statement about the principal, the action and the resource. `holds`: whether its conditions do."""

    where: str
    effect: str
    holds: bool
    conditions: dict[str, object]


@dataclass(frozen=True, slots=True)
class Explanation:
    """A decision with all statements that had to do with it, in order, and those that missed in one thing only."""

    decision: Decision
    considered: tuple[Considered, ...]
    near_misses: tuple[str, ...]


def explain(policies: Policies, principal: Principal, action: str, resource: Resource, now: float) -> Explanation:
    """What the policies say to one question at `now`, seconds since 1970."""
    decision = Evaluator(policies).decide(principal, action, resource, now)
    considered, missed = [], []
    for statement in policies.statements:
        hits = {
            "principals": _any(statement.principals, str(principal)),
            "actions": _any(statement.actions, action),
            "resources": _any(statement.resources, str(resource)),
        }
        if all(hits.values()):
            considered.append(_considered(statement, principal, action, resource, now))
        elif statement.allow and sum(hits.values()) == 2:
            what = next(name for name, hit in hits.items() if not hit)
            missed.append(f"{statement.where}: would allow, but for its {what}: {', '.join(getattr(statement, what))}")
    return Explanation(decision, tuple(considered), tuple(missed) if not decision.allowed else ())


def _considered(statement: Statement, principal: Principal, action: str, resource: Resource, now: float) -> Considered:
    alone = Evaluator(Policies((statement,)))
    decided = alone.decide(replace(principal, administrator=False), action, resource, now)
    written = statement.when.model_dump(mode="json", exclude_defaults=True)
    effect = "allow" if statement.allow else "deny"
    return Considered(statement.where, effect, decided.statement == statement.where, written)


def _any(patterns: tuple[str, ...], text: str) -> bool:
    return any(matches(pattern, text) for pattern in patterns)
