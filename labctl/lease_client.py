"""A lease as a client sees it: renewed in the background until it is released."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from labctl.connection import Connection, LabClientError

# Renew when a third of the duration is over.
_RENEW_AFTER = 1 / 3


class Lease:
    """A granted lease, renewed in the background. `lost`: says why when it ended before it was released."""

    def __init__(self, lab: Connection, granted: Mapping[str, Any], duration_s: float) -> None:
        self._lab = lab
        self.id: str = granted["id"]
        self.fencing: int = granted["fencing"]
        self.devices: list[str] = list(granted["devices"])
        self.expires_at: str = granted["expires_at"]
        self.lost: str | None = None
        self._duration_s = duration_s
        self._over = threading.Event()
        self._renewing = threading.Thread(target=self._renew, name=f"lease {self.id}", daemon=True)
        self._renewing.start()

    def release(self) -> None:
        """Give the devices back. May be repeated."""
        if self._over.is_set():
            return
        self._over.set()
        self._renewing.join()
        if self.lost is None:
            self._lab.request("DELETE", f"/api/v1/leases/{self.id}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.release()
        else:
            with contextlib.suppress(LabClientError):  # what went wrong inside counts
                self.release()

    def _renew(self) -> None:
        while not self._over.wait(self._duration_s * _RENEW_AFTER):
            try:
                self.expires_at = self._lab.request("POST", f"/api/v1/leases/{self.id}/renew")["expires_at"]
            except LabClientError as exc:
                if exc.status:  # refused; without an answer it is tried again
                    self.lost = str(exc)
                    return
