"""Files that runs leave behind: written, hashed and renamed into place before their row says that they are there."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from labctl.store.identifiers import new_id

_BLOCK = 1 << 20
_KEPT = 2 << 30
_OBJECT_STORES = ("s3", "s3a", "gs", "gcs", "abfs", "abfss", "az")


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file in the store. `location` is relative to it."""

    location: str
    size: int
    sha256: str


class ArtifactStore:
    """A folder of artifacts. `url`: where they are for all daemons of the lab, if not in this folder alone."""

    url: str | None = None

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


class SharedArtifacts(ArtifactStore):
    """Artifacts in an object store, or in a folder that all daemons of a lab reach, by an fsspec URL: `s3://...`,
    `file:///net/lab`. Files that are asked for are kept in a folder of this daemon, the newest `_KEPT` bytes of them.
    """

    def __init__(self, url: str, folder: Path) -> None:
        super().__init__(folder)
        import fsspec  # noqa: PLC0415  # takes a moment, and a lab of one daemon does without

        self.url = url
        self._files, self._root = fsspec.core.url_to_fs(url)
        # An object store has none, and one that is asked to make them may make a bucket of a misspelt name.
        self._has_folders = url.partition("://")[0] not in _OBJECT_STORES

    def put(self, run: str, source: Path) -> StoredFile:
        """As in a folder; the file is whole there before it bears its name. Raises OSError."""
        with source.open("rb") as reading:
            digest = hashlib.file_digest(reading, "sha256").hexdigest()
            size = reading.tell()
        location = f"{run}/{new_id()}{''.join(source.suffixes)}"
        target = f"{self._root}/{location}"
        with self._reached():
            if self._has_folders:
                self._files.makedirs(f"{self._root}/{run}", exist_ok=True)
            self._files.put_file(str(source), target + ".partial")
            self._files.mv(target + ".partial", target)
            stored = self._files.size(target)
        if stored != size:
            raise OSError(errno.EIO, f"{self.url} has {stored} of {size} bytes", location)
        return StoredFile(location, size, digest)

    def path(self, location: str) -> Path:
        """A copy of the file here. Raises FileNotFoundError when it was removed, or another OSError."""
        path = (self.folder / location).resolve()
        if not path.is_relative_to(self.folder.resolve()):
            raise FileNotFoundError(location)
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            partial = path.with_name(f"{path.name}.{new_id()}.partial")
            try:
                with self._reached():
                    self._files.get_file(f"{self._root}/{location}", str(partial))
                partial.replace(path)
            finally:
                partial.unlink(missing_ok=True)
            self._make_room(path)
        os.utime(path)
        return path

    @contextmanager
    def _reached(self) -> Iterator[None]:
        """What the library of an object store raises of its own becomes an OSError: the store is not reached."""
        try:
            yield
        except OSError:
            raise
        except Exception as exc:
            raise OSError(errno.EIO, f"the artifacts in {self.url} are out of reach: {exc}") from exc

    def _make_room(self, newest: Path) -> None:
        kept = sorted(
            (each for each in self.folder.rglob("*") if each.is_file()), key=lambda each: each.stat().st_mtime
        )
        size = sum(each.stat().st_size for each in kept)
        for each in kept:
            if size <= _KEPT or each == newest:
                return
            size -= each.stat().st_size
            each.unlink(missing_ok=True)


def open_artifacts(url: str | None, folder: Path) -> ArtifactStore:
    """Artifacts at `url`, or in `folder`."""
    return ArtifactStore(folder) if url is None else SharedArtifacts(url, folder)


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
