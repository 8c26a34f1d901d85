"""iRobot Create 2 over its Open Interface: `Create2` and the bytes that stop it."""

from drivers.create2.codec import CANCEL_DOCKING_BYTES, NOMINAL_GEOMETRY, STOP_BYTES, BoardSensors, reach_factor
from drivers.create2.driver import Create2
from drivers.create2.encoders import OdometryBreak

__all__ = [
    "CANCEL_DOCKING_BYTES",
    "NOMINAL_GEOMETRY",
    "STOP_BYTES",
    "BoardSensors",
    "Create2",
    "OdometryBreak",
    "reach_factor",
]
