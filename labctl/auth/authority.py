"""The daemon's authority: who a request is from, what they may do by its policies, and what is written down."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from labctl.auth.audit import AuditWriter
from labctl.auth.documents import Policies, read_policies
from labctl.auth.evaluation import Evaluator
from labctl.auth.explaining import Explanation, explain
from labctl.auth.keyring import Keyring, KnownToken
from labctl.auth.principals import EMERGENCY_STOP, LOCAL_ADMINISTRATOR, Decision, Principal, Resource
from labctl.auth.tokens import Token, without_tokens
from labctl.errors import LabError, NotAuthenticatedError, UnavailableError
from labctl.requests import current_request
from labctl.store import Store, access
from labctl.store.auditing import AuditEntry

# Wrong tokens from one address are written down once in this time.
_REFUSALS_EVERY_S = 60.0
_MOST_ADDRESSES = 1000
_ASKED_FOR_S = 5.0
_NO_LABELS: Mapping[str, str] = {}


class NoTokenError(Exception):
    """The daemon would be reached by others than this machine's users, and the lab has issued no token."""


class Authority:
    """Decides for all requests of one daemon. Thread-safe; see `labctl.auth.principals.Judge`.

    `labels_of`: the labels of the device of a name, None when there is none. `trust_loopback`: whether whoever reaches
    the daemon is its local administrator as long as the lab has no tokens.
    """

    def __init__(
        self,
        store: Store,
        *,
        policies: tuple[Path, ...] = (),
        labels_of: Callable[[str], Mapping[str, str] | None] = lambda _name: None,
        trust_loopback: bool = True,
    ) -> None:
        self.keyring = Keyring(store)
        self._store = store
        self._paths = policies
        self._labels_of = labels_of
        self._trust_loopback = trust_loopback
        self._local = replace(LOCAL_ADMINISTRATOR, judge=self)
        self._principals: dict[KnownToken, Principal] = {}
        self._refused: dict[str, float] = {}
        self._loading = threading.Lock()
        self._asking = ThreadPoolExecutor(max_workers=1, thread_name_prefix="tokens")
        self._evaluator = Evaluator(Policies())
        if not trust_loopback and self.keyring.all_revoked:
            raise NoTokenError(
                "the lab has no token, so nobody could get in, or everybody: make one here with "
                "`labctl tokens create NAME --administrator --data DIR`"
            )
        self.audit = AuditWriter(store)
        try:
            self.reload()
        except BaseException:
            self.audit.close()
            raise
        self.keyring.start()

    def close(self) -> None:
        """Write everything down."""
        self._asking.shutdown(wait=False, cancel_futures=True)
        self.keyring.stop()
        self.audit.close()

    @property
    def policies(self) -> Policies:
        """Those in force."""
        return self._evaluator.policies

    @property
    def trusts_loopback(self) -> bool:
        """Whether a request without a token is the local administrator's."""
        return self._trust_loopback and not self.keyring.asked_for

    def reload(self) -> Policies:
        """Read the policy files again. Raises `drivers.documents.DocumentError`, and then the old ones stay in
        force.
        """
        with self._loading:
            policies = read_policies(self._paths)
            if policies.version:
                sources = [{"name": each.name, "text": each.text} for each in policies.sources]
                self._store.write(lambda transaction: access.keep_policies(transaction, policies.version, sources))
            self._evaluator = Evaluator(policies)
            return policies

    # Who asks

    async def find_out(self, token: str | None) -> Principal:
        """As `identify`, after asking the database for a token that nobody has told of yet.

        Raises UnavailableError where it does not answer. That is waited for in a thread: an emergency stop in the same
        loop needs no database.
        """
        parsed = None if token is None else Token.parse(token)
        if parsed is not None and self.keyring.may_be_new(parsed):
            loop = asyncio.get_running_loop()
            try:
                await asyncio.wait_for(loop.run_in_executor(self._asking, self.keyring.ask), _ASKED_FOR_S)
            except (TimeoutError, SQLAlchemyError, LabError):
                raise UnavailableError(
                    f"the database does not answer, and without it nobody knows token {parsed.id} here; try again"
                ) from None
        return self.identify(token)

    def identify(self, token: str | None) -> Principal:
        """The principal of a request, by the token it brought, as far as is known here. Raises
        NotAuthenticatedError."""
        if token is None:
            if self.trusts_loopback:
                return self._local
            raise NotAuthenticatedError(
                "this lab asks for a token: `labctl login`, LABCTL_TOKEN, or http://user:TOKEN@host/ where no header "
                "can be set; an administrator makes one with `labctl tokens create`"
            )
        parsed = Token.parse(token)
        known = None if parsed is None else self.keyring.find(parsed)
        now = time.time()
        if known is None or not known.works(now):
            self._note_refusal(now, parsed)
            raise NotAuthenticatedError(_why_not(parsed, known))
        self.keyring.used(known, now)
        principal = self._principals.get(known)
        if principal is None:
            principal = Principal(known.principal, known.kind, known.administrator, known.id, self)
            self._principals[known] = principal
        return principal

    def stands(self, principal: Principal) -> bool:
        """Whether the token that a principal showed still works: for streams, which outlast their request."""
        return principal.token is None or self.keyring.works(principal.token, time.time())

    # What they may

    def decide(self, principal: Principal, action: str, resource: Resource, /) -> Decision:
        """Whether `principal` may."""
        return self._evaluator.decide(principal, action, self._labelled(resource), time.time())

    def decide_list(self, principal: Principal, action: str, kind: str, /) -> Decision:
        """Whether `principal` may do `action` to some resource of `kind`."""
        return self._evaluator.decide_list(principal, action, kind, time.time())

    def explain(self, principal: Principal, action: str, resource: Resource, now: float | None = None) -> Explanation:
        """Why."""
        at = time.time() if now is None else now
        return explain(self.policies, principal, action, self._labelled(resource), at)

    def named(self, name: str) -> Principal:
        """The principal "person:anna" or "anna", an administrator if one of its tokens is; for questions."""
        kind, colon, rest = name.partition(":")
        bare = rest if colon else name
        now = time.time()
        tokens = [each for each in self.keyring.of(bare) if each.works(now)]
        if bare == LOCAL_ADMINISTRATOR.name and not tokens and self.trusts_loopback:
            return self._local
        administrator = any(each.administrator for each in tokens)
        return Principal(bare, tokens[0].kind if tokens else kind if colon else "person", administrator, judge=self)

    # What is written down

    def record(self, principal: Principal, action: str, resource: Resource, decision: Decision, /) -> None:
        """Put a decision into the audit log."""
        request = current_request()
        entry = AuditEntry(
            principal=str(principal),
            token=principal.token,
            action=action,
            resource=without_tokens(str(resource))[:500],
            allowed=decision.allowed,
            statement=decision.statement,
            policies=decision.version,
            request=request.id,
            address=request.address,
        )
        self.audit.add(entry, must=action == EMERGENCY_STOP)

    def _note_refusal(self, now: float, token: Token | None) -> None:
        request = current_request()
        last = self._refused.get(request.address)
        if last is not None and now - last < _REFUSALS_EVERY_S:
            return
        if len(self._refused) >= _MOST_ADDRESSES:
            self._refused.clear()
        self._refused[request.address] = now
        shown = token.id if token is not None else None
        statement = "no such token, or none in force (once a minute for each address)"
        entry = AuditEntry(
            "unknown:", shown, "authenticate", "daemon:", False, statement, "", request.id, request.address
        )
        self.audit.add(entry, must=True)

    def _labelled(self, resource: Resource) -> Resource:
        if resource.labels is not None:
            return resource
        return replace(resource, labels=self._labels_of(resource.name) or _NO_LABELS)


def _why_not(token: Token | None, known: KnownToken | None) -> str:
    if token is None:
        return "that is no token: it begins with labctl_ and is 69 characters long; was it copied as a whole?"
    if known is None:
        return f"the lab does not know token {token.id}"
    if known.revoked:
        return f"token {known.id} of {known.principal} was revoked: ask an administrator for another"
    return f"token {known.id} of {known.principal} has expired: rotate it in time, or ask for another"
