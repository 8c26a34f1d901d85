"""`labctl robots estop` and `reset`."""

from __future__ import annotations

import getpass

from labctl.cli.connecting import connected
from labctl.cli.output import note


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
