"""`labctl robots estop`, `reset`, `preflight` and `acknowledge`."""

from __future__ import annotations

import getpass

from labctl.cli.connecting import connected
from labctl.cli.exits import ERRORED, PASSED
from labctl.cli.output import note, print_json


def emergency_stop(url: str | None, name: str, reason: str) -> int:
    """Stop a robot now."""
    with connected(url) as lab:
        lab.robot(name).estop(reason)
    note(f"{name} is stopped and stays so until: labctl robots reset {name} --reason WHY")
    return 0


def reset_emergency_stop(url: str | None, name: str, person: str | None, reason: str) -> int:
    """Take the latch off."""
    with connected(url) as lab:
        lab.robot(name).reset(person or getpass.getuser(), reason)
    note(f"the emergency stop of {name} is off")
    return 0


def preflight(url: str | None, name: str, *, as_json: bool) -> int:
    """Look at everything now; exit 0 when all is well, 3 when not."""
    with connected(url) as lab:
        found = lab.robot(name).preflight()
    if as_json:
        print_json(found)
    else:
        for check in found["checks"]:
            print(f"{'ok ' if check['well'] else 'BAD'}  {check['name']}: {check['detail']}")
        print(f"preflight of {name} {'passed' if found['passed'] else 'did NOT pass'}")
    return PASSED if found["passed"] else ERRORED


def acknowledge(url: str | None, name: str, person: str | None, reason: str) -> int:
    """Take a device out of quarantine."""
    with connected(url) as lab:
        device = lab.robot(name).acknowledge(person or getpass.getuser(), reason)
    note(f"{name} is {device['state']}" + (f": {device['reason']}" if device["reason"] else ""))
    return 0
