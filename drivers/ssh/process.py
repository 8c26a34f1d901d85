"""A command that runs on a host: its output as it comes, its input, and how to end it with all its children."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import IO

import paramiko

from drivers.ssh.errors import (
    CommandCancelledError,
    CommandFailedError,
    CommandTimeoutError,
    LinkLostError,
    SshError,
)
from drivers.ssh.link import Link
from drivers.ssh.transport import exit_signal, hang_up, send_all
from drivers.ssh.warden import Warden

_BLOCK = 65_536
# What a command left running may hold its output open; after its own end we listen no longer than this to silence.
_LINGER_S = 2.0
_GRACE_S = 2.0
_CONFIRM_S = 20.0
_TAIL_BYTES = 2_000


class Stream(Enum):
    """Where output came from."""

    STDOUT = "stdout"
    STDERR = "stderr"


OnOutput = Callable[[Stream, bytes], None]


@dataclass(frozen=True, slots=True)
class Completed:
    """A command that ended by itself.

    `exit_status`: its own, or 128 plus the number of the `signal` that ended it ("KILL"), as a shell counts.
    `dropped_bytes`: how much of the beginning of stdout and stderr was let go because it was more than asked for.
    """

    command: str
    exit_status: int
    stdout: bytes
    stderr: bytes
    signal: str | None = None
    duration_s: float = 0.0
    dropped_bytes: int = 0

    @property
    def text(self) -> str:
        """stdout as text without the last line end; what is not UTF-8 is replaced."""
        return self.stdout.decode(errors="replace").rstrip("\n")


@dataclass(frozen=True, slots=True)
class Terminal:
    """A pseudo terminal for a command: its type and size in characters."""

    kind: str = "xterm-256color"
    width: int = 80
    height: int = 24


class _Bell(threading.Event):
    """An event that rings another one too, and that a buffer which ran empty does not silence."""

    def __init__(self, common: threading.Event) -> None:
        super().__init__()
        self._common = common

    def set(self) -> None:
        super().set()
        self._common.set()

    def clear(self) -> None:
        return


class RemoteProcess:
    """One command under way on a host. Read its `output` from one thread; `cancel`, `write`, `resize` from any."""

    def __init__(
        self, link: Link, warden: Warden, channel: paramiko.Channel, release: Callable[[], None], command: str
    ) -> None:
        self.command = command
        self._link = link
        self._warden = warden
        self._channel = channel
        self._release = release
        self._number = 0
        self._rung = threading.Event()
        self._over = threading.Lock()
        self._released = False
        self._cancelled: str | None = None
        self._began = time.monotonic()
        channel.in_buffer.set_event(_Bell(self._rung))
        channel.in_stderr_buffer.set_event(_Bell(self._rung))
        channel.status_event = _Bell(self._rung)

    def begin(self, prefix: str, body: str, terminal: Terminal | None) -> None:
        """Start it; called by the host. Raises SshError."""
        self._number, enrolment = self._warden.enrol()
        line = (enrolment + prefix + body).encode("utf-8", "surrogateescape")
        try:
            if terminal is not None:
                self._channel.get_pty(terminal.kind, terminal.width, terminal.height)
            self._channel.exec_command(line)
        except (paramiko.SSHException, EOFError, OSError) as exc:
            if not self._link.alive:
                raise self._link.lost(exc) from exc
            title = self._link.settings.title
            raise SshError(f"{title} did not start `{self.command[:200]}`: {exc}; its sshd log says why") from exc

    # Reading

    def output(self, timeout_s: float | None = None) -> Iterator[tuple[Stream, bytes]]:
        """What it says, as it comes, until it ends. A consumer that is slow slows the command down.

        Raises CommandTimeoutError after `timeout_s` (it is killed then), CommandCancelledError, LinkLostError.
        """
        channel = self._channel
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        quiet_since: float | None = None
        while True:
            self._rung.clear()
            ended = channel.eof_received or channel.closed
            heard = False
            if channel.recv_ready():
                yield Stream.STDOUT, channel.recv(_BLOCK)
                heard = True
            if channel.recv_stderr_ready():
                yield Stream.STDERR, channel.recv_stderr(_BLOCK)
                heard = True
            if heard:
                quiet_since = None
                continue
            if ended and self._status_known:
                break
            now = time.monotonic()
            if self._status_known:
                quiet_since = quiet_since or now
                if now - quiet_since >= _LINGER_S:
                    break
            if deadline is not None and now >= deadline and not self._status_known:
                self.kill()
                raise CommandTimeoutError(
                    f"`{_short(self.command)}` on {self._link.settings.title} was still running after {timeout_s:g} s "
                    "and was killed"
                )
            waits = [] if deadline is None or self._status_known else [deadline - now]
            if quiet_since is not None:
                waits.append(quiet_since + _LINGER_S - now)
            self._rung.wait(min(waits) if waits else None)
        if self._cancelled is not None:
            raise CommandCancelledError(
                f"`{_short(self.command)}` on {self._link.settings.title} was killed: {self._cancelled}"
            )

    def communicate(
        self,
        *,
        stdin: bytes | IO[bytes] | None = None,
        timeout_s: float | None = None,
        on_output: OnOutput | None = None,
        keep_bytes: int = 8 << 20,
    ) -> Completed:
        """Feed it, read it, wait for its end.

        Of each stream the last `keep_bytes` are returned; with `on_output`, which gets all of it as it comes, a tail.
        Raises as `output` does; a deadline's error carries what was kept.
        """
        keep = {stream: _Tail(_TAIL_BYTES if on_output is not None else keep_bytes) for stream in Stream}
        with contextlib.ExitStack() as stack:
            stack.callback(self.close)
            self._feed(stdin)
            try:
                for stream, data in self.output(timeout_s):
                    keep[stream].add(data)
                    if on_output is not None:
                        on_output(stream, data)
            except CommandTimeoutError as exc:
                raise CommandTimeoutError(str(exc), keep[Stream.STDOUT].value, keep[Stream.STDERR].value) from None
            status = self.exit_status
            if status is None:
                raise self._no_status()
            return Completed(
                self.command,
                status,
                keep[Stream.STDOUT].value,
                keep[Stream.STDERR].value,
                exit_signal(self._channel),
                time.monotonic() - self._began,
                sum(each.dropped for each in keep.values()),
            )

    @property
    def exit_status(self) -> int | None:
        """None while it runs, or when its link was lost first."""
        if (name := exit_signal(self._channel)) is not None:
            return 128 + getattr(signal, f"SIG{name}", 0)
        return self._channel.exit_status if self._channel.exit_status >= 0 else None

    @property
    def channel(self) -> paramiko.Channel:
        """The channel itself, for programs that read or write by their own means."""
        return self._channel

    def wait(self, timeout_s: float | None = None) -> int:
        """Wait for its end while somebody else reads its output. Raises TimeoutError, LinkLostError."""
        if not self._channel.status_event.wait(timeout_s):
            raise TimeoutError(f"`{_short(self.command)}` still runs after {timeout_s:g} s")
        status = self.exit_status
        if status is None:
            raise self._no_status()
        return status

    # Writing

    def write(self, data: bytes) -> None:
        """Its input; waits while it takes none. Raises LinkLostError, BrokenPipeError when it has ended."""
        try:
            send_all(self._channel, data)
        except (OSError, EOFError) as exc:
            if not self._link.alive:
                raise self._link.lost(exc) from exc
            raise BrokenPipeError(f"`{_short(self.command)}` takes no more input") from exc

    def end_input(self) -> None:
        """Say that no more input comes."""
        with contextlib.suppress(OSError, EOFError):
            self._channel.shutdown_write()

    def resize(self, width: int, height: int) -> None:
        """The terminal has another size now."""
        with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
            self._channel.resize_pty(width, height)

    # Ending

    def cancel(self, reason: str) -> None:
        """Kill it with all that it started; who reads its output gets CommandCancelledError. May be repeated."""
        if self._status_known or self._cancelled is not None:
            return
        self._cancelled = reason
        self.kill()

    def kill(self, grace_s: float = _GRACE_S) -> None:
        """TERM, and KILL after the grace, to its whole session; back when nothing of it is left.

        Raises LinkLostError when the host cannot confirm that, SshError when processes withstand it.
        """
        if self._channel.status_event.is_set():
            return
        self._warden.end(self._number, grace_s, grace_s + _CONFIRM_S)

    def close(self) -> None:
        """Let go of it: killed if it still runs. Raises nothing; may be repeated."""
        with self._over:
            if self._released:
                return
            self._released = True
        try:
            if not self._status_known and self._number:
                with contextlib.suppress(SshError):
                    self.kill()
            self._warden.forget(self._number)
            hang_up(self._channel)
        finally:
            self._release()

    def __enter__(self) -> RemoteProcess:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    @property
    def _status_known(self) -> bool:
        return self._channel.status_event.is_set()

    def _feed(self, stdin: bytes | IO[bytes] | None) -> None:
        if stdin is None or stdin == b"":
            self.end_input()
        elif isinstance(stdin, bytes) and len(stdin) <= _BLOCK:
            with contextlib.suppress(BrokenPipeError):
                self.write(stdin)
            self.end_input()
        else:
            feeder = threading.Thread(target=self._pour, args=(stdin,), name="ssh-stdin", daemon=True)
            feeder.start()

    def _pour(self, stdin: bytes | IO[bytes]) -> None:
        # A command that ends before its input does, or a lost link, is noticed by who reads its output.
        with contextlib.suppress(BrokenPipeError, LinkLostError):
            if isinstance(stdin, bytes):
                self.write(stdin)
            else:
                while block := stdin.read(_BLOCK):
                    self.write(block)
        self.end_input()

    def _no_status(self) -> LinkLostError:
        if not self._link.alive:
            lost = self._link.lost()
            return LinkLostError(f"{lost} while `{_short(self.command)}` ran; the host kills it")
        return LinkLostError(f"{self._link.settings.title} ended `{_short(self.command)}` without an exit status")


class _Tail:
    """The last bytes of a stream, at most `limit`."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._blocks: deque[bytes] = deque()
        self._size = 0
        self.dropped = 0

    def add(self, data: bytes) -> None:
        self._blocks.append(data)
        self._size += len(data)
        while self._size - len(self._blocks[0]) >= self._limit:
            oldest = self._blocks.popleft()
            self._size -= len(oldest)
            self.dropped += len(oldest)
        if (beyond := self._size - self._limit) > 0:
            self._blocks[0] = self._blocks[0][beyond:]
            self._size = self._limit
            self.dropped += beyond

    @property
    def value(self) -> bytes:
        return b"".join(self._blocks)


def required(completed: Completed, host: str, doing: str) -> Completed:
    """The same, where it succeeded. Raises CommandFailedError with its last words."""
    if completed.exit_status == 0:
        return completed
    said = completed.stderr or completed.stdout
    words = said[-_TAIL_BYTES:].decode(errors="replace").strip()
    raise CommandFailedError(
        f"{doing} on {host} failed with exit status {completed.exit_status}: {words or 'it said nothing'}",
        completed.exit_status,
    )


def _short(command: str) -> str:
    return command if len(command) <= 200 else command[:197] + "..."
