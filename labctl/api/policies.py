"""Policies and the audit log over HTTP: shown, explained, verified. Policies are changed in their files, the log
never.
"""

from __future__ import annotations

import time
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any

import sqlalchemy as sa
from fastapi import APIRouter, Query

from labctl.api.common import Asker, Limit, Moment, Page, TheDaemon, iso, page
from labctl.auth import Resource, authorise, authorise_list, may
from labctl.auth.documents import Policies
from labctl.errors import InvalidInputError, NotFoundError
from labctl.store import auditing
from labctl.store.access_tables import audit, policies

router = APIRouter(prefix="/api/v1", tags=["access"])
_Text = Annotated[str, Query(min_length=1, max_length=300)]


@router.get("/policies")
def show_policies(daemon: TheDaemon, asker: Asker) -> dict[str, Any]:
    """The statements in force, each with its file and line."""
    authorise(asker, "read", Resource("policies", "in-force"))
    return _show(daemon.authority.policies)


@router.get("/policies/versions/{version}")
def show_version(version: str, daemon: TheDaemon, asker: Asker) -> dict[str, Any]:
    """The texts of a version that was in force once: what a line of the audit log refers to."""
    authorise(asker, "read", Resource("policies", version))
    with daemon.store.read() as connection:
        row = connection.execute(sa.select(policies).where(policies.c.version == version)).one_or_none()
    if row is None:
        raise NotFoundError(f"no version {version!r} of the policies was ever in force")
    return {"version": row.version, "loaded_at": iso(row.loaded_at), "sources": row.sources}


@router.post("/policies/reload")
def reload_policies(daemon: TheDaemon, asker: Asker) -> dict[str, Any]:
    """Read the policy files again; with an error in any of them the old ones stay in force."""
    authorise(asker, "policies.reload", Resource("policies", "in-force"))
    return _show(daemon.authority.reload())


@router.get("/policies/explain")
def explain_decision(
    daemon: TheDaemon,
    asker: Asker,
    *,
    principal: Annotated[_Text, Query(description="NAME or KIND:NAME")],
    action: _Text,
    resource: Annotated[_Text, Query(description="KIND:NAME")],
    owner: Annotated[str | None, Query(max_length=100, description="to whom the resource belongs")] = None,
    label: Annotated[list[str] | None, Query(max_length=50, description="KEY=VALUE; the device's unless given")] = None,
    at: Annotated[Moment | None, Query(description="when; now unless given")] = None,
) -> dict[str, Any]:
    """Whether a principal may, which statement decides, and what else spoke of it. Whoever asks about himself may."""
    who = daemon.authority.named(principal)
    if who.name != asker.name:
        authorise(asker, "read", Resource("principal", who.name))
    kind, colon, name = resource.partition(":")
    if not colon:
        raise InvalidInputError(f"a resource is KIND:NAME, such as device:robot-1; got {resource!r}")
    labels = dict(each.split("=", 1) for each in label if "=" in each) if label else None
    now = at.timestamp() if isinstance(at, datetime) else time.time()
    told = daemon.authority.explain(who, action, Resource(kind, name, owner, labels), now)
    return {
        "principal": str(who),
        "action": action,
        "resource": resource,
        "at": iso(now),
        "allowed": told.decision.allowed,
        "statement": told.decision.statement,
        "version": told.decision.version,
        "considered": [asdict(each) for each in told.considered],
        "near_misses": list(told.near_misses),
    }


@router.get("/audit")
def list_audit(
    daemon: TheDaemon,
    asker: Asker,
    *,
    principal: Annotated[str | None, Query(max_length=200, description="KIND:NAME")] = None,
    action: Annotated[str | None, Query(max_length=200)] = None,
    allowed: bool | None = None,
    limit: Limit = 100,
    cursor: Annotated[int | None, Query(ge=1, description="`next` of the page before")] = None,
) -> Page:
    """Decisions, newest first: all but the leave to read."""
    authorise_list(asker, "read", "audit")
    daemon.authority.audit.flush(5.0)
    statement = sa.select(audit)
    for column, value in ((audit.c.principal, principal), (audit.c.action, action), (audit.c.allowed, allowed)):
        if value is not None:
            statement = statement.where(column == value)
    with daemon.store.read() as connection:
        return page(
            connection,
            statement,
            audit.c.sequence,
            _show_entry,
            limit=limit,
            cursor=cursor,
            visible=lambda row: may(asker, "read", Resource("audit", row.principal, row.principal.partition(":")[2])),
        )


@router.get("/audit/verify")
def verify_audit(
    daemon: TheDaemon,
    asker: Asker,
    known: Annotated[str | None, Query(pattern=r"^\d{1,15}:[0-9a-f]{64}$", description="a head noted earlier")] = None,
) -> dict[str, Any]:
    """Whether the log is whole: its chain of hashes is computed anew. Keep `head` elsewhere and give it as `known`."""
    authorise(asker, "read", Resource("audit", "*"))
    daemon.authority.audit.flush(5.0)
    number, _, digest = (known or "").partition(":")
    with daemon.store.read() as connection:
        told = auditing.verify(connection, (int(number), digest) if known else None)
    return {"rows": told.rows, "head": f"{told.rows}:{told.head}", "problem": told.problem}


def _show(shown: Policies) -> dict[str, Any]:
    return {
        "version": shown.version,
        "files": [each.name for each in shown.sources],
        "items": [
            {
                "where": each.where,
                "effect": "allow" if each.allow else "deny",
                "principals": each.principals,
                "actions": each.actions,
                "resources": each.resources,
                "when": each.when.model_dump(mode="json", exclude_defaults=True),
            }
            for each in shown.statements
        ],
    }


def _show_entry(row: sa.Row[Any]) -> dict[str, Any]:
    names = ("sequence", "principal", "token", "action", "resource", "allowed", "statement", "policies", "request")
    return {**{name: getattr(row, name) for name in names}, "address": row.address, "time": iso(row.time)}
