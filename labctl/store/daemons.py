"""The daemons that form the lab: each signs in, is heard of every few seconds, and is gone when it is not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from labctl import __version__
from labctl.errors import ConflictError
from labctl.store.tables import daemons
from labctl.store.transaction import Transaction

HEARTBEAT_S = 5.0
# A daemon that was not heard of for so long is gone: its devices are offline, another may take them over.
GONE_AFTER_S = 15.0


class ArtifactsError(ConflictError):
    """The daemons of a lab must keep their artifacts where all of them reach them."""

    title = "Artifacts out of reach"


class SupersededError(Exception):
    """Another process has signed in as this daemon: its data folder was copied."""


@dataclass(frozen=True, slots=True)
class DaemonRow:
    """A daemon of the lab. `url`: where its API answers, unless it is for itself. `expires_at`: when it is gone, unless
    it is heard of before.
    """

    id: str
    name: str
    url: str | None
    artifacts: str | None
    version: str
    alive: bool
    started_at: float
    seen_at: float
    expires_at: float


def sign_in(transaction: Transaction, name: str, url: str | None, artifacts: str | None = None) -> int:
    """Be one of the lab's daemons from now on; returns the number of this start, larger than any before.

    `artifacts`: the URL of where this daemon keeps them, unless in its data folder. Raises ArtifactsError when another
    living daemon keeps them elsewhere.
    """
    for other in everyone(transaction.connection, transaction.now).values():
        if other.alive and other.id != transaction.daemon and (artifacts is None or other.artifacts != artifacts):
            here, there = (each or "its data folder" for each in (artifacts, other.artifacts))
            raise ArtifactsError(
                f"this daemon would keep artifacts in {here}, while {other.name} ({other.url or other.id}) keeps them "
                f"in {there}: give all lab files of this lab the same URL, such as artifacts: s3://bucket/lab"
            )
    epoch = transaction.count_up("daemon-epoch")
    row: dict[str, Any] = {"name": name, "url": url, "artifacts": artifacts, "version": __version__, "epoch": epoch}
    row |= {"started_at": transaction.now, "seen_at": transaction.now, "expires_at": transaction.now + GONE_AFTER_S}
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
    alive = row.expires_at > now
    times = {"started_at": row.started_at, "seen_at": row.seen_at, "expires_at": row.expires_at}
    return DaemonRow(row.id, row.name, row.url, row.artifacts, row.version, alive, **times)
