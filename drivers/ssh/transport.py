"""paramiko's transport, typed and made prompt: no delayed packets, signals told as signals, silence noticed."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any, ClassVar, cast

import paramiko
from paramiko.common import MSG_CHANNEL_REQUEST, cMSG_CHANNEL_CLOSE

_PENDING_PER_PROBE = 3


def _on_request(channel: paramiko.Channel, message: paramiko.Message) -> None:
    start = message.packet.tell()
    kind = message.get_text()
    message.get_boolean()
    if kind == "exit-signal":
        channel.exit_signal = message.get_text()  # type: ignore[attr-defined] # ours: RFC 4254, 6.10
        channel.status_event.set()
        return
    message.packet.seek(start)
    channel._handle_request(message)  # type: ignore[attr-defined] # missing in the stubs


class _Outlet:
    """What a channel takes for its transport: marks each message as that channel's."""

    def __init__(self, transport: paramiko.Transport, channel: paramiko.Channel) -> None:
        self._transport = transport
        self._channel = channel

    def _send_user_message(self, message: paramiko.Message) -> None:
        message.channel = self._channel  # type: ignore[attr-defined] # ours
        self._transport._send_user_message(message)  # type: ignore[attr-defined] # missing in the stubs

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class Transport(paramiko.Transport):
    """A client's side of one SSH connection over `stream`, a socket or a channel through a jump host."""

    def __init__(self, stream: Any) -> None:
        super().__init__(stream)
        self.set_log_channel("paramiko.labctl")
        self._held_back: list[paramiko.Message] = []

    def open_channel(self, *args: Any, **kwargs: Any) -> paramiko.Channel:
        """As paramiko's."""
        channel = super().open_channel(*args, **kwargs)
        channel.transport = cast("paramiko.Transport", _Outlet(self, channel))
        return channel

    def _send_user_message(self, message: paramiko.Message) -> None:
        """Send it, where new keys are being agreed upon as soon as that is done.

        The thread that reads does not wait for it: nobody else could finish it. So the answer to a channel's close
        that came in between silenced the whole connection.
        """
        if threading.current_thread() is self and not self.clear_to_send.is_set():
            self._held_back.append(message)
        else:
            super()._send_user_message(message)  # type: ignore[misc] # missing in the stubs

    def _parse_newkeys(self, message: paramiko.Message) -> None:
        super()._parse_newkeys(message)  # type: ignore[misc] # missing in the stubs
        held_back, self._held_back = self._held_back, []
        for each in held_back:
            self._send_user_message(each)

    def _send_message(self, message: paramiko.Message) -> None:
        """Send nothing more for a channel that was closed meanwhile; its messages come here one after the other.

        paramiko makes a message and sends it later (its issue 1115): input for a command that has just ended came
        after the channel's close, and sshd hung up the connection with all that ran over it. An outlet's mark and not
        the channel's number says whose it is: sshd gives the number to the next channel at once.
        """
        channel = getattr(message, "channel", None)
        if channel is not None and channel.closed and message.asbytes()[:1] != cMSG_CHANNEL_CLOSE:
            return
        super()._send_message(message)  # type: ignore[misc] # missing in the stubs

    # paramiko ignores the message that says which signal ended a command; its table is the one place to hear of it.
    _channel_handler_table: ClassVar[dict[int, Any]] = {
        **paramiko.Transport._channel_handler_table,  # type: ignore[attr-defined] # missing in the stubs
        MSG_CHANNEL_REQUEST: _on_request,
    }


def exit_signal(channel: paramiko.Channel) -> str | None:
    """The signal that ended the channel's command ("KILL"), if one did."""
    return getattr(channel, "exit_signal", None)


def connect_socket(address: str, port: int, timeout_s: float, silence_s: float) -> socket.socket:
    """A TCP connection that sends at once, which the kernel gives up after `silence_s`. Raises OSError."""
    stream = socket.create_connection((address, port), timeout_s)
    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    probe_s = max(1, round(silence_s / (_PENDING_PER_PROBE + 1)))
    for option, value in (
        ("TCP_KEEPIDLE", probe_s),
        ("TCP_KEEPINTVL", probe_s),
        ("TCP_KEEPCNT", _PENDING_PER_PROBE),
        ("TCP_USER_TIMEOUT", round(silence_s * 1000)),
    ):
        if hasattr(socket, option):  # Linux names them all
            stream.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
    return stream


def send_all(channel: paramiko.Channel, data: bytes) -> None:
    """As its `sendall`, which goes round for ever once the end was said. Raises OSError, EOFError."""
    while data:
        sent = channel.send(data)
        if not sent:
            raise BrokenPipeError("the end of the input was said before")
        data = data[sent:]


def hang_up(channel: paramiko.Channel) -> None:
    """Close a channel whose connection may be gone."""
    with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
        channel.close()


class Heartbeat:
    """Asks the far end every third of `silence_s` whether it is there; calls `on_silence` when it is not.

    The kernel sees only the first hop of a connection through jump hosts, and nothing of an sshd that is stopped.
    """

    def __init__(
        self,
        transport: paramiko.Transport,
        silence_s: float,
        on_beat: Callable[[], None],
        on_silence: Callable[[], None],
    ) -> None:
        self._transport = transport
        self.silence_s = silence_s
        self._on_beat = on_beat
        self.on_silence = on_silence
        self.asked_at: float | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="ssh-heartbeat", daemon=True)
        _watch.add(self)
        self._thread.start()

    def stop(self) -> None:
        """Ask no more."""
        self._over.set()

    def _beat(self) -> None:
        while not self._over.wait(self.silence_s / 3):
            self.asked_at = time.monotonic()
            try:
                # Any answer will do: OpenSSH says that it does not know the request.
                self._transport.global_request("keepalive@openssh.com", wait=True)
                if not self._transport.is_active():
                    return
                self._on_beat()
            except (OSError, EOFError, paramiko.SSHException):
                return
            self.asked_at = None


class _Watch:
    """One thread for all heartbeats: a beat whose own sending blocks cannot watch itself."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._beats: weakref.WeakSet[Heartbeat] = weakref.WeakSet()
        self._thread: threading.Thread | None = None

    def add(self, beat: Heartbeat) -> None:
        with self._lock:
            self._beats.add(beat)
            if self._thread is None:
                self._thread = threading.Thread(target=self._look, name="ssh-watch", daemon=True)
                self._thread.start()

    def _look(self) -> None:
        while True:
            with self._lock:
                beats = tuple(self._beats)
                if not beats:
                    self._thread = None
                    return
            now = time.monotonic()
            for beat in beats:
                asked = beat.asked_at
                if asked is not None and now - asked > beat.silence_s * 2 / 3:
                    beat.on_silence()
                    with self._lock:
                        self._beats.discard(beat)
            interval = min((beat.silence_s for beat in beats), default=1.0) / 15
            del beats
            time.sleep(min(1.0, interval))


_watch = _Watch()
