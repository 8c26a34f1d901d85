"""Principals, what they ask about, and the one door that every decision passes.

A principal carries the judge that decides about it, so that `authorise` needs nothing but its arguments and two daemons
in one process do not share policies.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from labctl.errors import NotAllowedError

EMERGENCY_STOP = "robots.estop"
KINDS = ("person", "ci", "device")


@dataclass(frozen=True, slots=True)
class Resource:
    """What is asked about: its kind, its name or id, who owns it if anybody, and its labels.

    An action on a kind as a whole (`leases.request`) has no name. `labels` left out: those of the lab's device of that
    name, if there is one.
    """

    kind: str
    name: str = ""
    owner: str | None = None
    labels: Mapping[str, str] | None = None

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}"


@dataclass(frozen=True, slots=True)
class Decision:
    """What was decided and which statement did: its `file:line (name)`, or why there is none."""

    allowed: bool
    statement: str
    version: str = ""


class Judge(Protocol):
    """Decides by the lab's policies and keeps the audit log."""

    def decide(self, principal: Principal, action: str, resource: Resource, /) -> Decision:
        """Whether `principal` may; changes nothing."""

    def decide_list(self, principal: Principal, action: str, kind: str, /) -> Decision:
        """Whether `principal` may do `action` to some resource of that kind."""

    def record(self, principal: Principal, action: str, resource: Resource, decision: Decision, /) -> None:
        """Put a decision into the audit log. Raises UnavailableError when that cannot be done."""


class _WithoutPolicies:
    """The judge of principals that belong to no daemon: administrators may, others may only stop machines."""

    def decide(self, principal: Principal, action: str, resource: Resource, /) -> Decision:
        return self.decide_list(principal, action, resource.kind)

    def decide_list(self, principal: Principal, action: str, _kind: str, /) -> Decision:
        if action == EMERGENCY_STOP:
            return OPEN_TO_ALL
        return ADMINISTRATOR if principal.administrator else NOTHING_SAID

    def record(self, _principal: Principal, _action: str, _resource: Resource, _decision: Decision, /) -> None:
        return


OPEN_TO_ALL = Decision(True, "built-in (an emergency stop is open to every known principal)")
ADMINISTRATOR = Decision(True, "built-in (administrators may do what no statement denies)")
NOTHING_SAID = Decision(False, "no statement allows it")
_WITHOUT_POLICIES = _WithoutPolicies()


@dataclass(frozen=True, slots=True)
class Principal:
    """A person, a CI pipeline or a device. Names are unique among all kinds."""

    name: str
    kind: str = "person"
    administrator: bool = False
    token: str | None = field(default=None, compare=False)  # the id of the token that was shown, no secret
    judge: Judge = field(default=_WITHOUT_POLICIES, compare=False, repr=False)

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}"


# Whoever reaches the daemon over the loopback interface, while the lab has no tokens, is logged in on its machine.
LOCAL_ADMINISTRATOR = Principal("local", administrator=True)


def authorise(principal: Principal, action: str, resource: Resource) -> None:
    """Raises NotAllowedError unless `principal` may do `action` ("leases.release") to `resource`.

    The decision goes into the audit log, unless it is leave to read.
    """
    decision = principal.judge.decide(principal, action, resource)
    _enforce(principal, action, resource, decision)


def authorise_list(principal: Principal, action: str, kind: str) -> None:
    """Raises NotAllowedError unless `principal` may do `action` to some `kind` of thing: then a list of them is shown,
    with those left out that `may` says no to.
    """
    decision = principal.judge.decide_list(principal, action, kind)
    _enforce(principal, action, Resource(kind), decision)


def may(principal: Principal, action: str, resource: Resource) -> bool:
    """Whether `principal` may, without a trace in the audit log: for leaving things out of a list."""
    return principal.judge.decide(principal, action, resource).allowed


def _enforce(principal: Principal, action: str, resource: Resource, decision: Decision) -> None:
    if not decision.allowed or action != "read":
        principal.judge.record(principal, action, resource, decision)
    if not decision.allowed:
        about = str(resource) if resource.name else f"any {resource.kind}"
        raise NotAllowedError(
            f"{principal} may not do {action} to {about}: {decision.statement}. "
            f"`labctl policy explain {principal} {action} '{resource}'` says more",
            statement=decision.statement,
        )
