"""Tokens in the database: issued, rotated, revoked. Each function is part of a transaction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from labctl.errors import ConflictError, NotFoundError
from labctl.store import Transaction
from labctl.store.access_tables import policies, tokens
from labctl.store.inventory import add_principal
from labctl.store.tables import principals


def issue(
    transaction: Transaction,
    *,
    token: str,
    hashed: str,
    principal: str,
    kind: str,
    administrator: bool,
    duration_s: float | None,
    note: str,
    by: str,
) -> None:
    """Note a new token by its hash. Raises ConflictError when the principal is known as another kind, or when the lab
    would have tokens but no administrator.
    """
    known = transaction.execute(sa.select(principals.c.kind).where(principals.c.name == principal)).scalar()
    if known is not None and known != kind:
        raise ConflictError(f"{principal!r} is known as a {known}, not as a {kind}: choose another name")
    if not administrator and not any_issued(transaction.connection):
        raise ConflictError(
            "the lab's first token must be an administrator's, since from then on nobody gets in without one: "
            "labctl tokens create NAME --administrator"
        )
    add_principal(transaction, principal, kind)
    row = {"id": token, "principal": principal, "administrator": administrator, "hash": hashed, "note": note}
    times = {"created_at": transaction.now, "duration_s": duration_s, "expires_at": _end(transaction, duration_s)}
    transaction.execute(sa.insert(tokens).values(**row, **times, created_by=by))
    transaction.emit("token.issued", token=token, principal=principal, by=by, administrator=administrator)


def rotate(transaction: Transaction, old: str, *, token: str, hashed: str, overlap_s: float, by: str) -> None:
    """Put a new token in the place of `old`, which still works for `overlap_s` seconds."""
    row = find(transaction.connection, old)
    if row.revoked_at is not None or row.replaced_by is not None:
        why = "revoked" if row.revoked_at is not None else f"replaced by {row.replaced_by} already"
        raise ConflictError(f"token {old} was {why}")
    same = {name: getattr(row, name) for name in ("principal", "administrator", "note", "duration_s")}
    times = {"created_at": transaction.now, "expires_at": _end(transaction, row.duration_s)}
    transaction.execute(sa.insert(tokens).values(id=token, hash=hashed, created_by=by, **same, **times))
    end = transaction.now + overlap_s
    change = {"replaced_by": token, "expires_at": end if row.expires_at is None else min(end, row.expires_at)}
    transaction.execute(sa.update(tokens).where(tokens.c.id == old).values(**change))
    transaction.emit("token.rotated", token=old, replaced_by=token, principal=row.principal, by=by)


def revoke(transaction: Transaction, token: str, by: str) -> None:
    """Let a token work no more. May be repeated."""
    row = find(transaction.connection, token)
    if row.revoked_at is None:
        transaction.execute(sa.update(tokens).where(tokens.c.id == token).values(revoked_at=transaction.now))
        transaction.emit("token.revoked", token=token, principal=row.principal, by=by)


def note_use(transaction: Transaction, used: dict[str, float]) -> None:
    """Note when tokens were last used."""
    for token, at in used.items():
        later = sa.or_(tokens.c.last_used_at.is_(None), tokens.c.last_used_at < at)
        transaction.execute(sa.update(tokens).where(tokens.c.id == token, later).values(last_used_at=at))


def find(connection: sa.Connection, token: str) -> sa.Row[Any]:
    """A token's row with its principal's kind. Raises NotFoundError."""
    row = connection.execute(with_principals().where(tokens.c.id == token)).one_or_none()
    if row is None:
        raise NotFoundError(f"there is no token {token!r}; `labctl tokens list` shows them")
    return row


def with_principals() -> sa.Select[Any]:
    """All tokens, each with the `kind` of its principal."""
    return sa.select(tokens, principals.c.kind).join(principals, principals.c.name == tokens.c.principal)


def any_issued(connection: sa.Connection) -> bool:
    """Whether somebody has a token: there is one that was not revoked, expired or not."""
    return connection.execute(sa.select(tokens.c.id).where(tokens.c.revoked_at.is_(None)).limit(1)).first() is not None


def keep_policies(transaction: Transaction, version: str, sources: Sequence[dict[str, str]]) -> None:
    """Keep the texts of a version of the policies, unless it is known."""
    known = transaction.execute(sa.select(policies.c.version).where(policies.c.version == version)).first()
    if known is None:
        row = {"version": version, "loaded_at": transaction.now, "sources": list(sources)}
        transaction.execute(sa.insert(policies).values(**row))
        transaction.emit("policies.loaded", version=version, files=[each["name"] for each in sources])


def _end(transaction: Transaction, duration_s: float | None) -> float | None:
    return None if duration_s is None else transaction.now + duration_s
