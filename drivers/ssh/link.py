"""One SSH connection to a host: made with strict host keys, watched, and shared by commands and forwards."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable

import paramiko

from drivers.ssh.credentials import log_in
from drivers.ssh.errors import HostUnreachableError, LinkLostError, SshError
from drivers.ssh.host_keys import KnownHosts
from drivers.ssh.settings import SshSettings
from drivers.ssh.transport import Heartbeat, Transport, connect_socket
from drivers.ssh.warden import Warden

# sshd's MaxSessions is 10 unless configured; the warden is one of them.
SESSIONS_PER_LINK = 9

Dial = Callable[[str, int, float], paramiko.Channel]
"""A byte stream to an address as a jump host sees it; the last is a time-out in seconds."""


class Link:
    """A connection that is logged in. Thread-safe; use `SshHost`, which keeps and re-opens them."""

    def __init__(self, settings: SshSettings, dial: Dial | None = None) -> None:
        """Connect, directly or by way of `dial`. Raises SshError."""
        self.settings = settings
        self.sessions = 0  # counted by the SshHost, as is the most that sshd allows
        self.most_sessions = SESSIONS_PER_LINK
        self.lost_by = ""
        self._transport = _opened(settings, dial)
        try:
            KnownHosts(settings.known_hosts).check(settings, self._transport.get_remote_server_key())
            log_in(self._transport, settings)
        except (paramiko.SSHException, EOFError, OSError) as exc:
            self._hang_up()
            raise HostUnreachableError(f"{settings.title} hung up while we logged in: {_said(exc)}") from exc
        except BaseException:
            self._hang_up()
            raise
        self._warden: Warden | None = None
        self._warden_lock = threading.Lock()
        self._heartbeat = Heartbeat(self._transport, settings.silence_s, self._beat, self._silent)

    @property
    def alive(self) -> bool:
        return self._transport.is_active() and (self._warden is None or self._warden.alive)

    def warden(self) -> Warden:
        """The warden of this connection, started with the first command."""
        with self._warden_lock:
            if self._warden is None:
                settings = self.settings
                try:
                    self._warden = Warden(
                        self._transport, settings.title, settings.silence_s, settings.connect_timeout_s
                    )
                except (paramiko.SSHException, EOFError, OSError) as exc:
                    raise LinkLostError(f"{settings.title} runs no commands: {_said(exc)}") from exc
            return self._warden

    def session(self) -> paramiko.Channel:
        """A new session. Raises paramiko.ChannelException when sshd allows no more, LinkLostError on a dead link."""
        try:
            return self._transport.open_session(timeout=self.settings.silence_s)
        except paramiko.ChannelException:
            raise
        except (paramiko.SSHException, EOFError, OSError) as exc:
            raise self.lost(exc) from exc

    def dial(self, address: str, port: int, timeout_s: float) -> paramiko.Channel:
        """A TCP connection from the host to `address`. Raises HostUnreachableError, LinkLostError."""
        try:
            return self._transport.open_channel("direct-tcpip", (address, port), ("127.0.0.1", 0), timeout=timeout_s)
        except paramiko.ChannelException as exc:
            title = self.settings.title
            raise HostUnreachableError(
                f"{title} cannot connect to {address} port {port}: {exc.text or exc}; see that something listens "
                f"there, and that AllowTcpForwarding is not off in the sshd_config of {title}"
            ) from exc
        except (paramiko.SSHException, EOFError, OSError) as exc:
            if self._transport.is_active():
                raise HostUnreachableError(
                    f"{self.settings.title} did not connect to {address} port {port} within {timeout_s:g} s"
                ) from exc
            raise self.lost(exc) from exc

    def lost(self, cause: BaseException | None = None) -> LinkLostError:
        """What to raise when the link turns out to be dead."""
        why = self.lost_by or _said(self._transport.get_exception() or cause) or "the connection was closed"
        return LinkLostError(f"the link to {self.settings.title} was lost: {why}")

    def close(self) -> None:
        """Hang up. The host ends what still runs over it."""
        self._heartbeat.stop()
        if self._warden is not None and self.alive:
            with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
                self._warden.close()
        self._hang_up()

    def _hang_up(self) -> None:
        # Behind a jump host that is gone already there is nobody to say goodbye to.
        with contextlib.suppress(EOFError, OSError):
            self._transport.close()

    def _beat(self) -> None:
        if self._warden is not None:
            self._warden.beat()

    def _silent(self) -> None:
        self.lost_by = f"it gave no sign of life for {self.settings.silence_s:g} s"
        self._heartbeat.stop()
        self._hang_up()


def shown_key(settings: SshSettings, dial: Dial | None = None) -> paramiko.PKey:
    """The host key that the host shows now; nobody is logged in. Raises HostUnreachableError."""
    transport = _opened(settings, dial)
    try:
        return transport.get_remote_server_key()
    finally:
        transport.close()


def _opened(settings: SshSettings, dial: Dial | None) -> Transport:
    """A transport with keys exchanged, nothing checked yet."""
    title, timeout_s = settings.title, settings.connect_timeout_s
    stream: socket.socket | paramiko.Channel
    try:
        if dial is None:
            stream = connect_socket(settings.address, settings.port, timeout_s, settings.silence_s)
        else:
            stream = dial(settings.address, settings.port, timeout_s)
    except SshError:
        raise
    except socket.gaierror as exc:
        raise HostUnreachableError(f"nobody knows where {settings.address} is: {exc.strerror}; check the name") from exc
    except OSError as exc:
        raise HostUnreachableError(
            f"no SSH connection to {title}: {_said(exc)}; see that it is on, in this network, and that sshd runs"
        ) from exc
    try:
        transport = Transport(stream)
    except BaseException:
        stream.close()
        raise
    try:
        transport.banner_timeout = transport.handshake_timeout = transport.auth_timeout = timeout_s
        options = transport.get_security_options()
        if known := KnownHosts(settings.known_hosts).algorithms(settings.known_as):
            options.key_types = [name for name in options.key_types if name in known] or options.key_types
        transport.start_client(timeout=timeout_s)
        if not transport.initial_kex_done:
            raise TimeoutError
    except (paramiko.SSHException, EOFError, OSError) as exc:
        transport.close()
        raise HostUnreachableError(
            f"{title} does not speak SSH with us: {_said(exc)}; see that sshd has that port and is not overloaded"
        ) from exc
    except BaseException:
        transport.close()
        raise
    return transport


def _said(error: BaseException | None) -> str:
    if error is None:
        return ""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return str(error) or type(error).__name__
