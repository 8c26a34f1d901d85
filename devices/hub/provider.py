"""Where the hub gets its devices: the contract with whoever leases them, and with whoever keeps what was recorded."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

from devices.hub.capabilities import Candidate
from devices.hub.gate import Caller
from devices.hub.target import Target
from devices.recording import Kept


class Verdict(StrEnum):
    """How a session went: by its client's own word (passed, failed), broken off, or spoilt by the lab."""

    PASSED = "passed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    ERRORED = "errored"


@dataclass(frozen=True, slots=True)
class Ending:
    """How a session ended. `suspect`: the target did not let it go properly and must be looked at before it is used."""

    verdict: Verdict
    reason: str
    suspect: bool = False


class Placement(Protocol):
    """A device that is held for one session. Exactly one `free` follows, and one `conclude` after it."""

    @property
    def device(self) -> str: ...

    @property
    def target(self) -> Target: ...

    @property
    def candidates(self) -> Sequence[Candidate]:
        """Those of the request that the device admits, with the same lab options, best first."""

    @property
    def folder(self) -> Path:
        """For what the session leaves; removed by `conclude`."""

    @property
    def about(self) -> Mapping[str, Any]:
        """`lab:` capabilities for the client, such as the run's id."""

    async def began(self, session: str, capabilities: Mapping[str, Any]) -> None:
        """The target has begun the session.

        Raises WebDriverError when the device is held no more: that may have ended while the target took its time.
        """

    async def healed(self, told: Mapping[str, Any]) -> None:
        """A locator was healed, or might have been: `broken`, `replacement`, `confidence`, `evidence`, `healed`."""

    async def free(self, ending: Ending) -> None:
        """Give the device back: others may have it once this returns. Looks after a suspect target first."""

    async def conclude(self, ending: Ending, files: Sequence[Kept]) -> None:
        """Keep the files and close the books."""


class Provider(Protocol):
    """Finds devices for sessions."""

    async def acquire(
        self, candidates: Sequence[Candidate], caller: Caller, waiting: Callable[[str], None]
    ) -> Placement:
        """A device for the first candidate that has one, now or as soon as one is free.

        `waiting` is told why it takes time, whenever that changes. Cancelled when nobody waits any more. Raises
        `devices.webdriver.WebDriverError` "session not created" where no device could ever do.
        """

    async def ready(self) -> bool:
        """Whether there is a device that nobody holds, so that some request for a session need not wait."""
