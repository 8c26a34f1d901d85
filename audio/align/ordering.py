"""Keeps the runs of lag that come in the recording in the order they have in the reference: time does not go back."""

from __future__ import annotations

import numpy as np

from audio.align.bands import FRAME_S
from audio.align.runs import FrameLags, Run

SLACK_S = FRAME_S + 0.030  # what the windows of two runs share, and a jump back of a jitter buffer
MOST_SLACK_S = 0.3  # at a cut both runs reach over it, each as far as silence or chance lets it


def in_order(frames: FrameLags, runs: list[Run]) -> list[Run]:
    """Return the runs, given in order of the reference, that are in order in the recording too and explain most.

    A chance match in the noise of a muted part, or in a repetition elsewhere in the call, would have to go back in
    the recording before or after it; what it explains is far less than what would have to be given up for it.
    """
    if len(runs) < 2:
        return runs
    begins, ends, worth = np.empty(len(runs)), np.empty(len(runs)), np.empty(len(runs))
    for index, run in enumerate(runs):
        part = slice(run.first, run.end)
        first, last = (float(frames.times_s[at]) for at in (run.first, run.end - 1))
        begins[index], ends[index] = first + float(run.at(first)), last + float(run.at(last))
        explained = np.square(np.clip(np.maximum(frames.low[part], frames.fine[part]), 0, 1))
        worth[index] = float(np.sum(explained))
    spans = ends - begins
    total, before = worth.copy(), np.full(len(runs), -1)
    for index in range(1, len(runs)):
        slack = np.clip(0.5 * np.minimum(spans[:index], spans[index]), SLACK_S, MOST_SLACK_S)
        earlier = np.where(ends[:index] <= begins[index] + slack, total[:index], -np.inf)
        best = index - 1 - int(np.argmax(earlier[::-1]))
        if np.isfinite(earlier[best]):
            total[index], before[index] = total[index] + earlier[best], best
    kept, index = [], int(np.argmax(total))
    while index >= 0:
        kept.append(runs[index])
        index = int(before[index])
    return kept[::-1]
