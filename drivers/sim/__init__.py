"""The simulated bench: rooms, a robot body and the boards and sensors that speak the real wires."""

from drivers.sim.bench import Bench, BenchError, BenchRobot

__all__ = ["Bench", "BenchError", "BenchRobot"]
