"""For every test: hypothesis sets no time limit to an example, and sums keep to one core."""

from __future__ import annotations

import os

# Before numpy is loaded: threads of a numeric library that wait for each other on a busy machine take minutes.
for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(name, "1")

from hypothesis import settings  # noqa: E402 - see above

settings.register_profile("lab", deadline=None)
settings.load_profile("lab")
