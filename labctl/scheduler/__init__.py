"""Who gets which devices when: a pure core that knows nothing of the database."""

from labctl.scheduler.board import Board
from labctl.scheduler.decide import can_ever, decide, fits_cap
from labctl.scheduler.explain import Lack, Obstacle, lacks, other_reason
from labctl.scheduler.forecast import Outlook, expected_start, look_ahead
from labctl.scheduler.model import AGEING_S, Holding, Placement, Request, Rules, Slot
from labctl.scheduler.sets import assign

__all__ = [
    "AGEING_S",
    "Board",
    "Holding",
    "Lack",
    "Obstacle",
    "Outlook",
    "Placement",
    "Request",
    "Rules",
    "Slot",
    "assign",
    "can_ever",
    "decide",
    "expected_start",
    "fits_cap",
    "lacks",
    "look_ahead",
    "other_reason",
]
