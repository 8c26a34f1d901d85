"""Pictures of a screen beside each other."""

from __future__ import annotations

import io

import pytest
from PIL import Image, ImageDraw

from devices.looks import PictureError, compare_pictures


def picture(*boxes: tuple[int, int, int, int], size: tuple[int, int] = (200, 100), form: str = "PNG") -> bytes:
    """White, with black boxes (x, y, width, height)."""
    image = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(image)
    for x, y, width, height in boxes:
        draw.rectangle((x, y, x + width - 1, y + height - 1), fill="black")
    out = io.BytesIO()
    image.save(out, form)
    return out.getvalue()


def test_the_same_picture_does_not_differ() -> None:
    found = compare_pictures(picture((10, 10, 50, 20)), picture((10, 10, 50, 20)))
    assert (found.ratio, found.pixels, found.regions) == (0.0, 0, ())


def test_what_was_added_and_what_is_gone_is_framed_largest_first() -> None:
    found = compare_pictures(picture((10, 10, 20, 10)), picture((100, 40, 40, 30)))
    assert found.regions == ((100, 40, 40, 30), (10, 10, 20, 10))
    assert found.pixels == 1400
    assert found.ratio == 1400 / 20000
    shown = Image.open(io.BytesIO(found.picture))
    assert shown.getpixel((97, 50)) == (255, 0, 0)


def test_a_pixel_of_movement_is_not_a_difference_but_three_are() -> None:
    still = picture((50, 20, 30, 30))
    assert compare_pictures(still, picture((51, 20, 30, 30))).pixels == 0
    assert compare_pictures(still, picture((51, 20, 30, 30)), blur_px=0).pixels == 60
    assert compare_pictures(still, picture((53, 20, 30, 30))).pixels == 2 * 3 * 30 - 4  # corners touch what is alike


def test_slight_colours_are_within_the_tolerance() -> None:
    grey = io.BytesIO()
    Image.new("RGB", (200, 100), (240, 240, 240)).save(grey, "PNG")
    assert compare_pictures(picture(), grey.getvalue()).pixels == 0
    assert compare_pictures(picture(), grey.getvalue(), tolerance=10).ratio == 1.0


def test_masks_do_not_count() -> None:
    clock = picture((150, 0, 50, 20))
    masked = compare_pictures(picture(), clock, masks=[(148, 0, 52, 24)])
    assert masked.pixels == 0
    assert compare_pictures(picture(), clock, masks=[(150, 0, 25, 20)]).ratio == 500 / (20000 - 500)


def test_other_formats_are_read() -> None:
    assert compare_pictures(picture((10, 10, 80, 50)), picture((10, 10, 80, 50), form="JPEG"), tolerance=60).pixels == 0


@pytest.mark.parametrize(
    ("actual", "message"),
    [
        (picture(size=(100, 100)), "differ in size: expected 200 x 100, actual 100 x 100 pixels"),
        (b"", "the actual picture cannot be read"),
        (b"\x89PNG\r\n\x1a\n truncated", "the actual picture cannot be read"),
        (picture()[:-30], "the actual picture cannot be read"),
    ],
)
def test_pictures_that_cannot_be_compared_are_told(actual: bytes, message: str) -> None:
    with pytest.raises(PictureError, match=message):
        compare_pictures(picture(), actual)
