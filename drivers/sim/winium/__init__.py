"""Simulated servers of Winium (Desktop, Mobile, StoreApps.CodedUi) with a small Windows application behind them."""

from drivers.sim.winium.application import Application
from drivers.sim.winium.server import WiniumFaults, WiniumServer

__all__ = ["Application", "WiniumFaults", "WiniumServer"]
