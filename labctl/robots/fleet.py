"""All robots of this daemon: hears of leases, and tells the store how the robots are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from drivers.ssh import SshHost
from labctl.config import Lab, RoomConfig, load_room
from labctl.errors import NotFoundError
from labctl.robots.settings import guard_settings
from labctl.robots.supervisor import Place, Robot, RobotHealth
from labctl.steps import BaseAddress
from labctl.store import Store
from labctl.store.inventory import set_device_state
from labctl.store.leasing import Grant


class Fleet:
    """The robots by name; satisfies `labctl.steps.Bases`."""

    def __init__(self, lab: Lab, data: Path, store: Store, host: Callable[[str], SshHost] | None = None) -> None:
        """`host`: the hosts of the lab by name, for robots that hang on one."""
        self._store = store
        self.robots: dict[str, Robot] = {}
        for name, config in lab.robots().items():
            room = lab.devices[config.room]
            assert isinstance(room, RoomConfig)
            settings = guard_settings(name, config, load_room(room), data / "robots" / name)
            place = None if config.host is None or host is None else Place(host(config.host), config.python)
            self.robots[name] = Robot(settings, self._on_health, place)
        self.on_change: Callable[[], None] = lambda: None

    def start(self) -> None:
        for robot in self.robots.values():
            robot.start()

    def close(self) -> None:
        for robot in self.robots.values():
            robot.close()

    def get(self, name: str) -> Robot:
        """The robot of that name. Raises NotFoundError."""
        if name not in self.robots:
            raise NotFoundError(f"there is no robot {name!r}; robots are: {', '.join(self.robots) or 'none'}")
        return self.robots[name]

    def concerned(self, grant: Grant) -> bool:
        """Whether a lease holds any of the robots."""
        return not self.robots.keys().isdisjoint(grant.devices)

    def granted(self, grant: Grant, deadline: float) -> None:
        """A lease began or was renewed; `deadline` is of `time.monotonic()`."""
        for name in grant.devices:
            if name in self.robots:
                self.robots[name].grant(grant.fencing, deadline)

    def ended(self, grant: Grant) -> None:
        """A lease is over."""
        for name in grant.devices:
            if name in self.robots:
                self.robots[name].release(grant.fencing)

    def address(self, robot: str, fencing: int) -> BaseAddress:
        """See `labctl.steps.Bases`."""
        return self.get(robot).address(fencing)

    def lease_ends_at(self, robot: str, fencing: int) -> float:
        """See `labctl.steps.Bases`."""
        return self.get(robot).lease_ends_at(fencing)

    def _on_health(self, name: str, health: RobotHealth, reason: str) -> None:
        state = "good" if health is RobotHealth.READY else "offline"
        self._store.write(lambda transaction: set_device_state(transaction, name, state, reason))
        self.on_change()
