"""Files that runs leave behind: written, hashed and renamed into place before their row says that they are there."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from labctl.store.identifiers import new_id

_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file in the store. `location` is relative to it."""

    location: str
    size: int
    sha256: str


class ArtifactStore:
    """A folder of artifacts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def put(self, run: str, source: Path) -> StoredFile:
        """Copy the file `source` into the store under its run; whole or not at all, also at a power cut.

        On a full disk the store takes the file itself, if it lies on the same disk. Raises OSError.
        """
        directory = self.folder / run
        directory.mkdir(parents=True, exist_ok=True)
        target = directory / f"{new_id()}{''.join(source.suffixes)}"
        partial = target.with_name(target.name + ".partial")
        try:
            try:
                _copy(source, partial)
            except OSError as exc:
                if exc.errno != errno.ENOSPC:
                    raise
                partial.unlink(missing_ok=True)
                partial.hardlink_to(source)
            with partial.open("rb") as stored:
                digest = hashlib.file_digest(stored, "sha256").hexdigest()
                size = stored.tell()
            partial.replace(target)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
        _sync_folder(directory)
        return StoredFile(str(target.relative_to(self.folder)), size, digest)

    def path(self, location: str) -> Path:
        """Where the file lies. Raises FileNotFoundError when it was removed."""
        path = (self.folder / location).resolve()
        if not path.is_relative_to(self.folder.resolve()) or not path.is_file():
            raise FileNotFoundError(location)
        return path


def _copy(source: Path, target: Path) -> None:
    with source.open("rb") as reader, target.open("wb") as writer:
        shutil.copyfileobj(reader, writer, _BLOCK)
        writer.flush()
        os.fsync(writer.fileno())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
