"""Finds where each moment of a reference is in a degraded recording, and puts the recording on the reference's time."""

from audio.align.aligner import align
from audio.align.alignment import Alignment, Interval, Segment, SegmentKind, Utterance

__all__ = ["Alignment", "Interval", "Segment", "SegmentKind", "Utterance", "align"]
