"""`labctl robots return`: slowly back to the dock, as long as a person holds a key."""

from __future__ import annotations

import contextlib
import getpass
import os
import select
import sys
import time
from collections.abc import Iterator

from labctl.cli.connecting import connected
from labctl.cli.exits import CANCELLED, OF_VERDICT
from labctl.cli.output import note
from labctl.client import Robot

# A key that is held repeats after half a second at the latest on common terminals, then many times a second.
_HELD_FOR_S = 0.7
_TELL_EVERY_S = 0.25


def return_to_dock(url: str | None, name: str, reason: str) -> int:
    """Drive while keys come; exit code of what became of it, 4 when the person let go."""
    with connected(url) as lab, _keys() as descriptor:
        robot = lab.robot(name)
        note(f"Hold a key: {name} drives slowly to its dock while you hold it, and stops when you let go. Watch it.")
        if not _pressed(descriptor, None):
            return CANCELLED
        return _drive(robot, descriptor, reason)


def _drive(robot: Robot, descriptor: int, reason: str) -> int:
    session = robot.return_to_dock(getpass.getuser(), reason)
    held_until = time.monotonic() + _HELD_FOR_S
    told = ""
    while session["state"] != "ended":
        if _pressed(descriptor, _TELL_EVERY_S / 2):
            held_until = time.monotonic() + _HELD_FOR_S
        if time.monotonic() < held_until:
            session = robot.hold(session["id"])
        else:
            if told != "let go":
                note(f"you let go: {robot.name} stops")
            told = "let go"
            session = robot.returning(session["id"])
            time.sleep(_TELL_EVERY_S)
        if told != "let go" and session["progress"] != told:
            told = session["progress"]
            note(told)
    if told == "let go" and session["verdict"] != "passed":
        note(f"{robot.name} stands still ({session['reason']}); run this again to go on")
        return CANCELLED
    note(f"{robot.name} {'is on its dock' if session['verdict'] == 'passed' else session['reason']}")
    return OF_VERDICT[session["verdict"]]


def _pressed(descriptor: int, wait_s: float | None) -> bool:
    """Whether a key came within that time; what else waits is read with it."""
    ready, _, _ = select.select([descriptor], [], [], wait_s)
    if not ready:
        return False
    if os.read(descriptor, 4096):
        return True
    time.sleep(wait_s or 0.0)  # the end of the input: nobody holds anything
    return False


@contextlib.contextmanager
def _keys() -> Iterator[int]:
    """Standard input, each key at once and unseen where it is a terminal."""
    descriptor = sys.stdin.fileno()
    if not os.isatty(descriptor):
        yield descriptor
        return
    import termios
    import tty

    before = termios.tcgetattr(descriptor)
    try:
        tty.setcbreak(descriptor)
        yield descriptor
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
