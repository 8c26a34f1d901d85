"""Writes whose results nobody looks at: compiled once, gathered, and handed to the driver together.

SQLAlchemy's way from a statement to the driver takes longer than SQLite needs to carry it out; and on PostgreSQL all
that is gathered goes over in one round trip.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa

_encode = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


def write_json(value: Any) -> str:
    """JSON that PostgreSQL takes and every client reads: a number that is not finite becomes null."""
    try:
        return _encode(value)
    except ValueError:
        return _encode(_finite(value))


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {name: _finite(each) for name, each in value.items()}
    return [_finite(each) for each in value] if isinstance(value, list | tuple) else value


class Statement:
    """An insertion or update whose values are all named parameters, given with each row."""

    def __init__(self, statement: sa.Insert | sa.Update | sa.TextClause) -> None:
        self._statement = statement
        self._texts: dict[str, str] = {}
        parameters = statement.compile().binds.items()
        self._structured = tuple(name for name, each in parameters if isinstance(each.type, sa.JSON))

    def text(self, dialect: sa.Dialect) -> str:
        """The statement as the driver of that dialect takes it."""
        text = self._texts.get(dialect.name)
        if text is None:
            text = self._texts[dialect.name] = str(self._statement.compile(dialect=dialect))
        return text

    def values(self, row: Mapping[str, Any]) -> Mapping[str, Any]:
        """The values of a row as drivers take them."""
        if not self._structured:
            return row
        return {**row, **{name: write_json(row[name]) for name in self._structured}}


def insertion(table: sa.Table, *generated: str) -> Statement:
    """An insertion of whole rows, without the columns that the database fills in."""
    names = [column.name for column in table.columns if column.name not in generated]
    return Statement(sa.insert(table).values({name: sa.bindparam(name) for name in names}).inline())


class Outbox:
    """What one transaction is still going to write, in order. `dialect`: as the backend's driver takes statements."""

    def __init__(self, dialect: sa.Dialect) -> None:
        self._dialect = dialect
        self._gathered: list[tuple[str, Mapping[str, Any] | None]] = []
        self.sent = 0  # so many left already

    def put(self, statement: Statement, row: Mapping[str, Any]) -> None:
        """Write this row at the latest before anything is read, and before the commit."""
        self._gathered.append((statement.text(self._dialect), statement.values(row)))

    def say(self, text: str, values: Mapping[str, Any] | None = None) -> None:
        """As `put`, of a statement in the words of the database in use."""
        self._gathered.append((text, values))

    def mark(self) -> int:
        """A place to go back to."""
        return self.sent + len(self._gathered)

    def drop(self, mark: int) -> bool:
        """Forget what came after the mark; False when some of that left already."""
        kept = mark - self.sent
        del self._gathered[max(kept, 0) :]
        return kept >= 0

    def take(self) -> Sequence[tuple[str, Mapping[str, Any] | None]]:
        """What is to be sent now."""
        gathered, self._gathered = self._gathered, []
        self.sent += len(gathered)
        return gathered


@contextmanager
def driver(
    connection: sa.Connection, lost: Callable[[Any, Exception], bool] = lambda _raw, _error: False
) -> Iterator[Any]:
    """The driver's own connection; its errors are raised as SQLAlchemy's, as from any other statement.

    `lost`: whether the connection is of no more use after an error, though SQLAlchemy does not know that.
    """
    dialect = connection.dialect
    raw = connection.connection.driver_connection
    try:
        yield raw
    except dialect.loaded_dbapi.Error as exc:
        gone = dialect.is_disconnect(exc, raw, None) or lost(raw, exc)
        error = sa.exc.DBAPIError.instance(
            "(several)", None, exc, dialect.loaded_dbapi.Error, connection_invalidated=gone, dialect=dialect
        )
        if gone:
            connection.invalidate(exc)
        raise error from exc
