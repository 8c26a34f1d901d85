"""ViSQOL in its speech mode, as the package `visqol-python` computes it with the deep-lattice mapping."""

from __future__ import annotations

import numpy as np

from audio.adapters.other import OtherScore, OtherScoreError, required
from audio.rates import resampled
from audio.recording import Array, Recording

_RATE = 16_000


class Visqol:
    """Satisfies `OtherScorer`."""

    name = "visqol"

    def __init__(self) -> None:
        """Raises OtherScoreError when the package or its lattice mapping is not installed."""
        package, self._version = required("visqol", "visqol-python", "ViSQOL", "visqol")
        required("ai_edge_litert", "ai-edge-litert", "the lattice mapping of ViSQOL", "visqol")
        self._judge = package.VisqolApi()
        self._judge.create(mode="speech", use_lattice_model=True)

    def score(self, reference: Array, degraded: Array, sample_rate: int) -> OtherScore:
        """At 16 kHz, what its speech mode is made for; None for a silent recording."""
        value = None
        if np.any(degraded):
            sides = [resampled(Recording(side, sample_rate), _RATE) for side in (reference, degraded)]
            try:
                with np.errstate(all="ignore"):  # divides by the energy of patches that may be digital silence
                    found = float(self._judge.measure_from_arrays(*sides, _RATE).moslqo)
            except Exception as exc:
                raise OtherScoreError(f"ViSQOL gave no score: {type(exc).__name__}: {exc}") from exc
            value = found if np.isfinite(found) else None
        return OtherScore(self.name, value, (1.0, 5.0), f"visqol-python {self._version}, speech, lattice")
