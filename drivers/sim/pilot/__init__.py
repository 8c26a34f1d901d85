"""The pilot's client of the bench: a page that drives a robot over a websocket."""

from drivers.sim.pilot.server import PilotServer

__all__ = ["PilotServer"]
