"""The lab's tokens in memory: a request is told from its token without a look into the database.

Changes made here count at once; those of other daemons within a fraction of a second, since each leaves an event.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

import sqlalchemy as sa
import structlog

from labctl.auth.tokens import Token
from labctl.store import Store, access
from labctl.store.tables import events

log = structlog.get_logger(__name__)
_EVENTS = ("token.issued", "token.rotated", "token.revoked")
_AT_MOST_EVERY_S = 0.2
_ASK_AT_MOST_EVERY_S = 0.05
_NOTE_USE_EVERY_S = 60.0


@dataclass(frozen=True, slots=True)
class KnownToken:
    """What is kept of a token. `expires_at`: seconds since 1970."""

    id: str
    hash: str
    principal: str
    kind: str
    administrator: bool
    expires_at: float | None
    revoked: bool

    def works(self, now: float) -> bool:
        """Whether it is good for a request at `now`."""
        return not self.revoked and (self.expires_at is None or now < self.expires_at)


class Keyring:
    """All tokens of the lab. Thread-safe."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[str, KnownToken] = {}
        self._seen = 0
        self._asked = 0.0
        self._used: dict[str, float] = {}
        self._reading = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="keyring", daemon=True)
        self.read()

    @property
    def asked_for(self) -> bool:
        """Whether requests need a token: from the first that was issued on, also after the last was revoked. A token
        is revoked because it leaked, which must not open the lab.
        """
        return bool(self._known)

    @property
    def all_revoked(self) -> bool:
        """Whether nobody has a token, be it that none was issued yet."""
        return all(each.revoked for each in self._known.values())

    def start(self) -> None:
        """Begin to follow what other daemons change."""
        self._thread.start()

    def stop(self) -> None:
        """Write down when tokens were last used, and let go."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()
        self._note_use()

    def read(self) -> None:
        """Take over all tokens from the database."""
        with self._reading, self._store.read() as connection:
            self._seen = connection.execute(sa.select(sa.func.max(events.c.sequence))).scalar() or 0
            rows = connection.execute(access.with_principals()).all()
            self._known = {
                row.id: KnownToken(
                    row.id,
                    row.hash,
                    row.principal,
                    row.kind,
                    row.administrator,
                    row.expires_at,
                    row.revoked_at is not None,
                )
                for row in rows
            }

    def find(self, token: Token) -> KnownToken | None:
        """The token if this is one of the lab's, in force or not, as far as it has been heard of here."""
        known = self._known.get(token.id)
        return known if known is not None and token.matches(known.hash) else None

    def may_be_new(self, token: Token) -> bool:
        """Whether it has to be asked for: another daemon may have issued it just now."""
        return token.id not in self._known

    def ask(self) -> None:
        """Ask the database for tokens that are new; at most twenty times a second, whoever tries tokens."""
        if time.monotonic() - self._asked > _ASK_AT_MOST_EVERY_S:
            self._asked = time.monotonic()
            self.read()

    def works(self, token: str, now: float) -> bool:
        """Whether the token of that id is in force."""
        known = self._known.get(token)
        return known is not None and known.works(now)

    def of(self, principal: str) -> list[KnownToken]:
        """All tokens of a principal."""
        return [each for each in self._known.values() if each.principal == principal]

    def used(self, token: KnownToken, now: float) -> None:
        """Remember that it was used; written to the database once a minute."""
        self._used[token.id] = now

    def _follow(self) -> None:
        seen, noted = self._store.bell.rings, time.monotonic()
        while not self._stopping.wait(_AT_MOST_EVERY_S):
            try:
                rings = self._store.bell.wait(seen, 1.0)
                if rings != seen:
                    seen = rings
                    self._read_if_changed()
                if time.monotonic() - noted > _NOTE_USE_EVERY_S:
                    noted = time.monotonic()
                    self._note_use()
            except Exception:
                log.exception("cannot read the tokens; it is tried again")
                self._stopping.wait(1.0)

    def _read_if_changed(self) -> None:
        newer = sa.select(sa.func.max(events.c.sequence)).where(events.c.sequence > self._seen)
        with self._store.read() as connection:
            newest = connection.execute(newer).scalar()
            changed = connection.execute(newer.where(events.c.kind.in_(_EVENTS))).scalar()
        if changed is not None:
            self.read()
        elif newest is not None:
            self._seen = newest

    def _note_use(self) -> None:
        used, self._used = self._used, {}
        if used:
            self._store.write(lambda transaction: access.note_use(transaction, used))
