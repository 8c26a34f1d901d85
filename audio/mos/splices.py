"""Compares the frames around a change of delay at the place near by where they fit best.

A jitter buffer repeats or drops a pitch period with a cross-fade. Such a frame belongs to two places of the reference;
a listener hears a period more or less, not the difference from either. What was concealed for want of a packet moves
the delay as well, but it fits nowhere near, and is heard as what it is.
"""

from __future__ import annotations

import numpy as np

from audio.align import Alignment, Segment
from audio.intervals import runs
from audio.mos.bands import HOP_S, Bands, Floats, Single, frame_powers
from audio.mos.disturbance import Disturbance
from audio.mos.faults import Activity, Mask, gain_db

REACH_S = 0.120  # a frame this near to a change is looked at
SPLICE_S = 0.036  # a frame this near holds it
MOST_CHANGED, MOST_ADDED = 0.4, 3.0  # what the splice itself may disturb
CHANGE_S = 0.001
LONGEST_CUT_S = 0.3  # more is not heard as a skip, but as speech that is missing
OFFSETS_S = (-0.0125, -0.010, -0.0075, -0.005, -0.0025, 0.0025, 0.005, 0.0075, 0.010, 0.0125)
CLEAN = 0.08  # of its loudness a splice may differ from the place where it fits best,
CLEAN_OVER_USUAL = 1.6  # or so many times what the best quarter of all frames differs: in noise all do
MISFIT_FRAMES = 3  # a cross-fade that fits badly spans two at most
LOUDNESS_EXPONENT = np.float32(0.23)
BLOCK = 256


def is_cut_out(segment: Segment) -> bool:
    """Tell whether the recording skips a short part of the reference: no silence is heard in its place."""
    return bool(np.isnan(segment.lag_start_s)) and segment.end_s - segment.start_s <= LONGEST_CUT_S


def find_cut_out(alignment: Alignment, count: int, reach_s: float = 0.0) -> Mask:
    """Return which of `count` frames lie in what was cut out, or within `reach_s` of it."""
    middles = np.arange(count) * HOP_S + HOP_S
    inside = np.zeros(count, dtype=bool)
    for segment in alignment.segments:
        if is_cut_out(segment):
            inside |= (middles >= segment.start_s - reach_s) & (middles <= segment.end_s + reach_s)
    return inside


def find_moving(alignment: Alignment, count: int, reach_s: float = REACH_S) -> Mask:
    """Return which of `count` frames lie near a change of delay."""
    middles = np.arange(count) * HOP_S + HOP_S
    before, after = alignment.lag(middles - reach_s), alignment.lag(middles + reach_s)
    here = alignment.lag(middles)
    apart = np.maximum(np.abs(after - here), np.abs(here - before))
    moving: Mask = (apart > CHANGE_S) | find_cut_out(alignment, count, reach_s)
    return moving


def settle(
    reference: Single, powers: Single, warped: Floats, *, moving: Mask, activity: Activity, bands: Bands
) -> tuple[Single, Mask]:
    """Return band powers (T, B) of a warped recording, each moving frame taken where it is nearest to the reference.

    Where several frames on end do not fit there, (T,) in the second value, they stay what they are.
    """
    frames = np.flatnonzero(moving)
    misfits = np.zeros(len(powers), dtype=bool)
    if len(frames) == 0:
        return powers, misfits
    nearest = powers.copy()
    scale = np.float32(10 ** (-gain_db(reference, powers, activity, bands) / 10))
    usual = _distance(reference[activity.active], powers[activity.active], scale)
    allowed = max(CLEAN, CLEAN_OVER_USUAL * float(np.quantile(usual, 0.25)))
    reach = round(max(OFFSETS_S) * bands.sample_rate)
    for start in range(0, len(frames), BLOCK):
        some = frames[start : start + BLOCK]
        least = _distance(reference[some], powers[some], scale)
        first = some[0] * bands.hop - reach
        part = warped[max(first, 0) : some[-1] * bands.hop + bands.size + reach].astype(np.float32)
        part = np.pad(part, (max(-first, 0), bands.size + 2 * reach))
        views = np.lib.stride_tricks.sliding_window_view(part, bands.size)
        for offset_s in OFFSETS_S:
            found = frame_powers(views[some * bands.hop - first + round(offset_s * bands.sample_rate)], bands)
            distance = _distance(reference[some], found, scale)
            nearer = distance < least
            least = np.where(nearer, distance, least)
            nearest[some[nearer]] = found[nearer]
        misfits[some] = activity.active[some] & (least > allowed)
    for begin, end in runs(misfits):
        misfits[begin:end] = end - begin >= MISFIT_FRAMES
    return np.where(misfits[:, None], powers, nearest), misfits


def _distance(reference: Single, powers: Single, scale: np.float32) -> Single:
    """Return how much the loudness of frames (F, B) differs, as a share (F,) of that of the reference."""
    wanted = reference**LOUDNESS_EXPONENT
    apart: Single = np.abs((scale * powers) ** LOUDNESS_EXPONENT - wanted).sum(axis=1) / (
        wanted.sum(axis=1) + np.float32(1e-9)
    )
    return apart


def limit(disturbance: Disturbance, alignment: Alignment, misfits: Mask) -> Disturbance:
    """Return the disturbance with that of the frames that hold a change of delay limited, but of `misfits` (T,).

    A cut-out is a skip whatever lies beside it: how much is missing is counted elsewhere.
    """
    count = len(disturbance.changed)
    splice = (find_moving(alignment, count, SPLICE_S) & ~misfits) | find_cut_out(alignment, count, SPLICE_S)
    return Disturbance(
        np.where(splice, np.minimum(disturbance.changed, MOST_CHANGED), disturbance.changed),
        np.where(splice, np.minimum(disturbance.added, MOST_ADDED), disturbance.added),
    )
