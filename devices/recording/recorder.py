"""Writes down what sessions do, in a thread of its own: who drives a session never waits for the disk."""

from __future__ import annotations

import base64
import binascii
import json
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Protocol

from devices.recording import film, masking
from devices.webdriver import read_json

_LONGEST_TEXT = 4000
_GATHER_S = 0.1
_ENCODE = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode  # json.dumps makes a new one each time


@dataclass(frozen=True, slots=True)
class Kept:
    """A file that a session leaves."""

    file: Path
    name: str
    media_type: str


@dataclass(frozen=True, slots=True)
class Command:
    """One command as it went. `at`: when it came, seconds since 1970; `target_ms`: the target's share of `total_ms`.

    `request` and `response`: the bodies, b"" where they were streamed.
    """

    at: float
    method: str
    path: str
    request: bytes
    status: int
    response: bytes
    size: int
    target_ms: float
    total_ms: float


class Recorder:
    """The thread that writes. `workers`: who makes films; the thread itself without them.

    It wakes up a little after there is something to do, and then does all that has gathered: waking it for each command
    would cost the session more than the rest of its recording.
    """

    def __init__(self, workers: Executor | None = None) -> None:
        self._workers = workers
        self._work: deque[Callable[[], None]] = deque()
        self._something = threading.Event()
        self._hurry = threading.Event()
        self._closing = False
        self._thread = threading.Thread(target=self._write_all, name="webdriver-recorder", daemon=True)
        self._thread.start()

    def open(self, folder: Path, *, commands: bool = True, mask: bool = False) -> Recording:
        """A recording that writes into `folder`."""
        return Recording(self._enqueue, self._workers, folder, commands=commands, mask=mask)

    def close(self) -> None:
        """Write what is queued, then end."""
        self._closing = True
        self._hurry.set()
        self._something.set()
        self._thread.join()

    def _enqueue(self, work: Callable[[], None], *, hurry: bool = False) -> None:
        self._work.append(work)
        if hurry:
            self._hurry.set()
        if not self._something.is_set():
            self._something.set()

    def _write_all(self) -> None:
        while not self._closing or self._work:
            self._something.wait()
            self._hurry.wait(_GATHER_S)
            self._hurry.clear()
            self._something.clear()
            while self._work:
                self._work.popleft()()


class _Enqueue(Protocol):
    def __call__(self, work: Callable[[], None], *, hurry: bool = False) -> None: ...


class Recording:
    """What one session leaves. All methods return at once."""

    def __init__(
        self,
        enqueue: _Enqueue,
        workers: Executor | None,
        folder: Path,
        *,
        commands: bool,
        mask: bool,
    ) -> None:
        self._enqueue = enqueue
        self._workers = workers
        self._folder = folder
        self._log_commands = commands
        self._mask = mask
        self._log: IO[str] | None = None
        self._kept: list[Kept] = []
        self._frames: list[tuple[float, Path]] = []
        self._failure: Exception | None = None
        self._ended = False  # what still comes, such as the end of a websocket, is too late

    def command(self, command: Command) -> None:
        """Log a command."""
        if self._log_commands:
            self._later(lambda: self._write(self._entry(command)))

    def note(self, at: float, what: str, **data: Any) -> None:
        """Log something that is no command, such as a websocket that opened."""
        if self._log_commands:
            self._later(lambda: self._write({"time": _iso(at), "event": what, **data}))

    def picture(self, at: float, name: str, response: bytes) -> None:
        """Keep a screenshot, given as the response of Take Screenshot."""

        def write() -> None:
            if (png := _png(response)) is not None:
                file = self._folder / f"{name}.png"
                file.write_bytes(png)
                self._kept.append(Kept(file, file.name, "image/png"))
                if self._log_commands:
                    self._write({"time": _iso(at), "event": "screenshot", "file": file.name})

        self._later(write)

    def frame(self, at: float, response: bytes) -> None:
        """Add a picture to the film strip, given as the response of Take Screenshot."""

        def write() -> None:
            if (png := _png(response)) is not None:
                file = self._folder / f"frame-{len(self._frames):05}.png"
                file.write_bytes(png)
                self._frames.append((at, file))

        self._later(write)

    def text(self, name: str, content: bytes, media_type: str = "text/plain") -> None:
        """Keep a file, such as a log."""

        def write() -> None:
            if content:
                file = self._folder / name
                file.write_bytes(content)
                self._kept.append(Kept(file, name, media_type))

        self._later(write)

    def finish(self) -> Future[list[Kept]]:
        """End the recording: the files it left, once all is written.

        The future raises OSError when something could not be written; `kept` says what was all the same.
        """
        done: Future[list[Kept]] = Future()

        def end() -> None:
            self._ended = True
            try:
                if self._log is not None:
                    self._log.close()
                    file = Path(self._log.name)
                    self._kept.insert(0, Kept(file, file.name, "application/jsonl"))
                making = self._make_film() if self._frames else None
            except Exception as exc:
                self._failure = self._failure or exc
                making = None
            if making is None:
                self._over(done)
            else:  # which takes a while: other sessions have something to write down meanwhile
                making.add_done_callback(lambda made: self._over(done, made))

        self._enqueue(end, hurry=True)
        return done

    @property
    def kept(self) -> list[Kept]:
        """What has been written so far."""
        return list(self._kept)

    def _make_film(self) -> Future[None] | None:
        """The film in the making; None where it is made already."""
        if self._workers is not None:
            return self._workers.submit(film.assemble, self._frames, self._film)
        film.assemble(self._frames, self._film)
        self._kept.append(Kept(self._film, self._film.name, "image/webp"))
        return None

    def _over(self, done: Future[list[Kept]], film_made: Future[None] | None = None) -> None:
        if film_made is not None:
            try:
                film_made.result()
                self._kept.append(Kept(self._film, self._film.name, "image/webp"))
            except Exception as exc:
                self._failure = self._failure or exc
        if self._failure is None:
            done.set_result(self._kept)
        else:
            done.set_exception(self._failure)

    @property
    def _film(self) -> Path:
        return self._folder / "film.webp"

    def _later(self, work: Callable[[], None]) -> None:
        def perform() -> None:
            if self._failure is not None or self._ended:
                return
            try:
                work()
            except Exception as exc:  # a full disk ends the recording, not the session
                self._failure = exc

        self._enqueue(perform)

    def _write(self, entry: dict[str, Any]) -> None:
        if self._log is None:
            self._log = (self._folder / "commands.jsonl").open("w", encoding="utf-8")
        self._log.write(f"{_ENCODE(entry)}\n")

    def _entry(self, command: Command) -> dict[str, Any]:
        request, response = _parsed(command.request), _parsed(command.response)
        if self._mask and masking.types_text(command.path):
            request = masking.masked(request) if isinstance(request, dict | list) else masking.MASK
        if self._mask and masking.reads_text(command.path):
            response = masking.MASK
        entry: dict[str, Any] = {
            "time": _iso(command.at),
            "method": command.method,
            "path": command.path,
            "status": command.status,
            "total_ms": round(command.total_ms, 3),
            "target_ms": round(command.target_ms, 3),
        }
        if request not in ("", {}):
            entry["request"] = _shortened(request)
        entry["response"] = _shortened(response) if response != "" else f"{command.size} bytes"
        return entry


def _parsed(body: bytes) -> Any:
    if not body:
        return ""
    if len(body) > _LONGEST_TEXT:
        return f"{body[:200].decode(errors='replace')}... {len(body)} bytes"
    text = body.decode(errors="replace")
    try:
        return read_json(text)
    except ValueError:
        return text


def _shortened(value: Any) -> Any:
    return value["value"] if isinstance(value, dict) and value.keys() == {"value"} else value


def _png(response: bytes) -> bytes | None:
    try:
        return base64.b64decode(read_json(response)["value"])
    except (ValueError, KeyError, TypeError, binascii.Error):
        return None


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
