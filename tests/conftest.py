"""For every test: hypothesis sets no time limit to an example, since no test depends on how fast the machine is."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("lab", deadline=None)
settings.load_profile("lab")
