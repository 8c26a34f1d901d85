"""What the routes share: the daemon, the principal, times, pages."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any

import sqlalchemy as sa
from fastapi import Depends, Query, Request
from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict
from starlette.requests import HTTPConnection
from starlette.types import Scope

from labctl.auth import Principal
from labctl.daemon import Daemon
from labctl.errors import TooLargeError


# Both are coroutines, though they wait for nothing: FastAPI would hand functions over to a thread.
async def _daemon(request: Request) -> Daemon:
    daemon: Daemon = request.app.state.daemon
    return daemon


def principal_of(scope: Scope) -> Principal:
    """Who asks: found out by `labctl.api.identity` before anything else saw the request. For raw ASGI applications;
    routes take `Asker`.
    """
    principal: Principal = scope["principal"]
    return principal


async def _principal(connection: HTTPConnection) -> Principal:
    return principal_of(connection.scope)


TheDaemon = Annotated[Daemon, Depends(_daemon)]
Asker = Annotated[Principal, Depends(_principal)]
Limit = Annotated[int, Query(ge=1, le=1000, description="at most so many items")]
Cursor = Annotated[str | None, Query(max_length=100, description="`next` of the page before")]


async def body_of(request: Request, largest: int, told: str) -> bytes:
    """A body of at most `largest` bytes, no more of which is kept. Raises TooLargeError, saying `told`."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > largest:
            raise TooLargeError(told)
    return bytes(body)


class Body(BaseModel):
    """A request's body: unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class Page(BaseModel):
    """One page of a list; ask again with `cursor` set to `next` for more."""

    items: list[dict[str, Any]]
    next: str | None


def _writable(moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("is no time that can be written in UTC: its year there is not 1 to 9999") from None


Moment = Annotated[AwareDatetime, AfterValidator(_writable)]


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
    cursor: str | int | None,
    newest_first: bool = True,
    visible: Callable[[sa.Row[Any]], bool] | None = None,
) -> Page:
    """A page of `statement`, ordered by `key`, from beyond `cursor` on, without the rows that are not `visible`."""
    statement = statement.order_by(key.desc() if newest_first else key).limit(limit + 1)
    found: list[sa.Row[Any]] = []
    while True:
        beyond = () if cursor is None else (key < cursor if newest_first else key > cursor,)
        rows = connection.execute(statement.where(*beyond)).all()
        found += rows if visible is None else filter(visible, rows)
        if len(rows) <= limit or len(found) > limit:
            break
        cursor = str(getattr(rows[-1], key.key or ""))
    more = len(found) > limit
    found = found[:limit]
    return Page(items=[show(row) for row in found], next=str(getattr(found[-1], key.key or "")) if more else None)
