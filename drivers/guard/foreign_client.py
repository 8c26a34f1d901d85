"""The guard's client for a base that its own client drives: arms its stop channel, tells what its page shows."""

from __future__ import annotations

from drivers.guard import wire
from drivers.guard.client import GuardClient
from drivers.types import BaseState


class ForeignGuardClient(GuardClient):
    """A connection to the guard of such a base. Its `drive` moves nothing: it asks what the page may ask for now."""

    def arm(self) -> None:
        """Let the stop channel go of the base, and have it watched from now on.

        Returns at once; `status` says when it may move. Raises MotionRefusedError when the base is not ours to drive,
        its emergency stop is on, or it has no stop channel.
        """
        self._ask("arm", fencing=self._fencing)

    def disarm(self) -> None:
        """End the watch: the base's client drives it no more."""
        self._ask("disarm", fencing=self._fencing)

    def trip(self, why: str) -> None:
        """Use the stop channel now; the base stays stopped until it is armed again."""
        self._ask("trip", fencing=self._fencing, why=why)

    def tell_state(self, state: BaseState) -> None:
        """Tell what the base's client shows of it. Returns at once."""
        told = wire.pack_state(state)
        self._send(wire.message({"op": "reading", "state": told, "fencing": self._fencing, "sent": self._clock.now()}))
