"""Two pictures of the same screen: how much of them differs, where, and a picture that shows it."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# The eye does not see less; rendering differs by as much between machines.
_TOLERANCE = 24
_LONGEST_PIXELS = 100_000_000


class PictureError(ValueError):
    """Pictures that cannot be compared."""


@dataclass(frozen=True)
class Difference:
    """`ratio`: the share of the compared pixels that differ, 0 .. 1. `regions`: x, y, width, height of each place that
    differs, the largest first. `picture`: a PNG of the actual one with those framed."""

    ratio: float
    pixels: int
    regions: tuple[tuple[int, int, int, int], ...]
    picture: bytes


def compare_pictures(
    expected: bytes,
    actual: bytes,
    *,
    masks: Sequence[tuple[float, float, float, float]] = (),
    tolerance: int = _TOLERANCE,
    blur_px: int = 1,
) -> Difference:
    """How two pictures (PNG, JPEG, WebP) of one size differ.

    `masks`: rectangles (x, y, width, height) that do not count. `tolerance`: of each colour, 0 .. 255. `blur_px`: a
    pixel that is found within so many pixels in the other picture is the same: edges of letters move that much.
    Raises PictureError.
    """
    left, right = _pixels(expected, "the expected picture"), _pixels(actual, "the actual picture")
    if left.shape != right.shape:
        raise PictureError(
            f"the pictures differ in size: expected {left.shape[1]} x {left.shape[0]}, actual "
            f"{right.shape[1]} x {right.shape[0]} pixels; compare at one window size and zoom"
        )
    differs = _unlike(left, right, tolerance, blur_px) | _unlike(right, left, tolerance, blur_px)
    counted = np.ones(differs.shape, bool)
    for x, y, width, height in masks:
        rows = slice(max(0, round(y)), max(0, round(y + height)))
        counted[rows, max(0, round(x)) : max(0, round(x + width))] = False
    differs &= counted
    pixels = int(differs.sum())
    regions = _regions(differs)
    return Difference(pixels / max(1, int(counted.sum())), pixels, regions, _framed(right, counted, regions))


def _pixels(picture: bytes, what: str) -> NDArray[np.int16]:
    from PIL import Image  # noqa: PLC0415 - seldom wanted, slow to load

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(picture))
            if image.width * image.height > _LONGEST_PIXELS:
                raise PictureError(f"{what} has {image.width} x {image.height} pixels, which is too large")
            return np.asarray(image.convert("RGB"), np.int16)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError, Image.DecompressionBombWarning) as exc:
        if isinstance(exc, PictureError):
            raise
        raise PictureError(f"{what} cannot be read: {exc}") from None


def _unlike(left: NDArray[np.int16], right: NDArray[np.int16], tolerance: int, reach: int) -> NDArray[np.bool_]:
    """Where no pixel of `right` within `reach` is like that of `left`."""
    height, width, _ = left.shape
    unlike = np.ones((height, width), bool)
    padded = np.pad(right, ((reach, reach), (reach, reach), (0, 0)), mode="edge")
    for down in range(2 * reach + 1):
        for across in range(2 * reach + 1):
            shifted = padded[down : down + height, across : across + width]
            unlike &= (np.abs(left - shifted) > tolerance).any(axis=2)
    return unlike


def _regions(differs: NDArray[np.bool_]) -> tuple[tuple[int, int, int, int], ...]:
    """Bounding boxes of what differs; places nearer than 8 pixels to each other are one."""
    from scipy import ndimage  # noqa: PLC0415 - slow to load

    labels, _ = ndimage.label(ndimage.binary_dilation(differs, iterations=4))
    boxes = []
    for number, slices in enumerate(ndimage.find_objects(labels), start=1):
        rows, columns = np.nonzero(differs[slices] & (labels[slices] == number))
        top, left = slices[0].start + rows.min(), slices[1].start + columns.min()
        bottom, right = slices[0].start + rows.max(), slices[1].start + columns.max()
        boxes.append((int(left), int(top), int(right - left + 1), int(bottom - top + 1)))
    return tuple(sorted(boxes, key=lambda box: -box[2] * box[3]))


def _framed(
    actual: NDArray[np.int16], counted: NDArray[np.bool_], regions: Sequence[tuple[int, int, int, int]]
) -> bytes:
    from PIL import Image, ImageDraw  # noqa: PLC0415 - seldom wanted, slow to load

    shown = np.where(counted[..., None], actual, actual // 2 + 96).astype(np.uint8)
    picture = Image.fromarray(shown)
    draw = ImageDraw.Draw(picture)
    for x, y, width, height in regions:
        draw.rectangle((x - 3, y - 3, x + width + 2, y + height + 2), outline=(255, 0, 0), width=2)
    out = io.BytesIO()
    picture.save(out, "PNG")
    return out.getvalue()
