"""Takes, holds, reserves, hands over and explains leases; puts devices out of service and back."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from labctl.cli.connecting import connected
from labctl.cli.exits import CANCELLED, ERRORED, USAGE, ExpectedError
from labctl.cli.output import note, print_json, print_table
from labctl.client import Lab, Lease

# A held lease is free so long after its program died.
_HEARTBEAT_S = 15.0
_ENDS_WITHIN_S = 10.0
_KILLED = 128  # and the signal's number, as shells say it


@dataclass(frozen=True)
class Wanted:
    """Devices by name, or one by kind and labels; for how long; how long to wait."""

    devices: tuple[str, ...]
    kind: str | None
    labels: tuple[str, ...]
    duration: str
    wait: str = "0s"
    priority: int = 0
    rooms: bool = True

    def require(self) -> list[dict[str, Any]]:
        """What the API is asked for besides names. Raises ExpectedError for what says nothing or is no label."""
        pairs = [each.partition("=") for each in self.labels]
        if wrong := [name for name, sign, _ in pairs if not sign]:
            raise ExpectedError(f"--label {wrong[0]}: write KEY=VALUE", USAGE)
        labels = {name: value for name, _, value in pairs}
        if bool(self.devices) == bool(self.kind or labels):
            raise ExpectedError("give names of devices, or --kind and --label", USAGE)
        return [] if self.devices else [{**({"kind": self.kind} if self.kind else {}), "labels": labels}]


def take(url: str | None, wanted: Wanted, *, hold: bool, execute: str | None, as_json: bool) -> int:
    """Take devices and, if asked, keep them while something lasts."""
    require, keeping = wanted.require(), hold or execute is not None
    duration_s, wait_s = _seconds(wanted.duration), _seconds(wanted.wait)
    wish: dict[str, Any] = {"priority": wanted.priority, "rooms": wanted.rooms}
    with connected(url) as lab:
        if keeping:
            wish["heartbeat_s"] = _HEARTBEAT_S
        granted = lab.request_lease(wanted.devices, require=require, duration_s=duration_s, wait_s=wait_s, **wish)
        _tell(granted, as_json=as_json)
        if not keeping:
            return 0
        with Lease(lab, granted, _HEARTBEAT_S) as lease:
            return _run(execute, lab, lease) if execute is not None else _stay(lease)


def reserve_slot(url: str | None, wanted: Wanted, start: str, *, as_json: bool) -> int:
    """Reserve devices."""
    starts_at, require = _moment(start), wanted.require()
    with connected(url) as lab:
        slot = lab.request_lease(
            wanted.devices, require=require, duration_s=_seconds(wanted.duration), starts_at=starts_at.isoformat()
        )
    if as_json:
        print_json(slot)
    else:
        print(f"{slot['id']}  {', '.join(slot['devices'])} from {slot['starts_at']} for {slot['duration_s']:g} s")
    return 0


def show_lease(url: str | None, lease: str, *, as_json: bool) -> int:
    """One lease, and why it waits."""
    with connected(url) as lab:
        shown = lab.show_lease(lease)
    if as_json:
        print_json(shown)
        return 0
    print(f"{shown['state']}: {', '.join(shown['devices']) or 'nothing yet'}, {shown['holder']}")
    for name in ("requested_at", "starts_at", "granted_at", "expires_at", "ended_at", "end_reason"):
        if shown[name]:
            print(f"{name.removesuffix('_at').replace('_', ' ')}: {shown[name]}")
    if (waits := shown.get("waits_for")) is not None:
        print(f"ahead of it: {waits['ahead']}; likely start: {waits['expected_start'] or 'nobody can say'}")
        for line in explanation(waits):
            print(line)
    return 0


def explanation(waits: dict[str, Any]) -> list[str]:
    """Why a request waits, one line for each thing in its way."""
    lines = [waits["why"]] if waits["why"] else []
    for role in waits["roles"]:
        if role["free"]:
            continue
        lines.append(f"{role['role'] or 'it'} lacks {role['wants']}")
        for each in role["obstacles"]:
            if each["holder"]:
                job = f" for job {each['job']}" if each["job"] else ""
                lines.append(f"  {each['device']} is held by {each['holder']}{job} until {each['until']}")
            else:
                lines.append(f"  {each['device']} is {each['state']}: {each['reason']}")
    return lines


def renew_lease(url: str | None, lease: str, duration: str) -> int:
    """Let a lease last longer."""
    with connected(url) as lab:
        shown = lab.renew(lease, _seconds(duration))
    note(f"lease {lease} lasts until {shown['expires_at']}")
    return 0


def hand_over(url: str | None, lease: str, to: str) -> int:
    """Give a lease to somebody else."""
    with connected(url) as lab:
        shown = lab.hand_over(lease, to)
    note(f"lease {lease} is {to}'s until {shown['expires_at']}, fencing number {shown['fencing']}")
    return 0


def maintain(url: str | None, device: str, reason: str, *, end_lease: bool) -> int:
    """Take a device out of service."""
    with connected(url) as lab:
        shown = lab.maintain(device, reason, end_lease=end_lease)
    held = f"; {shown['lease']['holder']} holds it until {shown['lease']['expires_at']}" if shown["lease"] else ""
    note(f"{device} is in maintenance{held}")
    return 0


def return_device(url: str | None, device: str) -> int:
    """Put a device back into service."""
    with connected(url) as lab:
        shown = lab.return_device(device)
    note(f"{device} is {shown['state']}{': ' + shown['reason'] if shown['reason'] else ''}")
    return 0


def show_daemons(url: str | None, *, as_json: bool) -> int:
    """List the daemons."""
    with connected(url) as lab:
        items = lab.daemons()
    if as_json:
        print_json(items)
        return 0
    rows = [
        (
            each["name"],
            each["url"],
            "alive" if each["alive"] else "gone",
            each["devices"],
            each["version"],
            each["seen_at"],
        )
        for each in items
    ]
    print_table(("daemon", "address", "state", "devices", "version", "heard of"), rows, "there are no daemons")
    return 0


def _tell(granted: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(granted)
        return
    print(granted["id"], flush=True)
    note(f"{', '.join(granted['devices'])} until {granted['expires_at']}, fencing number {granted['fencing']}")


def _stay(lease: Lease) -> int:
    """Until Ctrl-C, or until the lease is lost."""
    over = threading.Event()
    try:
        with _when_told_to_end(lambda _number: over.set()):
            note("held until Ctrl-C")
            while lease.lost is None and not over.wait(0.5):
                pass
    except KeyboardInterrupt:
        return 0
    if over.is_set():
        return 0
    raise ExpectedError(f"the lease was lost: {lease.lost}", ERRORED)


def _run(command: str, lab: Lab, lease: Lease) -> int:
    about = {"LABCTL_URL": lab.url, "LABCTL_LEASE": lease.id, "LABCTL_FENCING": str(lease.fencing)}
    about["LABCTL_DEVICES"] = " ".join(lease.devices)
    try:
        process = subprocess.Popen(shlex.split(command), env={**os.environ, **about})
    except (OSError, ValueError) as exc:
        raise ExpectedError(f"cannot run {command!r}: {exc}", USAGE) from None
    try:
        with _when_told_to_end(process.send_signal):
            while process.poll() is None:
                if lease.lost is not None:
                    _end(process)
                    raise ExpectedError(f"the lease was lost, so the command was ended: {lease.lost}", ERRORED)
                threading.Event().wait(0.2)
    except KeyboardInterrupt:  # the terminal has told the command as well
        process.wait()
        return CANCELLED
    return process.returncode if process.returncode >= 0 else _KILLED - process.returncode


def _end(process: subprocess.Popen[bytes]) -> None:
    """The devices may be somebody else's by now: what does not end is killed."""
    process.terminate()
    try:
        process.wait(_ENDS_WITHIN_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextmanager
def _when_told_to_end(act: Callable[[int], None]) -> Iterator[None]:
    """What SIGTERM and SIGHUP do meanwhile; Ctrl-C is an exception as ever. What was ignored (nohup) stays so."""
    heard = [each for each in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(each) is not signal.SIG_IGN]
    before = {each: signal.signal(each, lambda number, _frame: act(number)) for each in heard}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _seconds(text: str) -> float:
    from labctl.jobs.durations import seconds

    try:
        return float(seconds(text))
    except ValueError as exc:
        raise ExpectedError(f"{text!r} {exc}", USAGE) from None


def _moment(text: str) -> datetime:
    if text.startswith("+"):
        return datetime.now(UTC) + timedelta(seconds=_seconds(text[1:]))
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ExpectedError(f'--from {text!r} is no time: write 2026-03-01T14:00, or "+2h"', USAGE) from None
    return moment.astimezone(UTC)
