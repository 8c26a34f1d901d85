"""How a robot is driven: the seam through which velocities reach it."""

from __future__ import annotations

from typing import Protocol

from drivers.protocols import MotionBase


class DrivingInput(Protocol):
    """Turns wished velocities into whatever moves the robot: motor commands, keys held down, a stick deflected.

    A velocity lapses by itself, so the driving code repeats it at 20 Hz or more. An input that knows only some
    velocities (keys) rounds to the nearest it has; the driving code closes the loop on the pose.
    """

    @property
    def name(self) -> str:
        """What reports call it."""

    def drive(self, linear: float, angular: float) -> None:
        """Wish for a velocity, m/s forward and rad/s counter-clockwise. Returns at once."""

    def stop(self) -> None:
        """Let go of everything: the robot comes to rest."""


class DirectInput:
    """Velocities go straight to the base, through its guard."""

    name = "direct"

    def __init__(self, base: MotionBase) -> None:
        self._base = base

    def drive(self, linear: float, angular: float) -> None:
        self._base.drive(linear, angular)

    def stop(self) -> None:
        self._base.stop()
