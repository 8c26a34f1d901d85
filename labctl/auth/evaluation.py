"""Policies compiled for fast decisions: deny wins, then the first that allows, and nothing said is denied.

What depends on the principal and the action alone is found once and kept; of the rest, an index by resource finds the
few statements whose conditions are then looked at. All of it is a pure function of the policies and the arguments.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeVar
from zoneinfo import ZoneInfo

from labctl.auth.documents import DAYS, Conditions, Policies, Statement
from labctl.auth.patterns import Matcher, PatternIndex, matcher
from labctl.auth.principals import (
    ADMINISTRATOR,
    EMERGENCY_STOP,
    NOTHING_SAID,
    OPEN_TO_ALL,
    Decision,
    Principal,
    Resource,
)

Key = TypeVar("Key")
Value = TypeVar("Value")
Condition = Callable[[Principal, Resource], bool]
Moment = Callable[[float], bool]
_KEPT = 4096  # pairs of principal and action; a lab has dozens
_NO_LABELS: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True)
class _Rule:
    """A statement ready to be asked. `order`: its place; its conditions are None where nothing more must hold."""

    order: int
    on_resource: Condition | None
    on_time: Moment | None
    decision: Decision

    def holds(self, principal: Principal, resource: Resource, now: float) -> bool:
        """Whether its conditions hold."""
        return (self.on_time is None or self.on_time(now)) and (
            self.on_resource is None or self.on_resource(principal, resource)
        )


class _Rules:
    """The statements that speak of one principal and one action, by resource."""

    def __init__(self, statements: list[tuple[Statement, _Rule]]) -> None:
        self.denying = PatternIndex((r, rule) for each, rule in statements if not each.allow for r in each.resources)
        self.allowing = PatternIndex((r, rule) for each, rule in statements if each.allow for r in each.resources)
        self._allowing = [(each, rule) for each, rule in statements if each.allow]

    @functools.cached_property
    def allowed_kinds(self) -> list[tuple[Matcher, _Rule]]:
        """The kinds of resource of which something may be allowed."""
        return [(matcher(r.partition(":")[0]), rule) for each, rule in self._allowing for r in each.resources]


class Evaluator:
    """Decides by one version of the policies. Thread-safe."""

    def __init__(self, policies: Policies) -> None:
        self.policies = policies
        self.version = policies.version
        self._rules: dict[tuple[str, bool, str], _Rules] = {}
        self._by_principal: dict[str, list[tuple[int, Statement]]] = {}
        self._principals = PatternIndex((p, n) for n, each in enumerate(policies.statements) for p in each.principals)
        self._compiled = [
            _Rule(order, _on_resource(each.when), _on_time(each.when), Decision(each.allow, each.where, self.version))
            for order, each in enumerate(policies.statements)
        ]
        self._administrator = Decision(True, ADMINISTRATOR.statement, self.version)
        self._nothing_said = Decision(False, NOTHING_SAID.statement, self.version)

    def decide(self, principal: Principal, action: str, resource: Resource, now: float) -> Decision:
        """The decision at `now` (seconds since 1970). An emergency stop is open to every known principal."""
        if action == EMERGENCY_STOP:
            return OPEN_TO_ALL
        rules = self._speaking_of(principal, action)
        text = f"{resource.kind}:{resource.name}"
        denied = _first(rules.denying.find(text), principal, resource, now)
        if denied is not None:
            return denied.decision
        if principal.administrator:
            return self._administrator
        allowed = _first(rules.allowing.find(text), principal, resource, now)
        return self._nothing_said if allowed is None else allowed.decision

    def decide_list(self, principal: Principal, action: str, kind: str, now: float) -> Decision:
        """Whether some resource of `kind` may be allowed, as far as that does not hang on the resource."""
        rules = self._speaking_of(principal, action)
        denying = [rule for rule in rules.denying.find(f"{kind}:") if rule.on_resource is None]
        denied = _first(denying, principal, Resource(kind), now)
        if denied is not None:
            return denied.decision
        if principal.administrator:
            return self._administrator
        allowing = [rule for of_kind, rule in rules.allowed_kinds if of_kind(kind)]
        timely = [rule for rule in allowing if rule.on_time is None or rule.on_time(now)]
        return min(timely, key=_order).decision if timely else self._nothing_said

    def _speaking_of(self, principal: Principal, action: str) -> _Rules:
        who = f"{principal.kind}:{principal.name}"
        key = (who, principal.administrator, action)
        rules = self._rules.get(key)
        if rules is None:
            rules = _Rules([(each, self._compiled[n]) for n, each in self._about(who) if _acts(each, action)])
            _keep(self._rules, key, rules)
        return rules

    def _about(self, who: str) -> list[tuple[int, Statement]]:
        about = self._by_principal.get(who)
        if about is None:
            numbers = sorted(set(self._principals.find(who)))
            about = [(number, self.policies.statements[number]) for number in numbers]
            _keep(self._by_principal, who, about)
        return about


def _acts(statement: Statement, action: str) -> bool:
    return any(matcher(pattern)(action) for pattern in statement.actions)


def _order(rule: _Rule) -> int:
    return rule.order


def _first(rules: list[_Rule], principal: Principal, resource: Resource, now: float) -> _Rule | None:
    """The first of the statements, by their order, whose conditions hold."""
    best: _Rule | None = None
    for rule in rules:
        if (best is None or rule.order < best.order) and rule.holds(principal, resource, now):
            best = rule
    return best


def _keep(kept: dict[Key, Value], key: Key, value: Value) -> None:
    if len(kept) >= _KEPT:
        kept.clear()
    kept[key] = value


def _on_resource(when: Conditions) -> Condition | None:
    wanted_own = when.own
    wanted_labels = [
        (label, [matcher(each) for each in ((patterns,) if isinstance(patterns, str) else patterns)])
        for label, patterns in when.labels.items()
    ]
    if wanted_own is None and not wanted_labels:
        return None

    def hold(principal: Principal, resource: Resource) -> bool:
        if wanted_own is not None and (resource.owner == principal.name) is not wanted_own:
            return False
        labels = resource.labels or _NO_LABELS
        for label, tests in wanted_labels:
            value = labels.get(label)
            if value is None or not any(test(value) for test in tests):
                return False
        return True

    return hold


def _on_time(when: Conditions) -> Moment | None:
    window, days = when.window(), frozenset(DAYS.index(day) for day in when.days)
    whole_week = window is None and len(days) == len(DAYS)
    if whole_week and when.not_before is None and when.not_after is None:
        return None
    first = float("-inf") if when.not_before is None else when.not_before.timestamp()
    last = float("inf") if when.not_after is None else when.not_after.timestamp()
    zone = ZoneInfo(when.zone)

    def hold(now: float) -> bool:
        if not first <= now < last:
            return False
        if whole_week:
            return True
        local = datetime.fromtimestamp(now, zone)
        if window is None:
            return local.weekday() in days
        begin, end = window
        at = local.time()
        if begin < end:
            return begin <= at < end and local.weekday() in days
        if at >= begin:  # past midnight: the day is that on which the hours began
            return local.weekday() in days
        return at < end and (local - timedelta(days=1)).weekday() in days

    return hold
