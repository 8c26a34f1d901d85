"""Webhooks over HTTP: who is told of which events."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import urlsplit

import sqlalchemy as sa
from fastapi import APIRouter, Path, Query, Response
from pydantic import AfterValidator, Field

from labctl.api.common import Asker, Body, Cursor, Limit, Page, TheDaemon, iso, page
from labctl.auth import Principal, Resource, authorise, authorise_list, may
from labctl.daemon import Daemon
from labctl.store import Transaction, submitting
from labctl.store import webhooks as rows
from labctl.store.tables import webhooks
from labctl.webhooks import deliver, key_of, new_secret

router = APIRouter(prefix="/api/v1/webhooks", tags=["webhooks"])


def _address(url: str) -> str:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or not url.isascii() or not url.isprintable() or " " in url:
        raise ValueError("must be an http:// or https:// address")
    return url


def _secret(secret: str) -> str:
    key_of(secret)
    return secret


Kind = Annotated[str, Field(pattern=r"^([a-z_]+\.[a-z_]+|[a-z_]+\.\*|\*)$")]


class WebhookRequest(Body):
    """`kinds` of events, such as "job.finished", "run.*" or "*". `job`: only those of one job.

    `secret`: signs what is sent; made unless given, and shown only in the answer to this.
    """

    url: Annotated[str, Field(max_length=2000), AfterValidator(_address)]
    kinds: Annotated[list[Kind], Field(min_length=1, max_length=50, default=["job.finished"])]
    job: Annotated[str, Field(pattern=r"^[0-9a-f]{1,40}$")] | None = None
    secret: Annotated[str, Field(max_length=200), AfterValidator(_secret)] | None = None


@router.post("", status_code=201)
def add_webhook(wanted: WebhookRequest, daemon: TheDaemon, asker: Asker) -> dict[str, Any]:
    """Be told of events from now on: a POST for each, in order, tried again until it is answered with 2xx.

    Each is signed as the Standard Webhooks specification says, whose libraries check it.
    """
    authorise(asker, "webhooks.create", Resource("webhook"))
    secret = wanted.secret or new_secret()
    owner = asker.name

    def work(transaction: Transaction) -> str:
        if wanted.job is not None:
            submitting.find(transaction, wanted.job)
        return rows.add(transaction, owner, wanted.url, secret, kinds=wanted.kinds, job=wanted.job)

    webhook = daemon.store.write(work)
    with daemon.store.read() as connection:
        return {**_show(rows.find(connection, webhook)), "secret": secret}


@router.get("")
def list_webhooks(daemon: TheDaemon, asker: Asker, limit: Limit = 100, cursor: Cursor = None) -> Page:
    """Webhooks, newest first; their secrets are not shown."""
    authorise_list(asker, "webhooks.read", "webhook")
    with daemon.store.read() as connection:
        return page(
            connection,
            sa.select(webhooks),
            webhooks.c.id,
            _show,
            limit=limit,
            cursor=cursor,
            visible=lambda row: may(asker, "webhooks.read", Resource("webhook", row.id, row.owner)),
        )


@router.get("/{webhook}")
def show_webhook(webhook: str, daemon: TheDaemon, asker: Asker) -> dict[str, Any]:
    """One webhook: how many events it was told of, and what went wrong last."""
    _allow(daemon, asker, "webhooks.read", webhook)
    with daemon.store.read() as connection:
        return _show(rows.find(connection, webhook))


@router.delete("/{webhook}", status_code=204)
def remove_webhook(webhook: str, daemon: TheDaemon, asker: Asker) -> Response:
    """Tell it nothing any more."""
    _allow(daemon, asker, "webhooks.delete", webhook)
    daemon.store.write(lambda transaction: rows.remove(transaction, webhook))
    return Response(status_code=204)


@router.get("/{webhook}/deliveries")
def list_deliveries(
    webhook: str, daemon: TheDaemon, asker: Asker, limit: Annotated[int, Query(ge=1, le=1000)] = 50
) -> Page:
    """The newest events for a webhook and what became of each: delivered, given_up, waiting, or retrying."""
    _allow(daemon, asker, "webhooks.read", webhook)
    with daemon.store.read() as connection:
        found = rows.deliveries(connection, webhook, limit)
    return Page(
        items=[{**each, "time": iso(each["time"]), "next_at": iso(each["next_at"])} for each in found], next=None
    )


@router.post("/{webhook}/deliveries/{event}")
def send_again(
    webhook: str, event: Annotated[int, Path(ge=1, le=2**62)], daemon: TheDaemon, asker: Asker
) -> dict[str, Any]:
    """Send one event now, also one that was given up or taken; `delivered` says whether it was answered with 2xx.

    Its `webhook-id` is the same as before, so that who has it already may leave it at that.
    """
    _allow(daemon, asker, "webhooks.deliver", webhook)
    with daemon.store.read() as connection:
        delivery = rows.one_more(connection, webhook, event)
    error = deliver(delivery)
    daemon.store.write(lambda transaction: rows.sent_again(transaction, delivery, error))
    return {"event": event, "delivered": error is None, "error": error}


@router.post("/{webhook}/test")
def test_webhook(webhook: str, daemon: TheDaemon, asker: Asker) -> dict[str, Any]:
    """Send it an event of the kind webhook.test now; `delivered` says whether that was answered with 2xx."""
    _allow(daemon, asker, "webhooks.deliver", webhook)
    delivery = daemon.store.write(lambda transaction: rows.test_delivery(transaction, webhook))
    error = deliver(delivery)
    return {"event": delivery.event.sequence, "delivered": error is None, "error": error}


@router.post("/{webhook}/retry")
def retry_webhook(webhook: str, daemon: TheDaemon, asker: Asker) -> dict[str, Any]:
    """Try what was not taken again at once, instead of at `next_at`."""
    _allow(daemon, asker, "webhooks.deliver", webhook)
    daemon.store.write(lambda transaction: rows.retry(transaction, webhook))
    with daemon.store.read() as connection:
        return _show(rows.find(connection, webhook))


def _allow(daemon: Daemon, asker: Principal, action: str, webhook: str) -> None:
    authorise_list(asker, action, "webhook")
    with daemon.store.read() as connection:
        owner = rows.find(connection, webhook).owner
    authorise(asker, action, Resource("webhook", webhook, owner))


def _show(row: sa.Row[Any]) -> dict[str, Any]:
    names = ("id", "owner", "url", "kinds", "attempts", "delivered", "given_up", "last_error")
    shown = {name: getattr(row, name) for name in names}
    return {**shown, "job": row.job_id, "next_at": iso(row.next_at or None), "created_at": iso(row.created_at)}
