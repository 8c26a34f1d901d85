"""Rooms that robots drive in: the surveyed map, its geofence and its docks, read from YAML files."""

from drivers.rooms.room import Dock, Outline, Room

__all__ = ["Dock", "Outline", "Room"]
