"""A lease as a client sees it: renewed in the background until it is released."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from labctl.connection import AWAY, Connection, LabClientError

# Renew when a third of the duration is over.
_RENEW_AFTER = 1 / 3
_AGAIN_AFTER = 1 / 20  # where nobody answers
_MARGIN_S = 0.25  # whoever holds it stops this much before the lab would call it over


class Lease:
    """A granted lease, renewed in the background. `lost`: says why when it ended before it was released.

    A lab that does not answer is asked again until the lease is over by this computer's own clock; then it is lost.
    """

    def __init__(self, lab: Connection, granted: Mapping[str, Any], duration_s: float) -> None:
        self._lab = lab
        self.id: str = granted["id"]
        self.fencing: int = granted["fencing"]
        self.devices: list[str] = list(granted["devices"])
        self.expires_at: str = granted["expires_at"]
        self.lost: str | None = None
        self._duration_s = duration_s
        self._deadline = time.monotonic() + duration_s - _MARGIN_S
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
        wait_s = self._duration_s * _RENEW_AFTER
        while not self._over.wait(wait_s):
            begun = time.monotonic()
            within_s = max(_MARGIN_S, self._deadline - begun)
            try:
                answer = self._lab.request("POST", f"/api/v1/leases/{self.id}/renew", timeout=within_s)
            except LabClientError as exc:
                if exc.status not in AWAY:
                    self.lost = str(exc)
                    return
                if time.monotonic() >= self._deadline:
                    self.lost = f"it was over before it could be renewed: {exc}"
                    return
                wait_s = min(self._duration_s * _AGAIN_AFTER, max(0.0, self._deadline - time.monotonic()))
            else:
                self.expires_at, self._deadline = answer["expires_at"], begun + self._duration_s - _MARGIN_S
                wait_s = self._duration_s * _RENEW_AFTER
