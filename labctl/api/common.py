"""What the routes share: the daemon, the principal, times, pages."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any

import sqlalchemy as sa
from fastapi import Depends, Query, Request
from pydantic import BaseModel, ConfigDict

from labctl.auth import LOCAL_ADMINISTRATOR, Principal
from labctl.daemon import Daemon


def _daemon(request: Request) -> Daemon:
    daemon: Daemon = request.app.state.daemon
    return daemon


def _principal() -> Principal:
    return LOCAL_ADMINISTRATOR


TheDaemon = Annotated[Daemon, Depends(_daemon)]
Asker = Annotated[Principal, Depends(_principal)]
Limit = Annotated[int, Query(ge=1, le=1000, description="at most so many items")]
Cursor = Annotated[str | None, Query(max_length=100, description="`next` of the page before")]


class Body(BaseModel):
    """A request's body: unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class Page(BaseModel):
    """One page of a list; ask again with `cursor` set to `next` for more."""

    items: list[dict[str, Any]]
    next: str | None


def iso(seconds: float | None) -> str | None:
    """Seconds since 1970 as UTC ISO 8601."""
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def page(
    connection: sa.Connection,
    statement: sa.Select[Any],
    key: sa.ColumnElement[Any],
    show: Callable[[sa.Row[Any]], dict[str, Any]],
    *,
    limit: int,
    cursor: str | None,
    newest_first: bool = True,
) -> Page:
    """A page of `statement`, ordered by `key`, from beyond `cursor` on."""
    if cursor is not None:
        statement = statement.where(key < cursor if newest_first else key > cursor)
    ordered = statement.order_by(key.desc() if newest_first else key).limit(limit + 1)
    rows = connection.execute(ordered).all()
    more = len(rows) > limit
    rows = rows[:limit]
    return Page(items=[show(row) for row in rows], next=str(getattr(rows[-1], key.key or "")) if more else None)
