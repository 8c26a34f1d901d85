"""The robots of this daemon: their motion guards, emergency stops, and connections for who drives."""

from labctl.robots.fleet import Fleet
from labctl.robots.supervisor import Robot, RobotHealth

__all__ = ["Fleet", "Robot", "RobotHealth"]
