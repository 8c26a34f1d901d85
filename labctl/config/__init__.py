"""The lab file: which devices a lab has and how they hang together."""

from labctl.config.load import json_schema, load_lab, load_room
from labctl.config.model import DeviceConfig, Lab, LidarConfig, RobotConfig, RoomConfig

__all__ = ["DeviceConfig", "Lab", "LidarConfig", "RobotConfig", "RoomConfig", "json_schema", "load_lab", "load_room"]
