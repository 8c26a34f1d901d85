"""A simulated Winium.Desktop server with a small Windows application behind it."""

from drivers.sim.winium.application import Application
from drivers.sim.winium.server import WiniumFaults, WiniumServer

__all__ = ["Application", "WiniumFaults", "WiniumServer"]
