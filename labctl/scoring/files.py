"""Audio files that people upload: read to the end in another process before they are stored."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from labctl.errors import InvalidInputError, LabError, NotFoundError
from labctl.scoring import rows
from labctl.scoring.outcome import Refused
from labctl.scoring.pool import AudioPool
from labctl.store import Store, new_id
from labctl.store.tables import audio_files

LARGEST_BYTES = 256 << 20
_INSPECT = "labctl.scoring.inspecting:inspect_file"
_ENDINGS = {"WAV": ".wav", "FLAC": ".flac", "OGG": ".ogg"}


class FileTooLargeError(LabError):
    """An uploaded file is larger than what is taken."""

    status = 413
    title = "Too large"

    def __init__(self) -> None:
        super().__init__(f"an audio file may have {LARGEST_BYTES} bytes; cut it into pieces, or send FLAC")


class Upload:
    """A file under way: bytes are added as they come, and nothing of it remains unless it is finished."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = 0
        self._digest = hashlib.sha256()
        self._file = path.open("xb")

    def add(self, chunk: bytes) -> None:
        """Raises FileTooLargeError."""
        self.size += len(chunk)
        if self.size > LARGEST_BYTES:
            raise FileTooLargeError
        self._digest.update(chunk)
        self._file.write(chunk)

    def finish(self) -> str:
        """Make it durable; returns the SHA-256."""
        self._file.flush()
        os.fsync(self._file.fileno())
        return self._digest.hexdigest()

    def close(self) -> None:
        self._file.close()
        self.path.unlink(missing_ok=True)


class AudioFiles:
    """The folder of uploaded files, and their rows."""

    def __init__(self, folder: Path, store: Store, pool: AudioPool) -> None:
        self._folder = folder
        self._incoming = folder / "incoming"
        self._store = store
        self._pool = pool
        self._incoming.mkdir(parents=True, exist_ok=True)
        for left in self._incoming.iterdir():  # of uploads that a dead daemon did not finish
            left.unlink()

    @contextmanager
    def upload(self) -> Iterator[Upload]:
        """A file to add bytes to, then to `keep`."""
        upload = Upload(self._incoming / new_id())
        try:
            yield upload
        finally:
            upload.close()

    def keep(self, upload: Upload, name: str, owner: str) -> str:
        """Verify and store what was uploaded; returns its id. Raises InvalidInputError for what is no usable audio."""
        digest = upload.finish()
        facts = self._inspected(upload, name)
        file = new_id()
        location = f"{file}{_ENDINGS[facts['container']]}"
        upload.path.rename(self._folder / location)
        row = {"name": name, "size": upload.size, "sha256": digest, "location": location, **facts}
        try:
            self._store.write(lambda transaction: rows.add_file(transaction, file, owner, row))
        except BaseException:
            (self._folder / location).unlink(missing_ok=True)
            raise
        return file

    def path(self, file: str) -> tuple[Path, str]:
        """Where a file lies, and its name. Raises NotFoundError."""
        row = self.row(file)
        path = self._folder / row.location
        if not path.is_file():
            raise NotFoundError(f"audio file {file} was removed from the data folder")
        return path, row.name

    def row(self, file: str) -> sa.Row[Any]:
        """What is known of a file. Raises NotFoundError."""
        with self._store.read() as connection:
            row = connection.execute(sa.select(audio_files).where(audio_files.c.id == file)).one_or_none()
        if row is None:
            raise NotFoundError(f"there is no audio file {file!r}; GET /api/v1/audio/files lists them")
        return row

    def remove(self, file: str) -> None:
        """Delete a file. Raises NotFoundError, or ConflictError while a job needs it."""
        location = self._store.write(lambda transaction: rows.remove_file(transaction, file))
        (self._folder / location).unlink(missing_ok=True)

    def _inspected(self, upload: Upload, name: str) -> dict[str, Any]:
        try:
            facts: dict[str, Any] | Refused = self._pool.run(_INSPECT, str(upload.path), name)
        except BrokenProcessPool:
            raise InvalidInputError(f"{name} made the program that reads audio crash; export it again") from None
        if isinstance(facts, Refused):
            raise InvalidInputError(facts.reason)
        return facts
