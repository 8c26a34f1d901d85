"""A telepresence robot of another maker, as a lab meets one: its own client, way to its wheels, and stop."""

from drivers.sim.vendor.server import VendorFaults, VendorRobot

__all__ = ["VendorFaults", "VendorRobot"]
