"""Sound in memory."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Recording:
    """Samples in [-1, 1], (N,) for one channel or (N, C) for several, at `sample_rate` hertz, and what it is called."""

    samples: Array
    sample_rate: int
    name: str = ""

    @property
    def duration_s(self) -> float:
        return len(self.samples) / self.sample_rate

    @property
    def channels(self) -> int:
        return 1 if self.samples.ndim == 1 else int(self.samples.shape[1])

    def mono(self) -> Recording:
        """The same as one channel: the mean of all."""
        if self.samples.ndim == 1:
            return self
        return Recording(self.samples.mean(axis=1), self.sample_rate, self.name)
