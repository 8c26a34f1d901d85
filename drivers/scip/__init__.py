"""Hokuyo LiDARs that speak SCIP 2."""

from drivers.scip.client import HokuyoLidar
from drivers.scip.codec import decode_ranges, encode_ranges
from drivers.scip.commands import LidarInfo, Measurement, SensorStatus
from drivers.scip.stream import ScanStream

__all__ = ["HokuyoLidar", "LidarInfo", "Measurement", "ScanStream", "SensorStatus", "decode_ranges", "encode_ranges"]
