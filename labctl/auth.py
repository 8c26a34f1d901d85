"""Who asks, and whether they may: every request has a principal, and every decision passes `authorise`."""

from __future__ import annotations

from dataclasses import dataclass

from labctl.errors import NotAllowedError

# Anyone who is known may look, and may stop a machine.
_EVERYBODY = frozenset({"read", "robots.estop", "leases.request", "jobs.submit", "audio.upload"})


@dataclass(frozen=True, slots=True)
class Principal:
    """A person, a CI pipeline or a device."""

    name: str
    kind: str = "person"
    administrator: bool = False


@dataclass(frozen=True, slots=True)
class Resource:
    """What is asked about: its kind, its name or id, and who owns it, if anybody."""

    kind: str
    name: str = ""
    owner: str | None = None


# Whoever reaches the daemon over the loopback interface is somebody who is logged in on its machine.
LOCAL_ADMINISTRATOR = Principal("local", administrator=True)


def authorise(principal: Principal, action: str, resource: Resource) -> None:
    """Raises NotAllowedError unless `principal` may do `action` ("leases.release") to `resource`."""
    if principal.administrator or action in _EVERYBODY or resource.owner == principal.name:
        return
    owner = f", which belongs to {resource.owner}" if resource.owner else ""
    raise NotAllowedError(f"{principal.name} may not do {action} on the {resource.kind} {resource.name}{owner}")
