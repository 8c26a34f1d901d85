"""One file to a host or from it: resumed after a cut, verified, and under its final name only when it is whole.

Bytes gather in a hidden file beside the final one, named after their SHA-256, so that a later attempt goes on where an
earlier one was cut, but never mixes two contents. Blocks are written at their own place: should the shell of a lost
link still write, it writes the same bytes to the same place.
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
import shlex
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

from drivers.protocols import Shell
from drivers.ssh.errors import CopyError, HostUnreachableError, LinkLostError, SshError
from drivers.ssh.host import quoted_path
from drivers.ssh.process import Stream

_BLOCK = 65_536
_RETRY_S = (0.2, 1.0, 3.0, 10.0)
OnProgress = Callable[[int, int], None]
"""Bytes that are there, bytes in all."""

# Exit statuses of the scripts below.
_IS_FOLDER, _NO_ROOM, _SHORT, _DAMAGED, _ABSENT = 64, 74, 75, 76, 66
# dd reports what it did on standard error; only its complaints are of interest.
_SEND = """
umask 077
dd of={partial} bs={block} seek={skip} conv=notrunc || {{ rm -f -- {partial}; exit {no_room}; }}
[ -e {partial} ] || exit 0
[ "$(wc -c <{partial})" -ge {size} ] || exit {short}
sum=$(sha256sum <{partial}) || exit 1
[ "${{sum%% *}}" = {sha256} ] || {{ rm -f -- {partial}; exit {damaged}; }}
chmod {mode:o} {partial} && touch -m -d @{mtime} {partial} && {{ sync {partial} 2>/dev/null || sync; }} &&
mv -f -T -- {partial} {target}
"""


@dataclass(frozen=True, slots=True)
class Copied:
    """What it took: bytes in all, bytes that went over the wire, and how often the link was lost on the way."""

    size: int
    sent: int
    cuts: int
    target: str


def put(
    host: Shell,
    source: Path,
    target: str,
    *,
    exact: bool = False,
    on_progress: OnProgress = lambda _done, _all: None,
    patience: int = 6,
) -> Copied:
    """Copy a local file to `target` on the host: a file name, or a folder that exists. Keeps mode and time.

    `exact`: `target` is the file's own name, and a symbolic link of that name is replaced, wherever it leads.
    After a lost link it goes on where it was, at most `patience` times. Raises CopyError, LinkLostError.
    """
    try:
        about = source.stat()
        if not stat.S_ISREG(about.st_mode):
            raise CopyError(f"{source} is no file; a folder goes with sync")
        with source.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as exc:
        raise CopyError(f"{source} cannot be read: {exc.strerror}") from exc
    sent = cuts = 0
    while True:
        try:
            final, partial, there = _resume_at(host, source.name, target, sha256, exact=exact)
            with source.open("rb") as file:
                skip = min(there, about.st_size) // _BLOCK
                file.seek(skip * _BLOCK)
                counted = _Counted(file, skip * _BLOCK, about.st_size, on_progress)
                reader = cast(IO[bytes], counted)  # it has what is used of one
                try:
                    _send(host, reader, final, about, partial=quoted_path(partial), skip=skip, sha256=sha256)
                finally:
                    sent += counted.count
            on_progress(about.st_size, about.st_size)
            return Copied(about.st_size, sent, cuts, final)
        except (LinkLostError, HostUnreachableError) as exc:
            if cuts >= patience or (cuts == 0 and isinstance(exc, HostUnreachableError)):
                raise
            time.sleep(_RETRY_S[min(cuts, len(_RETRY_S) - 1)])
            cuts += 1


def _resume_at(host: Shell, name: str, target: str, sha256: str, *, exact: bool) -> tuple[str, str, int]:
    """The final name, the hidden one, and how much of it is there."""
    quoted = quoted_path(target)
    if exact:
        final = target
    elif target.endswith("/"):
        final = target + name
    else:
        folder = host.exec(f"[ -d {quoted} ]", timeout_s=60).exit_status == 0
        final = f"{target}/{name}" if folder else target
    parent, slash, last = final.rpartition("/")
    partial = f"{parent}{slash}{_hidden(last, sha256)}"
    link = f"[ -L {quoted_path(final)} ] || " if exact else ""
    seen = host.exec(
        f"{link}[ ! -d {quoted_path(final)} ] || exit {_IS_FOLDER}; cat {quoted_path(partial)} 2>/dev/null | wc -c",
        timeout_s=600,
    )
    if seen.exit_status == _IS_FOLDER:
        raise CopyError(f"{final} on {host.title} is a folder")
    return final, partial, int(seen.stdout or 0)


def _hidden(name: str, sha256: str) -> str:
    """The name under which a file gathers. A very long one leaves room for what is put round it."""
    return f".labctl-{os.fsdecode(os.fsencode(name)[:80])}.{sha256[:24]}.partial"


def _send(host: Shell, source: IO[bytes], final: str, about: os.stat_result, **how: object) -> None:
    script = _SEND.format(
        target=quoted_path(final),
        block=_BLOCK,
        size=about.st_size,
        mode=stat.S_IMODE(about.st_mode) & 0o777,
        mtime=f"{about.st_mtime_ns // 10**9}.{about.st_mtime_ns % 10**9:09d}",
        no_room=_NO_ROOM,
        short=_SHORT,
        damaged=_DAMAGED,
        **how,
    )
    ended = host.exec(script, stdin=source)
    if ended.exit_status == 0:
        return
    if ended.exit_status == _DAMAGED:
        raise CopyError(f"{final} on {host.title}: what arrived is not what was sent; was the file changed meanwhile?")
    if ended.exit_status == _SHORT:
        raise CopyError(f"{final} on {host.title}: the file became shorter while it was copied")
    raise CopyError(f"{final} on {host.title} cannot be written: {complaints(ended.stderr)}")


def get(
    host: Shell,
    source: str,
    target: Path,
    *,
    exact: bool = False,
    on_progress: OnProgress = lambda _done, _all: None,
    patience: int = 6,
) -> Copied:
    """Copy a file of the host to the local `target`: a file name, or a folder that exists. Keeps mode and time.

    `exact` as in `put`; resumes as that does. Raises CopyError, LinkLostError.
    """
    sent = cuts = 0
    while True:
        try:
            size, mode, mtime_ns, sha256 = _examine(host, source)
            final = target / Path(source).name if target.is_dir() and not exact else target
            partial = final.with_name(_hidden(final.name, sha256))
            writer = _Writer(partial, size, on_progress)
            try:
                script = f"dd if={quoted_path(source)} bs={_BLOCK} skip={writer.start // _BLOCK}"
                ended = host.exec(script, on_output=writer.take)
            finally:
                sent += writer.close()
            if ended.exit_status != 0:
                raise CopyError(f"{source} on {host.title} cannot be read: {complaints(ended.stderr)}")
            _finish(partial, final, mode, mtime_ns, sha256, exact=exact)
            return Copied(size, sent, cuts, str(final))
        except (LinkLostError, HostUnreachableError) as exc:
            if cuts >= patience or (cuts == 0 and isinstance(exc, HostUnreachableError)):
                raise
            time.sleep(_RETRY_S[min(cuts, len(_RETRY_S) - 1)])
            cuts += 1
        except OSError as exc:
            if exc.errno == errno.ENOSPC:
                partial.unlink(missing_ok=True)
            raise CopyError(f"{target} cannot be written: {exc.strerror or exc}") from exc


def _examine(host: Shell, source: str) -> tuple[int, int, int, str]:
    """Size, mode, time of change (ns) and SHA-256 of a file on the host."""
    quoted = quoted_path(source)
    ended = host.exec(
        f"[ -e {quoted} ] || exit {_ABSENT}; [ ! -d {quoted} ] || exit {_IS_FOLDER}; "
        f"stat -L -c '%s %a %.9Y' -- {quoted} && sha256sum <{quoted}"
    )
    if ended.exit_status == _ABSENT:
        raise CopyError(f"there is no file {source} on {host.title}")
    if ended.exit_status == _IS_FOLDER:
        raise CopyError(f"{source} on {host.title} is a folder; a folder comes with sync")
    if ended.exit_status != 0:
        raise CopyError(f"{source} on {host.title} cannot be read: {complaints(ended.stderr)}")
    size, mode, changed, sha256 = ended.stdout.decode().split()[:4]
    seconds, _, fraction = changed.partition(".")
    return int(size), int(mode, 8), int(seconds) * 10**9 + int(fraction or 0), sha256


def _finish(partial: Path, final: Path, mode: int, mtime_ns: int, sha256: str, *, exact: bool) -> None:
    with partial.open("rb+") as file:
        arrived = hashlib.file_digest(file, "sha256").hexdigest()
        os.fsync(file.fileno())
    if arrived != sha256:
        partial.unlink()
        raise CopyError(f"{final}: what arrived is not what was sent; was the file changed meanwhile?")
    partial.chmod(mode & 0o777)
    os.utime(partial, ns=(mtime_ns, mtime_ns))
    if final.is_dir() and not (exact and final.is_symlink()):
        partial.unlink()
        raise CopyError(f"{final} is a folder")
    partial.replace(final)


class _Counted(io.BufferedIOBase):
    """Counts what is read from a file."""

    def __init__(self, file: IO[bytes], start: int, size: int, on_progress: OnProgress) -> None:
        self._file, self._start, self._size, self._on_progress = file, start, size, on_progress
        self.count = 0

    def read(self, size: int | None = -1) -> bytes:
        # No more than was announced, should the file grow meanwhile.
        left = self._size - self._start - self.count
        data = self._file.read(left if size is None or size < 0 else min(size, left))
        self.count += len(data)
        self._on_progress(self._start + self.count, self._size)
        return data


class _Writer:
    """Writes what comes behind what is there already."""

    def __init__(self, path: Path, size: int, on_progress: OnProgress) -> None:
        there = path.stat().st_size if path.exists() else 0
        self.start = min(there, size) // _BLOCK * _BLOCK
        self._file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+b", buffering=0)
        self._file.truncate(self.start)
        self._file.seek(self.start)
        self._size, self._on_progress, self._count = size, on_progress, 0

    def take(self, stream: Stream, data: bytes) -> None:
        if stream is Stream.STDOUT:
            view = memoryview(data)
            while view:
                view = view[self._file.write(view) :]
            self._count += len(data)
            self._on_progress(self.start + self._count, self._size)

    def close(self) -> int:
        self._file.close()
        return self._count


def complaints(stderr: bytes) -> str:
    """What a program complained about, in one line; dd's figures left out."""
    lines = [line for line in stderr[-4000:].decode(errors="replace").splitlines() if line and not line[0].isdigit()]
    return "; ".join(lines[-4:]) or "it did not say why"


def remove(host: Shell, *paths: str) -> None:
    """Remove files or folders on the host, whatever is in them. Raises SshError."""
    if not paths:
        return
    ended = host.exec("rm -rf -- " + " ".join(quoted_path(path) for path in paths))
    if ended.exit_status != 0:
        raise SshError(f"{shlex.join(paths)} on {host.title} cannot be removed: {complaints(ended.stderr)}")
