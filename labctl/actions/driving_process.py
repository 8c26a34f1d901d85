"""Drives a robot in a process of its own, so that its sums never keep the daemon from answering an emergency stop.

The daemon says that it lives by a time in shared memory. While that is old nothing moves the robot: a daemon that is
stalled or dead can neither cancel a course nor pass an emergency stop on.
"""

from __future__ import annotations

import contextlib
import gc
import math
import os
import signal
import threading
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection

from courses.cancelling import CancelToken
from courses.errors import CourseCancelledError, LabError, RobotFaultError
from courses.inputs import DrivingInput
from courses.runner import run_course
from courses.way_back import return_to_dock
from drivers.clock import Clock, clock_for_scale
from drivers.errors import DeviceError
from drivers.guard import GuardClient
from drivers.guard.foreign_client import ForeignGuardClient
from drivers.protocols import GuardedBase
from labctl.actions.drives import Cancel, Drive, Driven, Message, NotDriven, ReturnToDock, Task, Told
from labctl.actions.tether import LEASE_ENDS_AT, Shared, TetheredInput, daemon_lives

_LOOK_EVERY_S = 0.05


def drive(task: Task, daemon: Connection, shared: Shared) -> None:
    """The process: drives, tells progress as it goes, and in the end `Driven` or `NotDriven`."""
    cancel = CancelToken()
    gc.freeze()  # what was imported stays: looking through it for garbage would let a command come late
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, 0)  # not the daemon's, which goes first
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the daemon's to handle
    signal.signal(signal.SIGTERM, lambda *_: cancel.cancel("the driving process was told to end"))
    threading.Thread(target=_listen, args=(daemon, cancel), daemon=True).start()
    tell = _Teller(daemon)
    try:
        tell(_drive(task, shared, cancel, tell))
    except (DeviceError, LabError, RobotFaultError, CourseCancelledError) as exc:
        tell(NotDriven(str(exc)))
    except OSError as exc:
        why = f"{exc.strerror or exc}; make room there, or serve with another --data"
        where = f" in {task.recording.parent}" if isinstance(task, Drive) else ""
        tell(NotDriven(f"the drive could not be recorded{where}: {why}"))


def _drive(task: Task, shared: Shared, cancel: CancelToken, tell: _Teller) -> Driven:
    address = task.address
    clock = clock_for_scale(address.time_scale)
    deadline = float(shared[LEASE_ENDS_AT])
    with (
        ForeignGuardClient.connect(
            address.url, address.fencing, _on_clock(clock, deadline), clock=clock, token=address.token
        ) as base,
        _watched(base, clock, shared),
    ):
        tether = TetheredInput(base, lambda: daemon_lives(shared))
        if isinstance(task, ReturnToDock):
            room, dock = task.room, task.room.dock(task.dock)
            returned = return_to_dock(
                base, clock, room, dock, driving_input=tether, cancel=cancel, tell=lambda what: tell(Told(what))
            )
            outcome = returned.docking
            return Driven({"docked": outcome.docked, "attempts": outcome.attempts, "faults": list(outcome.faults)})
        with _seat(task, base, tether, clock, tell) as (driven, chosen):
            result = run_course(
                task.course,
                driven,
                clock,
                robot=address.robot,
                calibration=task.calibration,
                recording=task.recording,
                watcher=tell,
                cancel=cancel,
                driving_input=chosen,
            )
    return Driven(result.to_json())


@contextlib.contextmanager
def _seat(
    task: Drive, base: ForeignGuardClient, tether: TetheredInput, clock: Clock, tell: _Teller
) -> Iterator[tuple[GuardedBase, DrivingInput]]:
    """What is driven, and by what: the base itself, or the pilot's page in a browser."""
    pilot = task.pilot
    if pilot is None:
        yield base, tether
        return
    from labctl.actions.piloting import Begin, foreign_page_of, page_of  # noqa: PLC0415 - driven directly it needs none

    if pilot.client is None:
        with page_of(pilot, base, tether, clock) as paged:
            yield paged, paged
        return
    file = task.course.file
    begin = Begin(file.point(file.start.point).pose, lambda what: tell(Told(what)))
    with foreign_page_of(pilot, base, tether, clock, begin) as foreign:
        yield foreign, foreign


@contextlib.contextmanager
def _watched(base: GuardClient, clock: Clock, shared: Shared) -> Iterator[None]:
    """Beside the course: stop the base when the daemon stalls, also while it docks by itself; renew what is renewed."""
    done = threading.Event()

    def watch() -> None:
        deadline, stalled = float(shared[LEASE_ENDS_AT]), False
        while not done.wait(_LOOK_EVERY_S):
            with contextlib.suppress(DeviceError):  # the course itself meets it, and says so
                if (renewed := float(shared[LEASE_ENDS_AT])) > deadline:
                    deadline = renewed
                    base.renew(_on_clock(clock, deadline))
                if daemon_lives(shared):
                    stalled = False
                else:
                    # Wishes do not get past the tether, but the course may begin a docking run meanwhile.
                    if not stalled or base.status().docking:
                        base.stop()
                    stalled = True

    thread = threading.Thread(target=watch, name="tether", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


class _Teller:
    """Tells the daemon, as long as there is one."""

    def __init__(self, daemon: Connection) -> None:
        self._daemon = daemon

    def __call__(self, told: Message) -> None:
        with contextlib.suppress(OSError):
            self._daemon.send(told)


def _listen(daemon: Connection, cancel: CancelToken) -> None:
    try:
        while True:
            wish = daemon.recv()
            if isinstance(wish, Cancel):
                cancel.cancel(wish.reason)
    except (EOFError, OSError):
        cancel.cancel("the daemon ended")


def _on_clock(clock: Clock, monotonic: float) -> float:
    """A time of `time.monotonic()` on the robot's own clock, which may run faster."""
    wall = clock.to_wall(1.0)
    return clock.now() + (monotonic - time.monotonic()) / wall if wall > 0 else math.inf
