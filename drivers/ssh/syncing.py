"""Keeps a folder in step, here and on a host: only what changed moves, and nothing half copied stands under its name.

Small files travel as one tar stream into a hidden folder beside their final place, are verified there, and then renamed
one by one; large files go by themselves, so that a cut costs little.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import shlex
import shutil
import socket
import tarfile
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from drivers.protocols import Shell
from drivers.ssh import listing
from drivers.ssh.copying import complaints, get, put
from drivers.ssh.errors import CopyError, SshError
from drivers.ssh.host import quoted_path
from drivers.ssh.ignoring import Ignore
from drivers.ssh.listing import Entry, Kind
from drivers.ssh.planning import Plan, plan
from drivers.ssh.process import Completed, Stream

_LARGE_BYTES = 16 << 20
_ARGUMENTS_BYTES = 60_000
_UNPACK = """
cd -- {target} && rm -rf {staging} && mkdir -m 700 {staging} || exit 1
if tar -x -p -o -f - -C {staging} &&
  (cd {staging} && {{ [ ! -s .sums ] || sha256sum -c .sums >/dev/null; }}) &&
  sh {staging}/.apply
then rm -rf {staging}
else rm -rf {staging}; exit 1
fi
"""
OnStep = Callable[[str, int, int], None]
"""What is being done, bytes done, bytes in all."""


@dataclass(frozen=True, slots=True)
class Synced:
    """What changed: how many files and links were copied, with how many bytes, and how much was removed."""

    copied: int
    bytes: int
    removed: int
    unchanged: int

    @property
    def nothing(self) -> bool:
        return not (self.copied or self.removed)


def _quiet(_what: str, _done: int, _all: int) -> None:
    return


def sync_to(
    host: Shell,
    source: Path,
    target: str,
    *,
    delete: bool = False,
    ignore: Ignore | None = None,
    on_step: OnStep = _quiet,
) -> Synced:
    """Make the folder `target` of the host as the local `source`; with `delete` remove what only the host has.

    What `ignore` leaves out is neither copied nor removed. Raises CopyError, LinkLostError; run it again to go on.
    """
    rules = ignore or Ignore.of(())
    if not source.is_dir():
        raise CopyError(f"{source} is no folder")
    on_step("comparing", 0, 0)
    with ThreadPoolExecutor(1, "sync-listing") as pool:
        asked = pool.submit(listing.there, host, target, rules)
        ours = listing.here(source, rules)
        theirs = asked.result()
    if theirs is None:
        _required(host.exec(f"mkdir -p -- {quoted_path(target)}"), host, f"{target} cannot be made")
        theirs = {}
    todo = plan(ours, theirs, delete=delete)
    if not todo.empty:
        for each in todo.copy:
            if each.kind is Kind.FILE and not os.access(_at(source, each), os.R_OK):
                raise CopyError(f"{_at(source, each)} cannot be read: no permission")
        large = [each for each in todo.copy if each.size >= _LARGE_BYTES]
        staging = f".labctl-sync.{_identity(source)}"
        script = _UNPACK.format(target=quoted_path(target), staging=staging)
        with _packed(source, todo, staging, on_step) as stream:
            ended = host.exec(script, stdin=stream)
        _required(ended, host, f"{target} was not brought in step, a second run goes on")
        for each in large:
            name = os.fsdecode(each.path)
            put(host, source / name, f"{target}/{name}", exact=True, on_progress=_told(on_step, name))
    return _counted(todo, ours)


def _told(on_step: OnStep, name: str) -> Callable[[int, int], None]:
    return lambda done, size: on_step(name, done, size)


def _at(folder: Path, entry: Entry) -> Path:
    return folder / os.fsdecode(entry.path)


def _counted(todo: Plan, ours: listing.Listing) -> Synced:
    kept = sum(each.kind in (Kind.FILE, Kind.LINK) for each in ours.values()) - len(todo.copy)
    return Synced(len(todo.copy), todo.bytes, len(todo.remove), kept)


@contextlib.contextmanager
def _packed(source: Path, todo: Plan, staging: str, on_step: OnStep) -> Iterator[IO[bytes]]:
    """A tar stream of the small files that change and of the script that puts them into place."""
    reading, writing = os.pipe()
    failed: list[BaseException] = []
    small = [each for each in todo.copy if each.size < _LARGE_BYTES]
    total = sum(each.size for each in small)

    def fill() -> None:
        sums: list[bytes] = []
        done = 0
        try:
            with (
                os.fdopen(writing, "wb") as sink,
                tarfile.open(
                    fileobj=sink, mode="w|", format=tarfile.PAX_FORMAT, encoding="utf-8", errors="surrogateescape"
                ) as tar,
            ):
                for folder in _parents(small):
                    tar.addfile(_header(folder + b"/", tarfile.DIRTYPE, 0o700))
                for each in small:
                    _add(tar, source, each, sums)
                    done += each.size
                    on_step("copying", done, total)
                _add_text(tar, b".sums", b"".join(sums))
                _add_text(tar, b".apply", _script(todo, small, staging))
        except BrokenPipeError:
            pass  # the host says why
        except BaseException as exc:
            failed.append(exc)

    with os.fdopen(reading, "rb") as stream:
        thread = threading.Thread(target=fill, name="sync-pack", daemon=True)
        thread.start()
        try:
            yield stream
        finally:
            stream.close()
            thread.join()
    if failed:
        raise CopyError(f"{source} cannot be read: {failed[0]}") from failed[0]


def _header(path: bytes, kind: bytes, mode: int) -> tarfile.TarInfo:
    header = tarfile.TarInfo(os.fsdecode(b"./" + path))
    header.type, header.mode = kind, mode
    return header


def _add(tar: tarfile.TarFile, source: Path, entry: Entry, sums: list[bytes]) -> None:
    if entry.kind is Kind.LINK:
        header = _header(entry.path, tarfile.SYMTYPE, 0o777)
        header.linkname = os.fsdecode(entry.target)
        tar.addfile(header)
        return
    header = _header(entry.path, tarfile.REGTYPE, entry.mode)
    header.size = entry.size
    header.pax_headers = {"mtime": f"{entry.mtime_ns // 10**9}.{entry.mtime_ns % 10**9:09d}"}
    data = _at(source, entry).read_bytes()
    if len(data) != entry.size:
        raise CopyError(f"{os.fsdecode(entry.path)} changed while it was copied")
    tar.addfile(header, io.BytesIO(data))
    name = b"./" + entry.path
    escaped = name.replace(b"\\", b"\\\\").replace(b"\n", b"\\n").replace(b"\r", b"\\r")
    sums.append(
        (b"\\" if escaped != name else b"") + hashlib.sha256(data).hexdigest().encode() + b"  " + escaped + b"\n"
    )


def _add_text(tar: tarfile.TarFile, path: bytes, text: bytes) -> None:
    header = _header(path, tarfile.REGTYPE, 0o600)
    header.size = len(text)
    tar.addfile(header, io.BytesIO(text))


def _parents(entries: Iterable[Entry]) -> list[bytes]:
    found: set[bytes] = set()
    for each in entries:
        parent = each.path.rpartition(b"/")[0]
        while parent and parent not in found:
            found.add(parent)
            parent = parent.rpartition(b"/")[0]
    return sorted(found)


def _script(todo: Plan, small: Sequence[Entry], staging: str) -> bytes:
    """The shell script that puts everything into place, run in the target folder."""
    lines: list[bytes] = [b"set -e"]
    files = [each for each in todo.remove if each.kind is not Kind.FOLDER]
    lines += _commands(b"rm -f --", files)
    # A folder that still holds what the rules leave out stays.
    lines += [
        b"rmdir -- " + _quoted(each.path) + b" 2>/dev/null || :" for each in todo.remove if each.kind is Kind.FOLDER
    ]
    lines += _commands(b"mkdir -p -m 700 --", todo.folders)
    by_folder: dict[bytes, list[Entry]] = {}
    for each in small:
        by_folder.setdefault(each.path.rpartition(b"/")[0], []).append(each)
    stage = staging.encode() + b"/"
    for folder, entries in by_folder.items():
        lines += _commands(b"mv -f --", entries, stage, b" " + _quoted(folder + b"/" if folder else b""))
    by_mode: dict[int, list[Entry]] = {}
    for each in (*todo.modes, *reversed(todo.folders)):
        by_mode.setdefault(each.mode, []).append(each)
    for mode, entries in by_mode.items():
        lines += _commands(b"chmod %o --" % mode, entries)
    return b"\n".join(lines) + b"\n"


def _commands(verb: bytes, entries: Iterable[Entry], below: bytes = b"", last: bytes = b"") -> list[bytes]:
    """Command lines over all entries, none longer than a system takes."""
    lines, line = [], b""
    for each in entries:
        line += b" " + _quoted(below + each.path)
        if len(line) > _ARGUMENTS_BYTES:
            lines.append(verb + line + last)
            line = b""
    return [*lines, verb + line + last] if line else lines


def _quoted(path: bytes) -> bytes:
    return os.fsencode(shlex.quote(os.fsdecode(b"./" + path)))


def sync_from(
    host: Shell,
    source: str,
    target: Path,
    *,
    delete: bool = False,
    ignore: Ignore | None = None,
    on_step: OnStep = _quiet,
) -> Synced:
    """Make the local folder `target` as `source` on the host; as `sync_to`, the other way round.

    Raises CopyError, also when the host has no such folder.
    """
    rules = ignore or Ignore.of(())
    on_step("comparing", 0, 0)
    theirs = listing.there(host, source, rules)
    if theirs is None:
        raise CopyError(f"there is no folder {source} on {host.title}")
    target.mkdir(parents=True, exist_ok=True)
    todo = plan(theirs, listing.here(target, rules), delete=delete)
    if todo.empty:
        return _counted(todo, theirs)
    staging = target / f".labctl-sync.{_identity(target)}"
    small = [each for each in todo.copy if each.size < _LARGE_BYTES]
    try:
        _clear(staging)
        staging.mkdir(mode=0o700)
        try:
            if small:
                _unpack(host, source, staging, small, on_step)
            _apply(target, staging, todo, small)
        finally:
            _clear(staging)
    except OSError as exc:
        raise CopyError(f"{target} was not brought in step, a second run goes on: {exc.strerror or exc}") from exc
    for each in todo.copy:
        if each.size >= _LARGE_BYTES:
            name = os.fsdecode(each.path)
            # A host that had us make a link earlier must not have a file written to where that leads.
            get(host, f"{source}/{name}", target / name, exact=True, on_progress=_told(on_step, name))
    for each in (*todo.modes, *reversed(todo.folders)):
        _at(target, each).chmod(each.mode & 0o777)
    return _counted(todo, theirs)


def _unpack(host: Shell, source: str, staging: Path, small: Sequence[Entry], on_step: OnStep) -> None:
    """Fetch files into the staging folder, each exactly as it was listed."""
    wanted = {each.path: each for each in small}
    total, done = sum(each.size for each in small), 0
    with _fetched(host, source, list(wanted)) as stream:
        try:
            with tarfile.open(fileobj=stream, mode="r|", encoding="utf-8", errors="surrogateescape") as tar:
                for member in tar:
                    entry = wanted.pop(os.fsencode(member.name).removeprefix(b"./"), None)
                    if entry is not None:
                        _extract(tar, member, _at(staging, entry), entry)
                        done += entry.size
                        on_step("copying", done, total)
        except tarfile.TarError as exc:
            raise CopyError(f"{source} on {host.title} cannot be read: {exc}") from exc
    if wanted:
        raise CopyError(f"{source} on {host.title} changed while it was copied: {next(iter(wanted))!r} is gone")


@contextlib.contextmanager
def _fetched(host: Shell, source: str, paths: Sequence[bytes]) -> Iterator[IO[bytes]]:
    """A tar stream of files of the host. What goes wrong there is raised at the end, before what follows from it."""
    names = b"".join(b"./" + path + b"\0" for path in paths)
    script = f"cd -- {quoted_path(source)} && exec tar -c --no-recursion --null -T - -f -"
    reading, writing = os.pipe()
    ended: list[Completed | SshError] = []

    def fetch() -> None:
        with os.fdopen(writing, "wb", buffering=0) as sink:

            def take(stream: Stream, data: bytes) -> None:
                view = memoryview(data)
                with contextlib.suppress(BrokenPipeError):
                    while view and stream is Stream.STDOUT:
                        view = view[sink.write(view) :]

            try:
                ended.append(host.exec(script, stdin=names, on_output=take))
            except SshError as exc:
                ended.append(exc)

    thread = threading.Thread(target=fetch, name="sync-fetch", daemon=True)
    thread.start()
    failure: CopyError | None = None
    with os.fdopen(reading, "rb") as stream:
        try:
            yield stream
        except CopyError as exc:
            failure = exc
    thread.join()
    if isinstance(ended[0], SshError):
        raise ended[0]
    _required(ended[0], host, f"{source} cannot be read")
    if failure is not None:
        raise failure


def _extract(tar: tarfile.TarFile, member: tarfile.TarInfo, place: Path, entry: Entry) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    if member.issym() and entry.kind is Kind.LINK:
        place.symlink_to(member.linkname)
        return
    content = tar.extractfile(member) if member.isreg() else None
    if content is None or member.size != entry.size:
        raise CopyError(f"{os.fsdecode(entry.path)} changed while it was copied")
    with place.open("wb") as file:
        shutil.copyfileobj(content, file)
    place.chmod(entry.mode & 0o777)
    os.utime(place, ns=(entry.mtime_ns, entry.mtime_ns))


def _apply(target: Path, staging: Path, todo: Plan, small: Sequence[Entry]) -> None:
    for each in todo.remove:
        place = _at(target, each)
        if each.kind is Kind.FOLDER:
            with contextlib.suppress(OSError):  # it may hold what the rules leave out
                place.rmdir()
        else:
            place.unlink(missing_ok=True)
    for each in todo.folders:
        _at(target, each).mkdir(mode=0o700, exist_ok=True)
    for each in small:
        _at(staging, each).replace(_at(target, each))


def _clear(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)


def _identity(folder: Path) -> str:
    """The same for each run of one sync, so that a run cleans up after one that was cut."""
    text = f"{socket.gethostname()}:{folder.resolve()}".encode("utf-8", "surrogateescape")
    return hashlib.sha256(text).hexdigest()[:12]


def _required(ended: Completed, host: Shell, failure: str) -> None:
    if ended.exit_status != 0:
        raise CopyError(f"{failure}: {complaints(ended.stderr)} ({host.title}, exit status {ended.exit_status})")
