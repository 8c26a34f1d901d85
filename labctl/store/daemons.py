"""The daemons that form the lab: each signs in, is heard of every few seconds, and is gone when it is not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from labctl import __version__
from labctl.store.tables import daemons
from labctl.store.transaction import Transaction

HEARTBEAT_S = 5.0
# A daemon that was not heard of for so long is gone: its devices are offline, another may take them over.
GONE_AFTER_S = 15.0


class SupersededError(Exception):
    """Another process has signed in as this daemon: its data folder was copied."""


@dataclass(frozen=True, slots=True)
class DaemonRow:
    """A daemon of the lab. `url`: where its API answers, unless it is for itself."""

    id: str
    name: str
    url: str | None
    version: str
    alive: bool
    started_at: float
    seen_at: float


def sign_in(transaction: Transaction, name: str, url: str | None) -> int:
    """Be one of the lab's daemons from now on; returns the number of this start, larger than any before."""
    epoch = transaction.count_up("daemon-epoch")
    row = {"name": name, "url": url, "version": __version__, "epoch": epoch, "started_at": transaction.now}
    row |= {"seen_at": transaction.now, "expires_at": transaction.now + GONE_AFTER_S}
    mine = daemons.c.id == transaction.daemon
    if not transaction.execute(sa.update(daemons).where(mine).values(**row)).rowcount:
        transaction.execute(sa.insert(daemons).values(id=transaction.daemon, **row))
    transaction.emit("daemon.started", daemon=transaction.daemon, name=name, url=url, version=__version__)
    transaction.topics.add("leases")
    return epoch


def beat(transaction: Transaction, epoch: int) -> bool:
    """Say that this daemon lives; False when it had been taken for gone, so that its devices must be looked at anew.

    Raises SupersededError.
    """
    mine = daemons.c.id == transaction.daemon
    row = transaction.execute(sa.select(daemons).where(mine)).one_or_none()
    if row is None or row.epoch != epoch:
        raise SupersededError("another process has signed in as this daemon: its data folder was copied")
    seen = {"seen_at": transaction.now, "expires_at": transaction.now + GONE_AFTER_S}
    transaction.execute(sa.update(daemons).where(mine).values(**seen))
    return bool(row.expires_at > transaction.now)


def sign_off(transaction: Transaction, epoch: int) -> None:
    """Be gone from now on, in order."""
    mine = sa.and_(daemons.c.id == transaction.daemon, daemons.c.epoch == epoch)
    if transaction.execute(sa.update(daemons).where(mine).values(expires_at=transaction.now)).rowcount:
        transaction.emit("daemon.ended", daemon=transaction.daemon)
        transaction.topics.add("leases")


def everyone(connection: sa.Connection, now: float) -> dict[str, DaemonRow]:
    """All daemons there ever were, by id."""
    return {row.id: _daemon(row, now) for row in connection.execute(sa.select(daemons).order_by(daemons.c.id))}


def _daemon(row: sa.Row[Any], now: float) -> DaemonRow:
    return DaemonRow(row.id, row.name, row.url, row.version, row.expires_at > now, row.started_at, row.seen_at)
