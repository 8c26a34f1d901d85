"""Scores of other programs, shown beside ours: PESQ, ViSQOL and a licensed POLQA, none of which ships with us."""

from audio.adapters.choosing import CHOICES, scorers
from audio.adapters.other import OtherScore, OtherScoreError, OtherScorer
from audio.adapters.pesq import Pesq
from audio.adapters.polqa import Polqa, PolqaSettings
from audio.adapters.visqol import Visqol

__all__ = [
    "CHOICES",
    "OtherScore",
    "OtherScoreError",
    "OtherScorer",
    "Pesq",
    "Polqa",
    "PolqaSettings",
    "Visqol",
    "scorers",
]
