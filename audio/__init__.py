"""Tells whether the far end could hear: alignment, level, presence, and a score that can gate a build."""
