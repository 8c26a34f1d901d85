"""Waits at the terminal for the end of a job. What ends the wait (Ctrl-C, a CI server that gives up) ends the job."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any, Self

from labctl.cli.exits import INTERRUPTED, ExpectedError
from labctl.cli.output import note
from labctl.cli.progress import follow_job
from labctl.client import Lab, LabClientError

# What people, CI servers and terminals that close send to a program that shall end.
_ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_CONFLICT = 409


def run_to_the_end(lab: Lab, submit: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Have `submit` queue a job and show its progress until it is finished; the finished job.

    Ctrl-C, SIGTERM and SIGHUP cancel it and wait for its teardown; the second one ends the wait as well.
    """
    with _Interruption() as interruption:
        with interruption.put_off():  # else nobody would know what to cancel
            job = str(submit()["id"])
        try:
            interruption.check()
            follow_job(lab, job, interruption.check)
        except KeyboardInterrupt:
            try:
                _cancel(lab, job)
            except KeyboardInterrupt:
                told = f"job {job} is being cancelled; `labctl jobs wait {job}` waits for its teardown"
                raise ExpectedError(told, INTERRUPTED) from None
    return lab.job(job)


def _cancel(lab: Lab, job: str) -> None:
    try:
        lab.cancel(job, "whoever waited for it was interrupted")
    except LabClientError as exc:
        if exc.status == _CONFLICT:  # it has ended meanwhile
            return
        raise LabClientError(f"job {job} could not be cancelled and may go on: {exc}", exc.status) from None
    with contextlib.suppress(OSError):  # the terminal may be gone
        note("cancelling; the robot is stopped and the teardown done")
        follow_job(lab, job)


class _Interruption:
    """Signals that cannot get lost: an exception raised while a callback or a destructor runs is swallowed there."""

    def __init__(self) -> None:
        self._asked = self._later = False

    def __enter__(self) -> Self:
        # What was ignored before (nohup, a shell's background job) stays so.
        heard = (each for each in _ENDS if signal.getsignal(each) is not signal.SIG_IGN)
        self._before = {each: signal.signal(each, self._ask) for each in heard}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @contextmanager
    def put_off(self) -> Iterator[None]:
        """What comes meanwhile is noted for `check`; unless it comes twice."""
        self._later = True
        yield
        self._later = False

    def check(self) -> None:
        """Raises KeyboardInterrupt if one came that was not noticed."""
        if self._asked:
            self._asked = False
            raise KeyboardInterrupt

    def _ask(self, _number: int, _frame: FrameType | None) -> None:
        again, self._asked = self._asked, True
        if again or not self._later:
            raise KeyboardInterrupt
