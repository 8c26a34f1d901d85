"""Tokens over HTTP: who one is, and the tokens of people, pipelines and devices. A token's text is shown once."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import sqlalchemy as sa
from fastapi import APIRouter, Query
from pydantic import Field

from labctl.api.common import Asker, Body, Cursor, Limit, Page, TheDaemon, iso, page
from labctl.auth import Resource, authorise, authorise_list, may
from labctl.auth.tokens import Token
from labctl.config.model import NAME
from labctl.daemon import Daemon
from labctl.store import access
from labctl.store.access_tables import tokens

router = APIRouter(prefix="/api/v1", tags=["access"])
_DAY_S = 24 * 3600
_DurationS = Annotated[float, Field(ge=1, le=10 * 365 * _DAY_S)]


class NewToken(Body):
    """For whom, and how long it works; for ever where `duration_s` is null."""

    principal: Annotated[str, Field(pattern=NAME.pattern)]
    kind: Literal["person", "ci", "device"] = "person"
    administrator: bool = False
    duration_s: _DurationS | None = 90 * _DAY_S
    note: Annotated[str, Field(max_length=200)] = ""


class Rotation(Body):
    """How long the old token still works beside the new one."""

    overlap_s: Annotated[float, Field(ge=0, le=30 * _DAY_S)] = _DAY_S


@router.get("/whoami")
def who_am_i(asker: Asker) -> dict[str, Any]:
    """Whom the daemon takes you for. Open to every known principal."""
    return {"name": asker.name, "kind": asker.kind, "administrator": asker.administrator, "token": asker.token}


@router.get("/tokens")
def list_tokens(
    daemon: TheDaemon,
    asker: Asker,
    principal: Annotated[str | None, Query(max_length=100, description="only those of this principal")] = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Page:
    """Tokens without their secrets."""
    authorise_list(asker, "read", "token")
    statement = access.with_principals()
    if principal is not None:
        statement = statement.where(tokens.c.principal == principal)
    with daemon.store.read() as connection:
        return page(
            connection,
            statement,
            tokens.c.id,
            _show,
            limit=limit,
            cursor=cursor,
            newest_first=False,
            visible=lambda row: may(asker, "read", Resource("token", row.id, row.principal)),
        )


@router.post("/tokens", status_code=201)
def create_token(wanted: NewToken, daemon: TheDaemon, asker: Asker) -> dict[str, Any]:
    """Issue a token; `token` in the answer is its text, which is shown this once."""
    authorise(asker, "tokens.create", Resource("principal", wanted.principal, labels={"kind": wanted.kind}))
    if wanted.administrator:
        authorise(asker, "tokens.create_administrator", Resource("principal", wanted.principal))
    token = Token.new()
    daemon.store.write(
        lambda transaction: access.issue(
            transaction,
            token=token.id,
            hashed=token.hash(),
            principal=wanted.principal,
            kind=wanted.kind,
            administrator=wanted.administrator,
            duration_s=wanted.duration_s,
            note=wanted.note,
            by=asker.name,
        )
    )
    return _issued(daemon, token)


@router.post("/tokens/{token}/rotate", status_code=201)
def rotate_token(token: str, daemon: TheDaemon, asker: Asker, rotation: Rotation | None = None) -> dict[str, Any]:
    """Put a new token in the place of one, which goes on working for a while."""
    _authorise(daemon, asker, "tokens.rotate", token)
    new = Token.new()
    overlap_s = (rotation or Rotation()).overlap_s
    daemon.store.write(
        lambda transaction: access.rotate(
            transaction, token, token=new.id, hashed=new.hash(), overlap_s=overlap_s, by=asker.name
        )
    )
    return _issued(daemon, new)


@router.delete("/tokens/{token}")
def revoke_token(token: str, daemon: TheDaemon, asker: Asker) -> dict[str, Any]:
    """Let a token work no more, from now on."""
    _authorise(daemon, asker, "tokens.revoke", token)
    daemon.store.write(lambda transaction: access.revoke(transaction, token, asker.name))
    daemon.authority.keyring.read()
    return _read(daemon, token)


def _authorise(daemon: Daemon, asker: Asker, action: str, token: str) -> None:
    """Whoever asks about a token that there is not, and may not do this to all, is told no more than others.

    To rotate an administrator's token is to be shown one: that takes an administrator, or the right to make them, even
    where it is one's own. To revoke one's own takes nothing more.
    """
    with daemon.store.read() as connection:
        row = connection.execute(access.with_principals().where(tokens.c.id == token)).one_or_none()
    authorise(asker, action, Resource("token", token, row.principal if row is not None else None))
    shown = action == "tokens.rotate" or (row is not None and row.principal != asker.name)
    if row is not None and row.administrator and not asker.administrator and shown:
        authorise(asker, "tokens.create_administrator", Resource("principal", row.principal))


def _issued(daemon: Daemon, token: Token) -> dict[str, Any]:
    daemon.authority.keyring.read()
    return {**_read(daemon, token.id), "token": token.text}


def _read(daemon: Daemon, token: str) -> dict[str, Any]:
    with daemon.store.read() as connection:
        return _show(access.find(connection, token))


def _show(row: sa.Row[Any]) -> dict[str, Any]:
    shown = {name: getattr(row, name) for name in ("id", "principal", "kind", "administrator", "note", "created_by")}
    times = {name: iso(getattr(row, name)) for name in ("created_at", "expires_at", "last_used_at", "revoked_at")}
    return {**shown, **times, "replaced_by": row.replaced_by}
