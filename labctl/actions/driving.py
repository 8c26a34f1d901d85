"""Has a robot driven by a process of its own, and keeps that process company until it ends."""

from __future__ import annotations

import contextlib
import multiprocessing
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from multiprocessing.sharedctypes import RawArray

from courses.progress import Progress
from labctl.actions.drives import Cancel, Driven, Message, NotDriven, Task, Told
from labctl.actions.driving_process import drive
from labctl.actions.tether import DAEMON_LIVES_AT, LEASE_ENDS_AT, Shared
from labctl.errors import LabFailureError
from labctl.steps import Cancellation

_SIGN_OF_LIFE_S = 0.05
# A cancelled course stops its base in 0.1 s; what is asked of it then (the end of the recording) takes seconds at most.
_ENDS_WITHIN_S = 20.0


def drive_apart(
    task: Task,
    lease_ends_at: Callable[[], float],
    cancellation: Cancellation,
    watcher: Callable[[Progress | Told], None],
) -> Driven:
    """Drive in a child process until it has ended; `lease_ends_at()`, of `time.monotonic()`, moves with renewals.

    Raises LabFailureError when the lab kept the course from being driven, or the process died.
    """
    robot = task.address.robot
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    shared: Shared = RawArray("d", 2)
    shared[DAEMON_LIVES_AT], shared[LEASE_ENDS_AT] = time.monotonic(), lease_ends_at()
    process = context.Process(target=drive, args=(task, theirs, shared), name=f"drive {robot}", daemon=True)
    done = threading.Event()

    def say_alive() -> None:
        while not done.wait(_SIGN_OF_LIFE_S):
            shared[DAEMON_LIVES_AT], shared[LEASE_ENDS_AT] = time.monotonic(), lease_ends_at()

    sign_of_life = threading.Thread(target=say_alive, name=f"alive {robot}", daemon=True)
    process.start()
    theirs.close()
    sign_of_life.start()
    try:
        return _listen(process, ours, cancellation, watcher)
    finally:
        done.set()
        sign_of_life.join()
        _end(process)
        ours.close()


def _listen(
    process: BaseProcess, told: Connection, cancellation: Cancellation, watcher: Callable[[Progress | Told], None]
) -> Driven:
    give_up: float | None = None
    while True:
        if cancellation.asked and give_up is None:
            give_up = time.monotonic() + _ENDS_WITHIN_S
            with contextlib.suppress(OSError):
                told.send(Cancel(cancellation.reason))
        if give_up is not None and time.monotonic() > give_up:
            raise LabFailureError(f"the driving process did not end within {_ENDS_WITHIN_S:g} s of being cancelled")
        if not told.poll(_SIGN_OF_LIFE_S):
            continue
        message = _received(process, told)
        if isinstance(message, NotDriven):
            raise LabFailureError(message.reason)
        if isinstance(message, Driven):
            return message
        watcher(message)


def _received(process: BaseProcess, told: Connection) -> Message:
    try:
        message: Message = told.recv()
    except (EOFError, OSError):
        process.join(_ENDS_WITHIN_S)
        raise LabFailureError(
            f"the process that drove the robot died ({_cause(process.exitcode)}); the guard has stopped the robot. "
            "The daemon's log says more; try again"
        ) from None
    return message


def _cause(code: int | None) -> str:
    if code is None:
        return "it hangs"
    return f"exit code {code}" if code >= 0 else f"signal {-code}"


def _end(process: BaseProcess) -> None:
    """It has said its last word: a moment to leave, then no more."""
    process.join(2.0)
    if process.is_alive():
        process.kill()
        process.join()
