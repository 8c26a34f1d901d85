"""Pose by LiDAR: against a known room map, and of one scan against another."""

from courses.localization.everywhere import Found, find_pose
from courses.localization.locate import averaged_ranges, locate, locate_standstill
from courses.localization.match import Match
from courses.localization.range_model import cramer_rao_bound
from courses.localization.scan_matching import match_scans

__all__ = [
    "Found",
    "Match",
    "averaged_ranges",
    "cramer_rao_bound",
    "find_pose",
    "locate",
    "locate_standstill",
    "match_scans",
]
