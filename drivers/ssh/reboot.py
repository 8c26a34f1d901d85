"""Restarts a host and waits until it is another boot that answers."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable

from drivers.ssh.errors import (
    CommandFailedError,
    CommandTimeoutError,
    HostUnreachableError,
    LinkLostError,
    SshError,
)
from drivers.ssh.host import Command, SshHost

REBOOT = 'if [ "$(id -u)" = 0 ]; then systemctl reboot || reboot; else sudo -n systemctl reboot || sudo -n reboot; fi'
_BOOT_ID = "cat /proc/sys/kernel/random/boot_id"
_LOOK_EVERY_S = 1.0
_ASKED_WITHIN_S = 60.0


def boot_id(host: SshHost) -> str:
    """What tells one boot of a host from the next. Raises SshError."""
    return host.exec(_BOOT_ID, timeout_s=30, check="asking which boot it is").text


def reboot(
    host: SshHost,
    *,
    command: Command = REBOOT,
    timeout_s: float = 300.0,
    on_progress: Callable[[str], None] = lambda _what: None,
) -> float:
    """Restart the host; back, with the seconds it took, once another boot answers.

    Raises CommandFailedError when it may not be restarted, SshError when it is not back within `timeout_s`.
    """
    before = boot_id(host)
    began = time.monotonic()
    on_progress("asking it to restart")
    # It may go down before it answers.
    with contextlib.suppress(LinkLostError, CommandTimeoutError):
        ended = host.exec(command, timeout_s=_ASKED_WITHIN_S)
        if ended.exit_status not in (0, 129, 137, 143):  # ended by what it started
            said = (ended.stderr or ended.stdout).decode(errors="replace").strip()
            raise CommandFailedError(
                f"{host.title} does not restart: {said[-300:] or 'it does not say why'}; allow it with a sudoers line: "
                f"{host.settings.user} ALL=(root) NOPASSWD: /usr/bin/systemctl reboot",
                ended.exit_status,
            )
    wait_for_boot(host, before, timeout_s - (time.monotonic() - began), on_progress)
    return time.monotonic() - began


def wait_for_boot(
    host: SshHost, before: str, timeout_s: float, on_progress: Callable[[str], None] = lambda _what: None
) -> None:
    """Wait until a boot other than `before` answers. Raises SshError after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    last = "it is still the boot from before"
    while time.monotonic() < deadline:
        time.sleep(min(_LOOK_EVERY_S, max(0.0, deadline - time.monotonic())))
        try:
            if boot_id(host) != before:
                on_progress("it is back")
                return
            last = "it is still the boot from before"
            on_progress("it is going down")
        except (HostUnreachableError, LinkLostError, CommandTimeoutError) as exc:
            last = str(exc)
            host.hang_up()
            on_progress("waiting until it answers")
    raise SshError(f"{host.title} did not come back from its restart: {last}. Look at its screen, or switch its power")
