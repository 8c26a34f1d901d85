"""What ends a course early: the lab's fault, the robot's fault, or somebody's wish."""

from __future__ import annotations


class LabError(Exception):
    """A cause on the lab's side: the course says nothing about the robot. The run is errored."""


class RobotFaultError(Exception):
    """The robot was free to do what was asked and did not. The run is failed."""


class CourseCancelledError(Exception):
    """Somebody cancelled the course."""
