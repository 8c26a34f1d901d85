"""A robot as a client sees it: how it is, the emergency stop, the way out of quarantine and back to the dock."""

from __future__ import annotations

from typing import Any

from labctl.connection import Connection


class Robot:
    """A robot of the lab."""

    def __init__(self, lab: Connection, name: str) -> None:
        self._lab = lab
        self.name = name

    def status(self) -> dict[str, Any]:
        """Health, motion, battery."""
        return self._lab.request("GET", f"/api/v1/robots/{self.name}")

    def estop(self, reason: str = "") -> dict[str, Any]:
        """Emergency stop: the robot stops now and stays stopped until it is reset. Needs no lease."""
        return self._lab.request("POST", f"/api/v1/robots/{self.name}/estop", json={"reason": reason})

    def reset(self, person: str, reason: str) -> dict[str, Any]:
        """Take the emergency stop off: a person's act, at the robot's side."""
        body = {"person": person, "reason": reason}
        return self._lab.request("POST", f"/api/v1/robots/{self.name}/estop/reset", json=body)

    def health(self) -> dict[str, Any]:
        """Checks, lab errors in a row, and how far it is on its way out of quarantine."""
        return self._lab.request("GET", f"/api/v1/devices/{self.name}/health")

    def preflight(self) -> dict[str, Any]:
        """Look at everything now: `passed` and `checks`. Takes seconds."""
        return self._lab.request("POST", f"/api/v1/robots/{self.name}/preflight", timeout=120)

    def acknowledge(self, person: str, reason: str) -> dict[str, Any]:
        """Take it out of quarantine: a person's act, after a preflight that passed."""
        body = {"person": person, "reason": reason}
        return self._lab.request("POST", f"/api/v1/robots/{self.name}/acknowledge", json=body)

    def return_to_dock(self, person: str, reason: str) -> dict[str, Any]:
        """Begin its slow way back; say `hold` with the `id` at least once a second, or it stops."""
        body = {"person": person, "reason": reason}
        return self._lab.request("POST", f"/api/v1/robots/{self.name}/return-to-dock", json=body)

    def hold(self, session: str) -> dict[str, Any]:
        """A person still holds the key."""
        return self._lab.request("POST", f"/api/v1/robots/{self.name}/return-to-dock/{session}/hold")

    def returning(self, session: str) -> dict[str, Any]:
        """How a way back goes, or went."""
        return self._lab.request("GET", f"/api/v1/robots/{self.name}/return-to-dock/{session}")
