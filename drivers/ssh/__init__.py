"""Hosts over SSH: commands, forwards, files, health."""

from drivers.ssh.errors import (
    CommandCancelledError,
    CommandFailedError,
    CommandTimeoutError,
    CopyError,
    HostKeyChangedError,
    HostKeyUnknownError,
    HostUnreachableError,
    LinkLostError,
    LoginRefusedError,
    SshError,
)
from drivers.ssh.forward import Forward
from drivers.ssh.host import SshHost
from drivers.ssh.pipes import PipedProcess
from drivers.ssh.process import Completed, RemoteProcess, Stream, Terminal
from drivers.ssh.settings import SshSettings

__all__ = [
    "CommandCancelledError",
    "CommandFailedError",
    "CommandTimeoutError",
    "Completed",
    "CopyError",
    "Forward",
    "HostKeyChangedError",
    "HostKeyUnknownError",
    "HostUnreachableError",
    "LinkLostError",
    "LoginRefusedError",
    "PipedProcess",
    "RemoteProcess",
    "SshError",
    "SshHost",
    "SshSettings",
    "Stream",
    "Terminal",
]
