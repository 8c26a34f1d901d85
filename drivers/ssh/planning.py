"""What has to be done so that one folder becomes as another: a function of two listings."""

from __future__ import annotations

from dataclasses import dataclass, field

from drivers.ssh.errors import CopyError
from drivers.ssh.listing import Entry, Kind, Listing


@dataclass(frozen=True, slots=True)
class Plan:
    """In this order: `remove` (deepest first), `folders` (outermost first), `copy` files and links, then modes."""

    remove: list[Entry] = field(default_factory=list)
    folders: list[Entry] = field(default_factory=list)
    copy: list[Entry] = field(default_factory=list)
    modes: list[Entry] = field(default_factory=list)

    @property
    def empty(self) -> bool:
        return not (self.remove or self.folders or self.copy or self.modes)

    @property
    def bytes(self) -> int:
        """How many bytes of files are copied."""
        return sum(entry.size for entry in self.copy)


def plan(source: Listing, target: Listing, *, delete: bool) -> Plan:
    """Make `target` as `source`; with `delete` also remove what only the target has.

    A file counts as unchanged when size and time of change agree (to the second where one side keeps only seconds).
    Sockets, devices and the like are passed over in the source. Raises CopyError for a listing that contradicts itself.
    """
    made = Plan()
    for path in sorted(source):
        entry, old = source[path], target.get(path)
        _check(path, source)
        if entry.kind is Kind.OTHER:
            continue
        if old is not None and old.kind is not entry.kind and not (old.kind is Kind.LINK and entry.kind is Kind.FILE):
            made.remove.extend(_tree(old, target))
            old = None
        if entry.kind is Kind.FOLDER:
            if old is None:
                made.folders.append(entry)
            elif old.mode != entry.mode:
                made.modes.append(entry)
        elif old is None or not _same(entry, old):
            made.copy.append(entry)
        elif entry.kind is Kind.FILE and old.mode != entry.mode:
            made.modes.append(entry)
    if delete:
        gone = {each.path for each in made.remove}
        made.remove.extend(entry for path, entry in target.items() if path not in source and path not in gone)
    made.remove.sort(key=lambda each: each.path, reverse=True)
    return made


def _same(entry: Entry, old: Entry) -> bool:
    if entry.kind is not old.kind:
        return False
    if entry.kind is Kind.LINK:
        return entry.target == old.target
    if entry.size != old.size:
        return False
    if entry.mtime_ns % 10**9 and old.mtime_ns % 10**9:
        return entry.mtime_ns == old.mtime_ns
    return entry.mtime_ns // 10**9 == old.mtime_ns // 10**9


def _tree(entry: Entry, listing: Listing) -> list[Entry]:
    if entry.kind is not Kind.FOLDER:
        return [entry]
    return [entry, *(each for path, each in listing.items() if path.startswith(entry.path + b"/"))]


def _check(path: bytes, source: Listing) -> None:
    """A host that lies must not make us write outside of the folder."""
    parent, slash, name = path.rpartition(b"/")
    if name in (b"", b".", b"..") or b"\0" in name:
        raise CopyError(f"the listing names {path!r}, which no folder can contain")
    if slash and (parent not in source or source[parent].kind is not Kind.FOLDER):
        raise CopyError(f"the listing names {path!r}, but {parent!r} is no folder in it")
