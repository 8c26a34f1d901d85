"""A full-reference score of speech as a listener would give it: MOS-LQO, its course over time, and the reasons."""

from audio.mos.perceptual import PerceptualScore, perceptual
from audio.mos.reasons import Reason, ReasonKind

__all__ = ["PerceptualScore", "Reason", "ReasonKind", "perceptual"]
