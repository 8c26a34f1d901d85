"""The daemon's own sound server and the pairs on it: made when the daemon starts, removed when it ends."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import Self

import structlog

from drivers.errors import DeviceError
from drivers.sound import PulseServer, VirtualPair
from labctl.config import Lab
from labctl.config.audio import AudioConfig, VirtualEndpoint

log = structlog.get_logger(__name__)


class VirtualSound:
    """The virtual microphones and speakers of a lab. `lab` is the lab with its virtual endpoints bound to them.

    The server starts with the context, if the lab names a virtual endpoint, and again at the next use if it died.
    """

    def __init__(self, lab: Lab) -> None:
        names = [name for name, device in lab.devices.items() if _endpoint(device) is not None]
        # Device names may have dots and dashes, names on a sound server not: the number keeps them apart.
        self._words = {name: f"lab{number}_{re.sub(r'[^a-z0-9]', '_', name)[:36]}" for number, name in enumerate(names)}
        self._pairs: dict[str, VirtualPair] = {}
        self._server: PulseServer | None = None
        self._lock = threading.Lock()
        self._closed = False
        self.on_restart: Callable[[], None] = lambda: None  # called when a server that died was started again
        self.lab = lab.model_copy(
            update={"devices": {name: self._bound(name, device) for name, device in lab.devices.items()}}
        )

    def pair(self, device: str) -> VirtualPair:
        """The pair of a device. Raises DeviceError when PulseAudio is missing, does not start or refuses."""
        with self._lock:
            if self._closed:
                raise DeviceError(f"the virtual microphone of {device} is gone: the daemon is shutting down")
            died = self._server is not None and not self._server.alive
            if self._server is not None and died:
                log.warning("the sound server died and is started again", pid=self._server.pid)
                self._drop()
            if self._server is None:
                self._server = PulseServer.start()
            if device not in self._pairs:
                self._pairs[device] = self._server.make_pair(self._words[device])
            pair = self._pairs[device]
        if died:
            self.on_restart()
        return pair

    def _bound(self, name: str, device: object) -> object:
        endpoint = _endpoint(device)
        if endpoint is None or not isinstance(device, AudioConfig):
            return device
        return device.model_copy(update={"endpoint": endpoint.bound(partial(self.pair, name))})

    def _make_all(self) -> None:
        for name in self._words:
            try:
                self.pair(name)
            except DeviceError as exc:
                log.warning("no virtual microphone and speaker", device=name, reason=str(exc))

    def _drop(self) -> None:
        server, self._server = self._server, None
        self._pairs.clear()
        if server is not None:
            server.close()

    def __enter__(self) -> Self:
        if self._words:
            # A client may be started on a pair before anything is played: the pairs have to be there.
            threading.Thread(target=self._make_all, name="virtual-sound", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._closed = True
            self._drop()


def _endpoint(device: object) -> VirtualEndpoint | None:
    if isinstance(device, AudioConfig) and isinstance(device.endpoint, VirtualEndpoint):
        return device.endpoint
    return None
