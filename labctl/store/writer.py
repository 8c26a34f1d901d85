"""The thread that writes: one transaction after the other, those that came meanwhile committed together.

A function that fails is undone alone. When the database goes away, what was not committed is run again once it is back;
of a commit whose answer was lost the database is asked whether it took place.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Collection
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, TypeVar

import sqlalchemy as sa
import structlog

from labctl.store.backend import Backend
from labctl.store.memory import Memory
from labctl.store.outbox import Outbox, Statement
from labctl.store.transaction import Transaction, Turn

log = structlog.get_logger(__name__)
Result = TypeVar("Result")
_TOGETHER = 64  # so many works share a commit at most
_ALONG_S = 0.1
_RECONNECT_S = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0)


@dataclass(slots=True)
class _Work:
    run: Callable[[Transaction], Any]
    future: Future[Any]
    along: bool
    queued_at: float = field(default_factory=time.monotonic)


@dataclass(slots=True)
class _Done:
    """How a work ended inside a transaction that is not committed yet."""

    result: Any = None
    error: BaseException | None = None
    topics: frozenset[str] = frozenset()


class _LostError(Exception):
    """The connection is gone. `token`: of a transaction whose commit had begun."""

    def __init__(self, cause: Exception, token: int | None = None, done: list[_Done] | None = None) -> None:
        super().__init__(str(cause))
        self.cause = cause
        self.token = token
        self.done = done


class Writer:
    """Runs what is put in, in that order. `committed` is called in its thread with the topics of each commit.

    `patience_s`: how long a work waits for a database that does not answer, before its future ends with the error.
    """

    def __init__(
        self, backend: Backend, daemon: str, committed: Callable[[Collection[str]], None], patience_s: float
    ) -> None:
        self._backend = backend
        self._daemon = daemon
        self.memory = Memory()
        self._committed = committed
        self._patience_s = patience_s
        self._engine = backend.writing_engine()
        self._connection: sa.Connection | None = None
        self._work: queue.SimpleQueue[_Work | None] = queue.SimpleQueue()
        self._closing = False
        self.session: int | None = None  # of the database's side, where it has such numbers
        self._thread = threading.Thread(target=self._run, name="store-writer", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def put(self, work: Callable[[Transaction], Result], *, along: bool = False) -> Future[Result]:
        """Queue a work; the future ends once it is durable, or with the exception that undid it.

        `along`: it may wait a little for others, to share their commit.
        """
        future: Future[Result] = Future()
        self._work.put(_Work(work, future, along))
        return future

    def stop(self) -> None:
        """Finish what was queued."""
        self._closing = True
        self._work.put(None)
        self._thread.join()
        self._engine.dispose()

    def _run(self) -> None:
        ended = False
        while not ended:
            batch, ended = self._gather()
            batch = [each for each in batch if each.future.set_running_or_notify_cancel()]
            if batch:
                self._perform(batch)
        self._drop()

    def _gather(self) -> tuple[list[_Work], bool]:
        """What is there to be done, at least one work; and whether that was all for ever."""
        batch: list[_Work] = []
        work = self._work.get()
        until = time.monotonic() + _ALONG_S
        while work is not None:
            batch.append(work)
            if len(batch) == _TOGETHER:
                return batch, False
            wait = until - time.monotonic() if all(each.along for each in batch) else 0.0
            try:
                work = self._work.get(wait > 0, max(wait, 0.0))
            except queue.Empty:
                return batch, False
        return batch, True

    def _perform(self, batch: list[_Work]) -> None:
        """Run works until each has ended, one way or the other."""
        failures = 0
        while batch:
            try:
                self._settle(batch, self._attempt(batch))
                return
            except _LostError as lost:
                log.warning("lost the database while writing; it is tried again", error=str(lost).strip())
                committed = self._committed_after_all(lost, batch)
                if committed and lost.done is not None:
                    self._settle(batch, lost.done)
                    return
                batch = self._patient(batch, lost.cause)
                time.sleep(_RECONNECT_S[min(failures, len(_RECONNECT_S) - 1)])
                failures += 1
            except Exception as exc:
                if len(batch) == 1:
                    batch[0].future.set_exception(exc)
                    return
                for each in batch:  # no one's failure is another's
                    self._perform([each])
                return

    def _settle(self, batch: list[_Work], done: list[_Done]) -> None:
        topics: set[str] = set()
        for work, each in zip(batch, done, strict=True):
            topics |= each.topics
            if each.error is not None:
                work.future.set_exception(each.error)
            else:
                work.future.set_result(each.result)
        if topics:
            self._committed(topics)

    def _attempt(self, batch: list[_Work]) -> list[_Done]:
        """One transaction with all of them."""
        undo: list[Callable[[], None]] = []
        done: list[_Done] = []
        token: int | None = None
        try:
            connection = self._connected()
            with connection.begin():
                now, counters = self._backend.take_turn(connection)
                turn = Turn(now, counters, Outbox(self._backend.dialect))
                alone = len(batch) == 1
                done.extend(self._one(connection, work, turn, undo, alone=alone) for work in batch)
                if any(each.error is None for each in done):
                    for counter in sorted(turn.counted):
                        turn.outbox.put(_COUNT, {"name": counter, "value": counters[counter]})
                    topics = frozenset().union(*(each.topics for each in done))
                    token = self._backend.seal(turn.outbox, counters, topics, self._daemon)
                    self._backend.commit(connection, turn.outbox.take())
        except BaseException as exc:
            for step in reversed(undo):
                step()
            if isinstance(exc, sa.exc.DBAPIError) and self._lost(exc):
                self._drop()
                raise _LostError(exc, token, done if token is not None else None) from exc
            raise
        return done

    def _one(
        self, connection: sa.Connection, work: _Work, turn: Turn, undo: list[Callable[[], None]], *, alone: bool
    ) -> _Done:
        transaction = Transaction(connection, self._backend, self._daemon, self.memory, turn)
        mark = turn.outbox.mark()
        try:
            if not alone:
                turn.outbox.say("SAVEPOINT work")
            result = work.run(transaction)
            transaction.settle()
            if not alone:
                turn.outbox.say("RELEASE SAVEPOINT work")
            undo.extend(transaction.undo)
            return _Done(result, None, frozenset(transaction.topics))
        except BaseException as exc:
            for step in reversed(transaction.undo):
                step()
            turn.fresh = False
            if alone or (isinstance(exc, sa.exc.DBAPIError) and self._lost(exc)):
                raise
            if not turn.outbox.drop(mark):
                self._backend.send(connection, [("ROLLBACK TO SAVEPOINT work", None)])
            return _Done(error=exc)

    def _connected(self) -> sa.Connection:
        if self._connection is None:
            try:
                self._connection = self._engine.connect()
            except sa.exc.OperationalError as exc:
                raise _LostError(exc) from exc
            self.session = _session(self._connection)
        return self._connection

    def _drop(self) -> None:
        if self._connection is not None:
            connection, self._connection = self._connection, None
            try:
                connection.invalidate()
                connection.close()
            except sa.exc.SQLAlchemyError as exc:
                log.debug("a lost connection did not close", error=str(exc))

    def _lost(self, error: sa.exc.DBAPIError) -> bool:
        return bool(error.connection_invalidated or (self._connection is not None and self._connection.invalidated))

    def _committed_after_all(self, lost: _LostError, batch: list[_Work]) -> bool:
        """Whether the transaction of a lost connection was committed; asked until the database answers."""
        if lost.token is None:
            return False
        failures = 0
        while True:
            try:
                connection = self._connected()
                with connection.begin():
                    return self._backend.settled(connection, lost.token, self._daemon)
            except (_LostError, sa.exc.DBAPIError) as exc:
                self._drop()
                if self._closing or time.monotonic() - batch[0].queued_at > 2 * self._patience_s:
                    log.error("it is not known whether a change was committed", error=str(exc).strip())
                    return False
                time.sleep(_RECONNECT_S[min(failures, len(_RECONNECT_S) - 1)])
                failures += 1

    def _patient(self, batch: list[_Work], cause: Exception) -> list[_Work]:
        """Those that still wait; the others end with the database's error."""
        now, waiting = time.monotonic(), []
        for each in batch:
            if self._closing or now - each.queued_at > self._patience_s:
                each.future.set_exception(cause)
            else:
                waiting.append(each)
        return waiting


_COUNT = Statement(
    sa.text(
        "INSERT INTO counters (name, value) VALUES (:name, :value)"
        " ON CONFLICT (name) DO UPDATE SET value = excluded.value"
    )
)


def _session(connection: sa.Connection) -> int | None:
    driver = connection.connection.driver_connection
    info = getattr(driver, "info", None)
    return None if info is None else int(info.backend_pid)
