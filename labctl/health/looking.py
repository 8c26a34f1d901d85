"""Looks at one device: the checks of its kind, and the command of the lab file."""

from __future__ import annotations

import subprocess

from labctl.config import DeviceConfig
from labctl.health.checks import Check, CheckRegistry, Subject

_TOLD = 500


def look(registry: CheckRegistry, subject: Subject, *, preflight: bool) -> list[Check]:
    """All checks of a device, or a preflight; empty when there are none for its kind and no command."""
    config: DeviceConfig = subject.lab.devices[subject.device]
    found: list[Check] = []
    checks = registry.get(config.kind)
    if checks is not None:
        try:
            found += checks.preflight(subject) if preflight else checks.quick(subject)
        except Exception as exc:  # checks may be another package's, and must not take the lab along
            found.append(Check("checks", False, f"the checks of a {config.kind} failed themselves: {exc!r}"))
    if config.checks.command is not None:
        found.append(_run(config.checks.command, config.checks.command_timeout_s))
    return found


def _run(command: list[str], timeout_s: float) -> Check:
    shown = " ".join(command)
    try:
        ended = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=timeout_s,
            check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return Check("command", False, f"{shown} did not end within {timeout_s:g} s")
    except OSError as exc:
        return Check("command", False, f"{shown} cannot be run: {exc.strerror or exc}")
    said = (ended.stderr.strip() or ended.stdout.strip())[-_TOLD:]
    if ended.returncode == 0:
        return Check("command", True, said or f"{shown} says well")
    return Check("command", False, f"{shown} ended with {ended.returncode}: {said or 'it said nothing'}")
