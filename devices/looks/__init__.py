"""How a screen looks: where things are, what the picture shows, and what must hold between its elements."""

from devices.looks.compare import Difference, PictureError, compare_pictures
from devices.looks.invariants import Broken, Invariant, InvariantError, parse_invariant
from devices.looks.layout import Finding, Layout, LayoutError, Rect, annotate, parse_layout

__all__ = [
    "Broken", "Difference", "Finding", "Invariant", "InvariantError", "Layout", "LayoutError", "PictureError", "Rect",
    "annotate", "compare_pictures", "parse_invariant", "parse_layout",
]  # fmt: skip
