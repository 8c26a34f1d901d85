"""A host of the lab as a `drivers.protocols.Shell`, by way of the daemon: what the library does with a host, we do."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import IO

from drivers.ssh import Completed, LinkLostError, SshError, Stream
from drivers.ssh.errors import CommandCancelledError, CommandFailedError, CommandTimeoutError
from drivers.ssh.host import shown
from drivers.ssh.process import OnOutput
from labctl.client import Lab, LabClientError
from labctl.host_client import STDOUT, HostCommandError

_BLOCK = 65_536
_UNAVAILABLE = 503
_ERRORS: dict[str, type[SshError]] = {"timeout": CommandTimeoutError, "cancelled": CommandCancelledError}


class DaemonShell:
    """Satisfies `drivers.protocols.Shell`."""

    def __init__(self, lab: Lab, name: str, *, despite_lease: bool = False) -> None:
        self._host = lab.host(name)
        self._despite_lease = despite_lease

    @property
    def title(self) -> str:
        return self._host.name

    def exec(
        self,
        command: str | Sequence[str],
        *,
        stdin: bytes | IO[bytes] | None = None,
        timeout_s: float | None = None,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        on_output: OnOutput | None = None,
        keep_bytes: int = 8 << 20,
        check: str = "",
    ) -> Completed:
        """See `drivers.protocols.Shell`."""
        kept = {Stream.STDOUT: bytearray(), Stream.STDERR: bytearray()}

        def take(kind: int, data: bytes) -> None:
            stream = Stream.STDOUT if kind == STDOUT else Stream.STDERR
            if on_output is not None:
                on_output(stream, data)
            if on_output is None or stream is Stream.STDERR:
                kept[stream] += data
                del kept[stream][:-keep_bytes]

        try:
            done = self._host.exec(
                command,
                stdin=_pieces(stdin),
                timeout_s=timeout_s,
                cwd=cwd,
                env=env,
                on_output=take,
                despite_lease=self._despite_lease,
            )
        except HostCommandError as exc:
            raise _ERRORS.get(exc.kind, LinkLostError)(str(exc)) from None
        except LabClientError as exc:
            if exc.status in (0, _UNAVAILABLE):
                raise LinkLostError(str(exc)) from None
            raise
        said = (bytes(kept[Stream.STDOUT]), bytes(kept[Stream.STDERR]))
        if check and done.exit_status:
            words = (said[1] or said[0])[-2000:].decode(errors="replace").strip() or "it said nothing"
            raise CommandFailedError(f"{check} on {self.title} failed: {words}", done.exit_status)
        return Completed(shown(command), done.exit_status, *said)


def _pieces(stdin: bytes | IO[bytes] | None) -> bytes | Iterable[bytes]:
    if stdin is None or isinstance(stdin, bytes):
        return stdin or b""
    return _read(stdin)


def _read(file: IO[bytes]) -> Iterator[bytes]:
    while block := file.read(_BLOCK):
        yield block
