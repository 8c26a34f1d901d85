"""What goes wrong with a host over SSH; each is a `drivers.errors.DeviceError`."""

from __future__ import annotations

from drivers.errors import DeviceError, DeviceSilentError, DeviceUnreachableError


class SshError(DeviceError):
    """A host refused or could not do what was asked over SSH."""


class HostUnreachableError(SshError, DeviceUnreachableError):
    """No SSH connection: nobody listens, no route, no name, or not in time."""


class HostKeyUnknownError(SshError):
    """The host has never been trusted. `fingerprint`: of the key it shows."""

    def __init__(self, message: str, fingerprint: str) -> None:
        super().__init__(message)
        self.fingerprint = fingerprint


class HostKeyChangedError(SshError):
    """The host shows another key than the trusted one. `fingerprint`: of the key it shows."""

    def __init__(self, message: str, fingerprint: str) -> None:
        super().__init__(message)
        self.fingerprint = fingerprint


class LoginRefusedError(SshError):
    """The host takes none of our keys for that user."""


class LinkLostError(SshError, DeviceSilentError):
    """The connection broke in the middle of something."""


class CommandTimeoutError(SshError):
    """A command was still running at its deadline and was killed. `stdout`, `stderr`: what it had said."""

    def __init__(self, message: str, stdout: bytes = b"", stderr: bytes = b"") -> None:
        super().__init__(message)
        self.stdout, self.stderr = stdout, stderr


class CommandCancelledError(SshError):
    """A command was killed because somebody asked for it."""


class CommandFailedError(SshError):
    """A command that had to succeed did not. `exit_status`: its own, or 128 plus the signal's number."""

    def __init__(self, message: str, exit_status: int) -> None:
        super().__init__(message)
        self.exit_status = exit_status


class CopyError(SshError):
    """A file could not be copied; nothing of it stands under its final name."""
