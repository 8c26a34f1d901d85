"""Webhooks in the database: who wants to know what, and how far each has been told. Parts of transactions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from labctl.errors import NotFoundError
from labctl.store.identifiers import new_id
from labctl.store.tables import events, jobs, webhooks
from labctl.store.transaction import Transaction

# Deliveries that fail are tried again after so many seconds, then given up: about a day in all.
BACK_OFF_S = (1.0, 5.0, 30.0, 120.0, 600.0, 1800.0, 3600.0, 7200.0, 14400.0, 28800.0, 28800.0)
_CLAIM_S = 60.0
_OWN = "webhook."


@dataclass(frozen=True, slots=True)
class Delivery:
    """An event that a webhook is to be told of now. `key`: the same for every try."""

    webhook: str
    url: str
    secret: str
    attempt: int
    event: sa.Row[Any]

    @property
    def key(self) -> str:
        return f"{self.webhook}.{self.event.sequence}"


def add(
    transaction: Transaction, owner: str, url: str, secret: str, *, kinds: list[str], job: str | None = None
) -> str:
    """A webhook that is told of what happens from now on; returns its id."""
    webhook = new_id()
    now = transaction.execute(sa.select(sa.func.max(events.c.sequence))).scalar() or 0
    values = {"owner": owner, "url": url, "secret": secret, "kinds": kinds, "job_id": job, "cursor": now}
    counts = {"attempts": 0, "next_at": 0.0, "claimed_until": 0.0, "delivered": 0, "given_up": 0}
    transaction.execute(sa.insert(webhooks).values(id=webhook, created_at=transaction.now, **values, **counts))
    transaction.emit("webhook.added", job=job, webhook=webhook, owner=owner, kinds=kinds)
    return webhook


def remove(transaction: Transaction, webhook: str) -> None:
    """Tell nobody any more. Raises NotFoundError."""
    row = find(transaction.connection, webhook)
    transaction.execute(sa.delete(webhooks).where(webhooks.c.id == webhook))
    transaction.emit("webhook.removed", job=row.job_id, webhook=webhook)


def find(connection: sa.Connection, webhook: str) -> sa.Row[Any]:
    """The row of a webhook. Raises NotFoundError."""
    row = connection.execute(sa.select(webhooks).where(webhooks.c.id == webhook)).one_or_none()
    if row is None:
        raise NotFoundError(f"there is no webhook {webhook!r}; GET /api/v1/webhooks lists them")
    return row


def retry(transaction: Transaction, webhook: str) -> None:
    """Try what was not taken again now, instead of later. Raises NotFoundError."""
    find(transaction.connection, webhook)
    soon = sa.update(webhooks).where(webhooks.c.id == webhook).values(next_at=0.0)
    transaction.execute(soon)
    transaction.topics.add("events")


def one_more(connection: sa.Connection, webhook: str, event: int) -> Delivery:
    """An event to be sent to a webhook whatever became of it before. Raises NotFoundError."""
    row = find(connection, webhook)
    wanted = connection.execute(_matching(row).where(events.c.sequence == event)).one_or_none()
    if wanted is None:
        raise NotFoundError(f"event {event} is none that webhook {webhook!r} is told of")
    return Delivery(row.id, row.url, row.secret, 1, wanted)


def test_delivery(transaction: Transaction, webhook: str) -> Delivery:
    """An event of its own kind for one webhook alone. Raises NotFoundError."""
    row = find(transaction.connection, webhook)
    transaction.emit("webhook.test", webhook=webhook)
    latest = sa.select(events).order_by(events.c.sequence.desc()).limit(1)
    return Delivery(row.id, row.url, row.secret, 1, transaction.execute(latest).one())


def sent_again(transaction: Transaction, delivery: Delivery, error: str | None) -> None:
    """Note what became of a delivery that somebody asked for."""
    about = {"webhook": delivery.webhook, "event": delivery.event.sequence, "error": error}
    transaction.emit("webhook.sent_again", job=delivery.event.job_id, **about)


def deliveries(connection: sa.Connection, webhook: str, limit: int) -> list[dict[str, Any]]:
    """The newest events for a webhook, newest first, and what became of each: `state` is delivered, given_up, waiting,
    or retrying, then with `attempts`, `next_at` and `error`. Raises NotFoundError.
    """
    row = find(connection, webhook)
    since = _matching(row).where(events.c.time >= row.created_at)
    found = connection.execute(since.order_by(events.c.sequence.desc()).limit(limit)).all()
    if not found:
        return []
    own = events.c.kind.in_(("webhook.gave_up", "webhook.sent_again"))
    told = sa.select(events.c.kind, events.c.data).where(own, events.c.sequence > found[-1].sequence)
    lost: dict[int, str | None] = {}  # why each was given up, or None when it was sent again with success
    for each in connection.execute(told.order_by(events.c.sequence)):
        of_it = each.data["webhook"] == webhook
        if of_it and (each.kind == "webhook.gave_up" or each.data["event"] in lost):
            lost[each.data["event"]] = each.data["error"]
    shown = []
    head = min((each.sequence for each in found if each.sequence > row.cursor), default=None)
    for each in found:
        about = {"event": each.sequence, "kind": each.kind, "job": each.job_id, "time": each.time}
        state: dict[str, Any] = {"state": "delivered", "attempts": None, "next_at": None, "error": None}
        if each.sequence > row.cursor:
            state["state"] = "waiting"
            if each.sequence == head and row.attempts:
                state |= {"state": "retrying", "attempts": row.attempts, "error": row.last_error}
                state["next_at"] = row.next_at or None
        elif (error := lost.get(each.sequence)) is not None:
            state |= {"state": "given_up", "error": error}
        shown.append({**about, **state})
    return shown


def any_is_there(connection: sa.Connection) -> bool:
    """Whether anybody is to be told of anything."""
    return connection.execute(sa.select(webhooks.c.id).limit(1)).first() is not None


def due(connection: sa.Connection, now: float, scanned: dict[str, int]) -> tuple[list[str], float | None]:
    """The webhooks with something to deliver that nobody is delivering, and when to look again, if at a time.

    `scanned`: up to which event each is known to want nothing; is brought up to date.
    """
    found: list[str] = []
    later: list[float] = []
    for row in connection.execute(sa.select(webhooks).order_by(webhooks.c.id)).all():
        latest = connection.execute(sa.select(sa.func.max(events.c.sequence))).scalar() or 0
        after = max(row.cursor, scanned.get(row.id, 0))
        if latest <= after or connection.execute(_next_event(row, after).limit(1)).first() is None:
            scanned[row.id] = latest
            continue
        wait_until = max(row.next_at, row.claimed_until)
        if wait_until > now:
            later.append(wait_until)
        else:
            found.append(row.id)
    return found, min(later, default=None)


def claim(transaction: Transaction, webhook: str) -> Delivery | None:
    """Take it upon this daemon to deliver the next event; None when another one does, or there is none."""
    free = sa.and_(webhooks.c.id == webhook, webhooks.c.claimed_until <= transaction.now)
    row = transaction.execute(sa.select(webhooks).where(free, webhooks.c.next_at <= transaction.now)).one_or_none()
    if row is None:
        return None
    event = transaction.execute(_next_event(row, row.cursor).limit(1)).one_or_none()
    if event is None:
        return None
    taken = {"daemon": transaction.daemon, "claimed_until": transaction.now + _CLAIM_S}
    transaction.execute(sa.update(webhooks).where(free).values(**taken))
    return Delivery(row.id, row.url, row.secret, row.attempts + 1, event)


def settle(transaction: Transaction, delivery: Delivery, error: str | None) -> None:
    """Note that a delivery was taken, or not: then it is tried again later, or given up."""
    mine = sa.and_(webhooks.c.id == delivery.webhook, webhooks.c.daemon == transaction.daemon)
    row = transaction.execute(sa.select(webhooks).where(mine)).one_or_none()
    if row is None or row.cursor >= delivery.event.sequence:  # removed, or another daemon was faster
        return
    values: dict[str, Any] = {"daemon": None, "claimed_until": 0.0}
    if error is None:
        values |= {"cursor": delivery.event.sequence, "attempts": 0, "next_at": 0.0, "last_error": None}
        values["delivered"] = row.delivered + 1
    elif delivery.attempt <= len(BACK_OFF_S):
        values |= {"attempts": delivery.attempt, "last_error": error}
        values["next_at"] = transaction.now + BACK_OFF_S[delivery.attempt - 1]
    else:
        values |= {"cursor": delivery.event.sequence, "attempts": 0, "next_at": 0.0, "last_error": error}
        values["given_up"] = row.given_up + 1
        told = {"webhook": row.id, "event": delivery.event.sequence, "error": error}
        transaction.emit("webhook.gave_up", job=delivery.event.job_id, **told)
    transaction.execute(sa.update(webhooks).where(mine).values(**values))
    transaction.topics.add("events")  # somebody may wait for what comes next


def _next_event(row: sa.Row[Any], after: int) -> sa.Select[Any]:
    return _matching(row).where(events.c.sequence > after).order_by(events.c.sequence)


def _matching(row: sa.Row[Any]) -> sa.Select[Any]:
    """The events that a webhook wants."""
    wanted = [
        events.c.kind.startswith(kind[:-1], autoescape=True) if kind.endswith("*") else events.c.kind == kind
        for kind in row.kinds
    ]
    found = sa.select(events).where(sa.or_(*wanted), sa.not_(events.c.kind.startswith(_OWN)))
    if row.job_id is None:
        return found
    parts = sa.select(jobs.c.id).where(jobs.c.parent_id == row.job_id)
    return found.where(sa.or_(events.c.job_id == row.job_id, events.c.job_id.in_(parts)))
