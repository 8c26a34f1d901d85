"""Policies compiled for fast decisions: deny wins, then the first that allows, and nothing said is denied.

Everything is compiled when the policies are loaded, so that no question pays for it. A set of statements is a number
with one bit for each; which statements speak of a principal, an action, a resource or a label's value is looked up by
pattern, and the question is answered by those that all of these have in common. Only what depends on the time is asked
statement by statement. All of it is a pure function of the policies and the arguments.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from labctl.auth.documents import DAYS, Conditions, Policies, Statement
from labctl.auth.patterns import PatternIndex
from labctl.auth.principals import (
    ADMINISTRATOR,
    EMERGENCY_STOP,
    NOTHING_SAID,
    OPEN_TO_ALL,
    Decision,
    Principal,
    Resource,
)

Moment = Callable[[float], bool]
_KEPT = 4096  # principals, and actions; a lab has dozens
_NO_LABELS: Mapping[str, str] = {}


class _Speaking:
    """The statements that have a pattern which matches a text, as the bits of a number."""

    def __init__(self, entries: Iterable[tuple[str, int]]) -> None:
        sets: dict[str, int] = {}
        for pattern, number in entries:
            sets[pattern] = sets.get(pattern, 0) | 1 << number
        self._index = PatternIndex(sets.items())

    def of(self, text: str) -> int:
        found = 0
        for each in self._index.find(text):
            found |= each
        return found


class _Remembered(dict[str, int]):
    """The same for texts that come again and again."""

    def __init__(self, speaking: _Speaking) -> None:
        super().__init__()
        self._speaking = speaking

    def __missing__(self, text: str) -> int:
        if len(self) >= _KEPT:
            self.clear()
        found = self[text] = self._speaking.of(text)
        return found


class Evaluator:
    """Decides by one version of the policies. Thread-safe."""

    def __init__(self, policies: Policies) -> None:
        self.policies = policies
        self.version = version = policies.version
        numbered = list(enumerate(policies.statements))
        self._principals = _Remembered(_Speaking((p, n) for n, each in numbered for p in each.principals))
        self._actions = _Remembered(_Speaking((a, n) for n, each in numbered for a in each.actions))
        self._resources = _Speaking((r, n) for n, each in numbered for r in each.resources)
        self._kinds = _Speaking((r.partition(":")[0], n) for n, each in numbered for r in each.resources)
        self._denying = _those(numbered, lambda each: not each.allow)
        self._allowing = _those(numbered, lambda each: each.allow)
        self._whatever_the_resource = _those(numbered, lambda each: each.when.own is None and not each.when.labels)
        self._own = _those(numbered, lambda each: each.when.own is not False)
        self._not_own = _those(numbered, lambda each: each.when.own is not True)
        labels = sorted({label for _, each in numbered for label in each.when.labels})
        self._labels = [(label, *_by_value(numbered, label)) for label in labels]
        self._moments, self._always = _by_time(numbered)
        self._decisions = [Decision(each.allow, each.where, version) for _, each in numbered]
        self._administrator = Decision(True, ADMINISTRATOR.statement, version)
        self._nothing_said = Decision(False, NOTHING_SAID.statement, version)

    def decide(self, principal: Principal, action: str, resource: Resource, now: float) -> Decision:
        """The decision at `now` (seconds since 1970). An emergency stop is open to every known principal."""
        if action == EMERGENCY_STOP:
            return OPEN_TO_ALL
        speaking = self._principals[f"{principal.kind}:{principal.name}"] & self._actions[action]
        if speaking:
            speaking &= self._resources.of(f"{resource.kind}:{resource.name}")
        if speaking:
            speaking = self._fitting(speaking, principal, resource)
        if (denied := self._first(speaking & self._denying, now)) is not None:
            return denied
        if principal.administrator:
            return self._administrator
        return self._first(speaking & self._allowing, now) or self._nothing_said

    def decide_list(self, principal: Principal, action: str, kind: str, now: float) -> Decision:
        """Whether some resource of `kind` may be allowed, as far as that does not hang on the resource."""
        speaking = self._principals[f"{principal.kind}:{principal.name}"] & self._actions[action]
        denying = speaking & self._denying & self._whatever_the_resource
        if denying and (denied := self._first(denying & self._resources.of(f"{kind}:"), now)) is not None:
            return denied
        if principal.administrator:
            return self._administrator
        return self._first(speaking & self._allowing & self._kinds.of(kind), now) or self._nothing_said

    def _fitting(self, speaking: int, principal: Principal, resource: Resource) -> int:
        """Those whose conditions on the resource hold."""
        speaking &= self._own if resource.owner == principal.name else self._not_own
        labels = resource.labels or _NO_LABELS
        for label, asking, values in self._labels:
            if speaking & asking:
                value = labels.get(label)
                speaking &= ~asking if value is None else ~asking | values.of(value)
        return speaking

    def _first(self, speaking: int, now: float) -> Decision | None:
        """The first of them whose time it is."""
        timely = speaking & self._always
        if timely != speaking:
            for asking, holds in self._moments:
                if speaking & asking and holds(now):
                    timely |= speaking & asking
        return self._decisions[(timely & -timely).bit_length() - 1] if timely else None


def _those(numbered: list[tuple[int, Statement]], wanted: Callable[[Statement], bool]) -> int:
    return sum(1 << number for number, each in numbered if wanted(each))


def _by_value(numbered: list[tuple[int, Statement]], label: str) -> tuple[int, _Speaking]:
    """The statements that ask for a label, and by its value those that it satisfies."""
    asking = [(number, each.when.labels[label]) for number, each in numbered if label in each.when.labels]
    values = ((v, number) for number, wanted in asking for v in ((wanted,) if isinstance(wanted, str) else wanted))
    return sum(1 << number for number, _ in asking), _Speaking(values)


def _by_time(numbered: list[tuple[int, Statement]]) -> tuple[list[tuple[int, Moment]], int]:
    """The statements of each condition on the time, and those that have none."""
    sets: dict[tuple[object, ...], int] = {}
    moments: dict[tuple[object, ...], Moment | None] = {}
    for number, each in numbered:
        when = each.when
        key = (when.days, when.hours, when.zone, when.not_before, when.not_after)
        if key not in moments:
            moments[key] = _moment(when)
        sets[key] = sets.get(key, 0) | 1 << number
    timed = [(sets[key], holds) for key, holds in moments.items() if holds is not None]
    return timed, sum(sets[key] for key, holds in moments.items() if holds is None)


def _moment(when: Conditions) -> Moment | None:
    window, days = when.window(), frozenset(DAYS.index(day) for day in when.days)
    whole_week = window is None and len(days) == len(DAYS)
    if whole_week and when.not_before is None and when.not_after is None:
        return None
    first = float("-inf") if when.not_before is None else when.not_before.timestamp()
    last = float("inf") if when.not_after is None else when.not_after.timestamp()
    zone = ZoneInfo(when.zone)

    def holds(now: float) -> bool:
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

    return holds
