"""Makes a film strip: an animated WebP of the pictures of a session, each shown as long as it was true."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

from PIL import Image

# Enough to see what went on, small enough to keep.
_LONGEST_EDGE = 800
_LAST_SHOWN_S = 1.0
_QUALITY = 60


def assemble(frames: Sequence[tuple[float, Path]], out: Path) -> None:
    """Write the film of PNG files with their times in seconds. Raises OSError, ValueError without frames."""
    if not frames:
        raise ValueError("a film needs at least one frame")
    times = [at for at, _ in frames]
    durations = [max(1, round((after - at) * 1000)) for at, after in itertools.pairwise(times)]
    pictures = _pictures(frames)
    first = next(pictures)
    first.save(
        out,
        format="WEBP",
        save_all=True,
        append_images=pictures,
        duration=[*durations, round(_LAST_SHOWN_S * 1000)],
        quality=_QUALITY,
        method=0,
    )


def _pictures(frames: Sequence[tuple[float, Path]]) -> Iterator[Image.Image]:
    size: tuple[int, int] | None = None
    for _, file in frames:
        with Image.open(file) as opened:
            picture = opened.convert("RGB")
        if size is None:
            scale = min(1.0, _LONGEST_EDGE / max(picture.size))
            size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
        yield picture if picture.size == size else picture.resize(size)
