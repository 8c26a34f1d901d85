"""The part of a screenshot that shows one element: JSON Wire servers picture only the whole."""

from __future__ import annotations

import base64
import io

from devices.webdriver import WebDriverError


def cut_out(picture: str, rect: dict[str, float], root: dict[str, float]) -> str:
    """The part of a screenshot (base64 PNG) that an element at `rect` takes, when the whole shows the root.

    Raises WebDriverError "unable to capture screen".
    """
    from PIL import Image  # noqa: PLC0415 - seldom wanted, slow to load

    try:
        whole = Image.open(io.BytesIO(base64.b64decode(picture)))
    except (OSError, ValueError) as exc:
        raise WebDriverError("unable to capture screen", f"the server's screenshot cannot be read: {exc}") from None
    scale_x = whole.width / root["width"] if root["width"] else 1.0
    scale_y = whole.height / root["height"] if root["height"] else 1.0
    left, top = (rect["x"] - root["x"]) * scale_x, (rect["y"] - root["y"]) * scale_y
    right, bottom = left + rect["width"] * scale_x, top + rect["height"] * scale_y
    clipped = (
        max(0, round(left)), max(0, round(top)), min(whole.width, round(right)), min(whole.height, round(bottom)),
    )  # fmt: skip
    if clipped[0] >= clipped[2] or clipped[1] >= clipped[3]:
        raise WebDriverError("unable to capture screen", "the element lies outside of the screen")
    out = io.BytesIO()
    whole.crop(clipped).save(out, "PNG")
    return base64.b64encode(out.getvalue()).decode("ascii")
