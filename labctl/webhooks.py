"""Tells other servers of events over HTTP: in order, signed, tried again until taken, across restarts.

Deliveries follow the Standard Webhooks specification (standardwebhooks.com): `webhook-id` is the same for every try,
`webhook-signature` is HMAC-SHA256 over id, time and body, so that any of its libraries can check them.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import secrets
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
import structlog

from labctl.errors import LabError
from labctl.store import Store
from labctl.store import webhooks as rows
from labctl.store.webhooks import Delivery

log = structlog.get_logger(__name__)
PREFIX = "whsec_"
_AT_A_TIME = 4
_TIMEOUT_S = 10.0
_REVIEW_S = 30.0
_AGAIN_S = 1.0


def new_secret() -> str:
    """A secret in the form of the specification: 256 random bits."""
    return PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def key_of(secret: str) -> bytes:
    """The bytes of a secret. Raises ValueError for one that is not of the form, or shorter than 24 bytes."""
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(f"a secret is {PREFIX} and base64") from None
    if not secret.startswith(PREFIX) or not 24 <= len(key) <= 64:
        raise ValueError(f"a secret is {PREFIX} and 24 to 64 bytes in base64")
    return key


def sign(secret: str, key: str, timestamp: int, body: bytes) -> str:
    """The `webhook-signature` of a delivery."""
    signed = b".".join((key.encode(), str(timestamp).encode(), body))
    return "v1," + base64.b64encode(hmac.new(key_of(secret), signed, hashlib.sha256).digest()).decode()


class Webhooks:
    """Delivers. Each webhook gets one event at a time; a slow one keeps no other waiting until four are slow."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._pool = ThreadPoolExecutor(_AT_A_TIME, thread_name_prefix="webhook")
        self._busy: set[str] = set()
        self._lock = threading.Lock()
        self._scanned: dict[str, int] = {}
        self._topics: tuple[str, ...] = ()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="webhooks", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Finish what is being delivered; the rest is delivered after the next start."""
        self._stopping.set()
        self._store.bell.ring()
        if self._thread.is_alive():
            self._thread.join()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _watch(self) -> None:
        while not self._stopping.is_set():
            seen = self._store.bell.rings
            try:
                wait_s = self._begin_what_is_due()
            except (LabError, sa.exc.SQLAlchemyError) as exc:
                log.warning("could not look for webhooks", error=str(exc).strip())
                wait_s = _AGAIN_S
            if not self._stopping.is_set():
                self._store.bell.wait(seen, wait_s, self._topics)

    def _begin_what_is_due(self) -> float:
        """Start deliveries; how long to wait when nothing happens."""
        with self._store.read() as connection:
            now = self._store.time(connection)
            due, later = rows.due(connection, now, self._scanned)
            # As long as there is no webhook, only the first one is news.
            self._topics = () if rows.any_is_there(connection) else ("webhook",)
        for webhook in due:
            with self._lock:
                if webhook in self._busy:
                    continue
                self._busy.add(webhook)
            self._pool.submit(self._deliver_all, webhook)
        return _REVIEW_S if later is None else max(0.01, min(_REVIEW_S, later - now))

    def _deliver_all(self, webhook: str) -> None:
        """Deliver one event after the other until one is not taken, or none is left."""
        try:
            while not self._stopping.is_set():
                delivery = self._store.write(lambda transaction: rows.claim(transaction, webhook))
                if delivery is None:
                    return
                error = deliver(delivery)
                self._store.write(lambda transaction: rows.settle(transaction, delivery, error))  # noqa: B023  # at once
                if error is not None:
                    log.info("webhook not taken", webhook=webhook, attempt=delivery.attempt, error=error)
                    return
        except (LabError, sa.exc.SQLAlchemyError) as exc:
            log.warning("a webhook could not be delivered now", webhook=webhook, error=str(exc).strip())
            self._stopping.wait(_AGAIN_S)  # a full disk can be read from: the same would be found due at once
        finally:
            with self._lock:
                self._busy.discard(webhook)
            self._store.bell.ring()  # what came while this one was busy


def deliver(delivery: Delivery) -> str | None:
    """Post an event once; None when it was taken, else in a few words why not."""
    body = json.dumps(_document(delivery.event), separators=(",", ":")).encode()
    timestamp = int(time.time())
    headers = {
        "content-type": "application/json",
        "user-agent": "labctl",
        "webhook-id": delivery.key,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": sign(delivery.secret, delivery.key, timestamp, body),
    }
    return _post(delivery.url, body, headers)


def _post(url: str, body: bytes, headers: dict[str, str]) -> str | None:
    """What went wrong, if anything; never the address, which may hold a secret."""
    import httpx  # noqa: PLC0415 - takes long to import, and a lab without webhooks does not need it

    try:
        # What is said beside the status is of no interest, and may have no end.
        with httpx.stream(
            "POST", url, content=body, headers=headers, timeout=_TIMEOUT_S, follow_redirects=False
        ) as answer:
            return None if answer.is_success else f"answered {answer.status_code}"
    except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as exc:
        return f"no answer ({type(exc).__name__})"


def _document(event: sa.Row[Any]) -> dict[str, Any]:
    when = datetime.fromtimestamp(event.time, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    about = {"device": event.device, "lease": event.lease_id, "job": event.job_id, "run": event.run_id}
    return {"type": event.kind, "timestamp": when, "data": {"sequence": event.sequence, **about, **event.data}}
