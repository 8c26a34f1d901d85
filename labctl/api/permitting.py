"""What a principal may ask for inside a request: which devices, and what a job's steps may do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import sqlalchemy as sa

from labctl.auth import Principal, Resource, authorise, may
from labctl.daemon import Daemon
from labctl.errors import NotAllowedError
from labctl.matching import Requirement
from labctl.store.submitting import NewJob
from labctl.store.tables import devices


def restricted(daemon: Daemon, asker: Principal) -> bool:
    """Whether there may be anything that the asker may not do."""
    return not asker.administrator or bool(daemon.authority.policies.statements)


def leasable(daemon: Daemon, asker: Principal, require: Sequence[Requirement]) -> list[Requirement]:
    """The requirements, narrowed to devices on which the asker may do `leases.request`.

    Raises NotAllowedError for a device that is named and may not be had, or where none that would do may be had.
    """
    if not restricted(daemon, asker):
        return list(require)
    with daemon.store.read() as connection:
        known = connection.execute(
            sa.select(devices.c.name, devices.c.labels).where(devices.c.state != "removed")
        ).all()
    resources = [Resource("device", row.name, labels=row.labels) for row in known]
    allowed = [each.name for each in resources if may(asker, "leases.request", each)]
    return [_narrowed(asker, each, allowed, len(allowed) == len(known)) for each in require]


def permitted(daemon: Daemon, asker: Principal, job: NewJob) -> NewJob:
    """A job with its requirements narrowed so. Raises NotAllowedError for a step's action on which `actions.run` is not
    allowed, before anything is queued.
    """
    for action in sorted(set(_actions(job.document))):
        authorise(asker, "actions.run", Resource("action", action))
    return replace(job, require=leasable(daemon, asker, job.require))


def _narrowed(asker: Principal, wanted: Requirement, allowed: list[str], everything: bool) -> Requirement:
    if wanted.device is not None:
        authorise(asker, "leases.request", Resource("device", wanted.device))
        return wanted
    if everything:
        return wanted
    left = tuple(name for name in allowed if not wanted.one_of or name in wanted.one_of)
    if not left:
        raise NotAllowedError(f"{asker} may lease none of the devices that would be {wanted}: no statement allows it")
    return replace(wanted, one_of=left)


def _actions(document: Any) -> Iterator[str]:
    """The actions that a job's steps name, teardown and all."""
    if isinstance(document, dict):
        if isinstance(action := document.get("uses"), str):
            yield action
        for each in document.values():
            yield from _actions(each)
    elif isinstance(document, list):
        for each in document:
            yield from _actions(each)
