"""Asking a JSON Wire server within one session, and what most commands need of an element: where it is."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote

from devices.dialects.elements import element_id, to_w3c, to_wire
from devices.dialects.errors import UNKNOWN_COMMAND, wire_error
from devices.dialects.flavours import Flavour
from devices.dialects.wire import WireAnswer, WireLink
from devices.webdriver import WebDriverError


class Conversation:
    """Commands of one session. `wire_id`: the session's id on the wire, quoted for a path."""

    def __init__(self, link: WireLink, flavour: Flavour, wire_id: str) -> None:
        self.link = link
        self.flavour = flavour
        self.wire_id = wire_id

    async def ask(self, method: str, path: str, body: Any = None) -> Any:
        """The value that the server gives for a command below the session; raises WebDriverError for a refusal."""
        return self.value(await self.answer(method, path, body), f"{method} {path}")

    async def answer(self, method: str, path: str, body: Any = None) -> WireAnswer:
        """What the server says to a command below the session, refusals included."""
        return await self.link.call(method, f"/session/{self.wire_id}{path}", to_wire(body))

    def value(self, answer: WireAnswer, asked: str) -> Any:
        """The value of an answer as W3C clients expect it; raises WebDriverError for a refusal."""
        if answer.status:
            raise wire_error(answer, f"{self.flavour.title} {asked}")
        return to_w3c(answer.value)

    async def first(self, *asked: tuple[str, str, Any]) -> Any:
        """The value of the first of these commands that the server has."""
        for method, path, body in asked[:-1]:
            answer = await self.answer(method, path, body)
            if answer.status != UNKNOWN_COMMAND:
                return self.value(answer, f"{method} {path}")
        return await self.ask(*asked[-1])

    async def rect(self, element: str) -> dict[str, float]:
        """Where an element is: x, y, width and height in pixels of the screen."""
        of = of_element(element)
        if self.flavour.location:
            place = await self.answer("GET", f"{of}/location")
            if place.status != UNKNOWN_COMMAND or not self.flavour.bounds:
                corner = self.value(place, "location of an element")
                size = await self.ask("GET", f"{of}/size")
                return {"x": corner["x"], "y": corner["y"], "width": size["width"], "height": size["height"]}
        return _bounds(await self.ask("GET", f"{of}/attribute/{self.flavour.bounds}"))

    async def root(self) -> str:
        """The element at the root of the tree. Raises WebDriverError "unsupported operation" where none can be had."""
        found = None
        if self.flavour.root:
            found = element_id(await self.ask("POST", "/element", {"using": "xpath", "value": self.flavour.root}))
        if found is None:
            raise WebDriverError(
                "unsupported operation",
                f"{self.flavour.title} does not show the root of its tree: count places from an element",
            )
        return found


def of_element(element: str) -> str:
    """The path of an element below its session."""
    return f"/element/{quote(element, safe='')}"


def _bounds(value: Any) -> dict[str, float]:
    """A Windows rectangle, "x,y,width,height"; a decimal comma makes its separator a semicolon."""
    if isinstance(value, dict):
        lower = {str(key).lower(): each for key, each in value.items()}
        if {"x", "y", "width", "height"} <= lower.keys():
            return {key: float(lower[key]) for key in ("x", "y", "width", "height")}
    text = str(value or "")
    parts = [part.replace(",", ".") for part in text.split(";")] if ";" in text else text.split(",")
    if len(parts) != 4 or not all(re.fullmatch(r"\s*-?\d+(\.\d+)?\s*", part) for part in parts):
        raise WebDriverError("unsupported operation", f"the server gives no rectangle for the element, but {value!r}")
    x, y, width, height = map(float, parts)
    return {"x": x, "y": y, "width": width, "height": height}
