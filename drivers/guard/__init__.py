"""The motion guard: the only writer of a moving base, in a process of its own; its client, and what starts it."""

from drivers.guard.client import GuardClient
from drivers.guard.settings import DockingRules, Footprint, GuardSettings, LidarRules, Limits, PoseRules, Stopping
from drivers.guard.spawn import GuardProcess

__all__ = [
    "DockingRules",
    "Footprint",
    "GuardClient",
    "GuardProcess",
    "GuardSettings",
    "LidarRules",
    "Limits",
    "PoseRules",
    "Stopping",
]
