"""The guard's two devices, kept open: the motor board with its sentinel, and the LiDAR with its reading thread."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from drivers.clock import Clock
from drivers.create2 import CANCEL_DOCKING_BYTES, STOP_BYTES, Create2
from drivers.errors import DeviceError, DeviceUnreachableError
from drivers.guard.settings import GuardSettings
from drivers.scip import HokuyoLidar, ScanStream
from drivers.types import Scan

_BACK_OFF_S = (0.2, 0.5, 1.0, 2.0, 5.0)
# A guard that died a moment ago leaves its sentinel on the line for about this long.
_TAKE_OVER_S = 2.0
SENTINEL_SILENCE_S = 0.15
_REPLACE_AGAIN_S = 0.2


class Sentinel:
    """The second process that stops the base when this one dies or stalls. Only for lines that are local devices.

    `trouble`: why there is none at the moment; empty while there is one.
    """

    def __init__(self, line: int) -> None:
        self.trouble = ""
        self._line = line
        self._pipe = -1
        self._process: subprocess.Popen[bytes] | None = None
        self._replacing: threading.Thread | None = None
        self._start()

    def tell(self, doing: bytes) -> None:
        """Say what the base does: m, d or r. Never waits; a thread starts a new sentinel when the old one is gone."""
        if self._replacing is not None and self._replacing.is_alive():
            return
        try:
            # A full pipe means that it is stalled itself; this process must not wait for it.
            with contextlib.suppress(BlockingIOError):
                os.write(self._pipe, doing)
        except OSError:
            self._replacing = threading.Thread(target=self._replace, name="sentinel", daemon=True)
            self._replacing.start()

    def close(self) -> None:
        """End it; the base must be at rest."""
        if self._replacing is not None:
            self._replacing.join()
        with contextlib.suppress(OSError):
            os.write(self._pipe, b"q")
        self._end()
        os.close(self._line)

    def _replace(self) -> None:
        self._end()
        try:
            self._start()
        except OSError as exc:
            self.trouble = f"the sentinel ended, and no other can be started: {exc}"
            time.sleep(_REPLACE_AGAIN_S)
        else:
            self.trouble = ""

    def _start(self) -> None:
        reading, self._pipe = os.pipe()
        os.set_blocking(self._pipe, False)
        script = Path(__file__).with_name("sentinel.py")
        arguments = [
            str(self._line),
            str(reading),
            str(SENTINEL_SILENCE_S),
            STOP_BYTES.hex(),
            CANCEL_DOCKING_BYTES.hex(),
        ]
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-I", str(script), *arguments],
                pass_fds=(self._line, reading),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                start_new_session=True,
            )
        finally:
            os.close(reading)

    def _end(self) -> None:
        pipe, self._pipe = self._pipe, -1
        with contextlib.suppress(OSError):
            os.close(pipe)
        if self._process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout=1.0)


def open_board(settings: GuardSettings, clock: Clock) -> tuple[Create2, Sentinel | None]:
    """The motor board, at rest, and its sentinel if the line is a local device.

    Raises DeviceUnreachableError or DeviceSilentError.
    """
    give_up = time.monotonic() + _TAKE_OVER_S
    while True:
        # Opened before the board claims the line for itself alone.
        line = _second_descriptor(settings.base_url)
        try:
            board = Create2.open(settings.base_url, clock, settings.geometry)
            break
        except DeviceUnreachableError:
            if line is not None:
                os.close(line)
            if time.monotonic() > give_up:
                raise
            time.sleep(0.1)
        except BaseException:
            if line is not None:
                os.close(line)
            raise
    if line is None:
        return board, None
    try:
        return board, Sentinel(line)
    except OSError as exc:
        board.close()
        os.close(line)
        raise DeviceUnreachableError(f"the sentinel of {settings.base_url} cannot be started: {exc}") from exc


def _second_descriptor(url: str) -> int | None:
    path = url.removeprefix("serial://")
    if "://" in path:
        return None
    try:
        return os.open(path, os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK)
    except OSError:
        return None  # opening the board says what is wrong, in full


class LidarFeed:
    """Reads the LiDAR in a thread, reconnects after a loss, and hands whole scans over without ever waiting.

    `trouble`: what keeps scans from coming, in words; empty while they come.
    """

    def __init__(self, url: str, clock: Clock, wake: Callable[[], None]) -> None:
        self._url = url
        self._clock = clock
        self._wake = wake
        self._scans: deque[Scan] = deque(maxlen=4)
        self._stream: ScanStream | None = None
        self._closing = threading.Event()
        self.trouble = "the LiDAR has not been reached yet"
        self._thread = threading.Thread(target=self._run, name="lidar", daemon=True)
        self._thread.start()

    def take(self) -> list[Scan]:
        """The scans that came since the last call, oldest first."""
        taken = []
        with contextlib.suppress(IndexError):
            while True:
                taken.append(self._scans.popleft())
        return taken

    def close(self) -> None:
        """End the thread and let go of the LiDAR."""
        self._closing.set()
        if (stream := self._stream) is not None:
            with contextlib.suppress(DeviceError):
                stream.close()
        self._thread.join(timeout=2.0)

    def _run(self) -> None:
        attempt = 0
        while not self._closing.is_set():
            try:
                with HokuyoLidar.open(self._url, self._clock) as lidar:
                    self._stream = lidar.stream()
                    for scan in self._stream:
                        self.trouble = ""
                        attempt = 0
                        self._scans.append(scan)
                        self._wake()
                        if self._closing.is_set():
                            break
            except Exception as exc:
                # Whatever a LiDAR says or the machine lacks, this thread goes on: without it no scan ever came again.
                self.trouble = str(exc) if isinstance(exc, DeviceError) else f"reading the LiDAR failed: {exc!r}"
            finally:
                self._wake()
            self._closing.wait(_BACK_OFF_S[min(attempt, len(_BACK_OFF_S) - 1)])
            attempt += 1
