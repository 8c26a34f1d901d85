"""PESQ after ITU-T P.862.1 (narrow-band) and P.862.2 (wide-band), as the package `pesq` computes it."""

from __future__ import annotations

from typing import Literal

import numpy as np

from audio.adapters.other import OtherScore, OtherScoreError, required
from audio.rates import resampled
from audio.recording import Array, Recording

# The package's C code has room for 50 utterances and does not check; speech of this length has fewer.
LONGEST_S = 30.0
_RATES = {"wb": 16_000, "nb": 8000}
# The mapping functions of P.862.2 and P.862.1 at the ends of the raw score, -0.5 and 4.5.
_SCALES = {"wb": (1.04, 4.64), "nb": (1.02, 4.55)}


class Pesq:
    """Satisfies `OtherScorer`. `mode`: "wb" judges what a wide-band listener hears, "nb" a telephone's."""

    def __init__(self, mode: Literal["wb", "nb"] = "wb") -> None:
        """Raises OtherScoreError when the package is not installed."""
        self._package, self._version = required("pesq", "pesq", "PESQ", "pesq", "it is compiled and needs a C compiler")
        self._mode = mode

    @property
    def name(self) -> str:
        """`pesq_wb` or `pesq_nb`."""
        return f"pesq_{self._mode}"

    def score(self, reference: Array, degraded: Array, sample_rate: int) -> OtherScore:
        """At 16 kHz for wide-band, 8 kHz for narrow-band; None where PESQ finds no utterance.

        Raises OtherScoreError above 30 s, and for wide-band below 16 kHz.
        """
        rate = _RATES[self._mode]
        if sample_rate < rate:
            raise OtherScoreError(
                f"wide-band PESQ needs sound at {rate} Hz or more, not {sample_rate} Hz; ask for pesq:nb"
            )
        longest_s = max(len(reference), len(degraded)) / sample_rate
        if longest_s > LONGEST_S:
            raise OtherScoreError(
                f"PESQ is asked about at most {LONGEST_S:g} s, not {longest_s:.0f} s; cut both files, or leave it out"
            )
        value = None
        if np.any(degraded):
            sides = [resampled(Recording(side, sample_rate), rate) for side in (reference, degraded)]
            value = self._ask(rate, *sides)
        return OtherScore(self.name, value, _SCALES[self._mode], f"pesq {self._version}")

    def _ask(self, rate: int, reference: Array, degraded: Array) -> float | None:
        try:
            value = float(self._package.pesq(rate, reference, degraded, self._mode))
        except (self._package.NoUtterancesError, self._package.BufferTooShortError):
            return None
        except Exception as exc:
            raise OtherScoreError(f"PESQ gave no score: {type(exc).__name__}: {exc}") from exc
        return value if np.isfinite(value) else None
