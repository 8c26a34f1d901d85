"""What is in a folder, here or on a host: one walk, one command."""

from __future__ import annotations

import os
import stat
from enum import Enum
from pathlib import Path
from typing import NamedTuple

import paramiko

from drivers.protocols import Shell
from drivers.ssh.copying import complaints
from drivers.ssh.errors import CopyError
from drivers.ssh.host import SshHost, quoted_path
from drivers.ssh.ignoring import Ignore

_NO_FIND, _ABSENT, _NO_FOLDER = 69, 66, 67


class Kind(Enum):
    """What an entry is."""

    FILE = "f"
    FOLDER = "d"
    LINK = "l"
    OTHER = "?"


class Entry(NamedTuple):
    """One name below a folder. `mode`: permission bits; `target`: of a symbolic link."""

    path: bytes
    kind: Kind
    mode: int
    size: int = 0
    mtime_ns: int = 0
    target: bytes = b""


Listing = dict[bytes, Entry]


def here(folder: Path, ignore: Ignore) -> Listing:
    """Everything below a local folder, by relative path; links are not followed. Raises CopyError."""
    found: Listing = {}
    root = os.fsencode(folder) + b"/"

    def walk(below: bytes) -> None:
        with os.scandir(root + below) as entries:
            for each in entries:
                path = below + each.name
                about = each.stat(follow_symlinks=False)
                if ignore.itself(path, stat.S_ISDIR(about.st_mode)):
                    continue
                target = os.readlink(root + path) if each.is_symlink() else b""  # noqa: PTH115 - names are bytes here
                found[path] = _entry(path, about, target)
                if stat.S_ISDIR(about.st_mode):
                    walk(path + b"/")

    try:
        walk(b"")
    except OSError as exc:
        raise CopyError(f"{folder} cannot be listed: {exc.strerror}: {os.fsdecode(exc.filename or b'')}") from exc
    return found


class _About(NamedTuple):
    """What is needed of an `os.stat_result`."""

    st_mode: int
    st_size: int
    st_mtime_ns: int


def _entry(path: bytes, about: os.stat_result | _About, target: bytes) -> Entry:
    mode = stat.S_IMODE(about.st_mode)
    if stat.S_ISREG(about.st_mode):
        return Entry(path, Kind.FILE, mode, about.st_size, about.st_mtime_ns)
    if stat.S_ISDIR(about.st_mode):
        return Entry(path, Kind.FOLDER, mode)
    if stat.S_ISLNK(about.st_mode):
        return Entry(path, Kind.LINK, 0o777, target=target)
    return Entry(path, Kind.OTHER, mode)


def there(host: Shell, folder: str, ignore: Ignore) -> Listing | None:
    """Everything below a folder of the host; None when there is no such folder.

    One `find`, where that is GNU's; otherwise by SFTP. Raises CopyError.
    """
    quoted = quoted_path(folder)
    script = (
        f"[ -e {quoted} ] || exit {_ABSENT}; cd -- {quoted} || exit {_NO_FOLDER}; "
        f"find . -maxdepth 0 -printf '' 2>/dev/null || exit {_NO_FIND}; "
        r"exec find . -mindepth 1 -printf '%y\t%m\t%s\t%T@\t%P\0%l\0'"
    )
    ended = host.exec(script, keep_bytes=1 << 30)
    if ended.exit_status == _ABSENT:
        return None
    if ended.exit_status == _NO_FIND and isinstance(host, SshHost):
        return by_sftp(host, folder, ignore)
    if ended.exit_status == _NO_FIND:
        raise CopyError(f"{host.title} has no GNU find; install findutils there")
    if ended.exit_status != 0:
        raise CopyError(f"{folder} on {host.title} cannot be listed: {complaints(ended.stderr)}")
    return parse(ended.stdout, ignore)


def parse(listed: bytes, ignore: Ignore) -> Listing:
    """What GNU find printed. Raises CopyError when that is something else."""
    found: Listing = {}
    left_out: set[bytes] = set()
    fields = listed.split(b"\0")
    try:
        for head, target in zip(fields[::2], fields[1::2], strict=False):
            kind, mode, size, changed, path = head.split(b"\t", 4)
            if path.rpartition(b"/")[0] in left_out or ignore.itself(path, kind == b"d"):
                if kind == b"d":
                    left_out.add(path)
                continue
            bits = int(mode, 8)
            if kind == b"f":
                seconds, _, fraction = changed.partition(b".")
                nanoseconds = int(seconds) * 10**9 + int(fraction[:9].ljust(9, b"0"))
                found[path] = Entry(path, Kind.FILE, bits, int(size), nanoseconds)
            elif kind == b"d":
                found[path] = Entry(path, Kind.FOLDER, bits)
            elif kind == b"l":
                found[path] = Entry(path, Kind.LINK, 0o777, target=target)
            else:
                found[path] = Entry(path, Kind.OTHER, bits)
    except ValueError as exc:
        raise CopyError(f"the listing of the folder is not understood ({exc}): {listed[:100]!r}") from None
    return found


def by_sftp(host: SshHost, folder: str, ignore: Ignore) -> Listing:
    """The same by SFTP, a round trip for each folder and link, seconds instead of nanoseconds. Raises CopyError."""
    home = "" if folder.startswith("/") else host.exec("pwd -P", check="asking for the home folder").text + "/"
    root = home + folder.removeprefix("~/") if folder != "~" else home
    found: Listing = {}
    with host.sftp() as sftp:

        def walk(below: str) -> None:
            for each in sftp.listdir_attr(f"{root}/{below}"):
                name = below + each.filename
                path = os.fsencode(name)
                mode = each.st_mode or 0
                if ignore.itself(path, stat.S_ISDIR(mode)):
                    continue
                target = sftp.readlink(f"{root}/{name}") or "" if stat.S_ISLNK(mode) else ""
                about = _About(mode, each.st_size or 0, (each.st_mtime or 0) * 10**9)
                entry = _entry(path, about, os.fsencode(target))
                found[path] = entry
                if entry.kind is Kind.FOLDER:
                    walk(name + "/")

        try:
            walk("")
        except (OSError, EOFError, paramiko.SSHException) as exc:
            raise CopyError(f"{folder} on {host.title} cannot be listed by SFTP: {exc}") from exc
    return found
