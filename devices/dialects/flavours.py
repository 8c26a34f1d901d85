"""The JSON Wire servers that the gateway knows, and what each can do.

Facts: the sources of Winium.Desktop, Winium.Mobile and Winium.StoreApps.CodedUi (2GIS), and the JSON Wire protocol.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from devices.dialects.extensions import FLICK, OF_WINDOWS
from devices.dialects.locators import Strategies

_UI_AUTOMATION = {"id": "AutomationId", "name": "Name", "class": "ClassName"}


@dataclass(frozen=True)
class Flavour:
    """A kind of JSON Wire server.

    `prefixes`: vendor prefixes of capabilities that it takes without them. `platform`: what it answers for
    platformName. `root`: XPath of the tree's root, for offsets from its corner; empty: it shows none.

    Elements. `location`: its location command gives the upper left corner. `bounds`: the attribute that holds the
    rectangle of an element where the command does not. `role`, `tag`: attributes that hold role and tag name (no `tag`:
    it has the command or the role goes for it). `replaces`: what is sent to an element replaces its text. `waits`: it
    has an implicit wait of its own.

    Hands. `touch`: what its finger can do, "points" (down, move and up anywhere), "gestures" (taps, long presses and
    slides from an element) or nothing. `centres`: moving to an element without offsets goes to its centre.
    `sticky_modifiers`: a modifier key sent twice is released by the second.

    `extensions`: the names of Winium's own commands that it has.
    """

    name: str
    title: str
    strategies: Strategies
    prefixes: tuple[str, ...] = ("appium", "winium")
    platform: str = "windows"
    root: str = "/*"
    location: bool = True
    bounds: str | None = None
    role: str = "ControlType"
    tag: str = ""
    replaces: bool = False
    waits: bool = True
    touch: Literal["", "points", "gestures"] = ""
    centres: bool = True
    sticky_modifiers: bool = True
    extensions: frozenset[str] = frozenset()


DESKTOP = Flavour(
    name="winium-desktop",
    title="Winium.Desktop",
    strategies=Strategies(
        frozenset({"id", "name", "class name", "xpath"}),
        {"accessibility id": "id", "link text": "name"},
        _UI_AUTOMATION,
    ),
    bounds="BoundingRectangle",
    extensions=OF_WINDOWS,
)
MOBILE = Flavour(
    name="winium-mobile",
    title="Winium.Mobile",
    strategies=Strategies(
        frozenset({"id", "name", "class name", "tag name", "xpath", "xname"}),
        {"accessibility id": "id", "link text": "name"},
        _UI_AUTOMATION,
    ),
    touch="points",
    sticky_modifiers=False,
    extensions=frozenset({FLICK}),
)
CODED_UI = Flavour(
    name="winium-coded-ui",
    title="Winium.StoreApps.CodedUi",
    strategies=Strategies(
        frozenset({"id", "name", "class name", "tag name"}),  # both of the latter by ClassName
        {"accessibility id": "id", "link text": "name"},
        _UI_AUTOMATION,
    ),
    root="",
    location=False,  # it gives the point to click at
    bounds="BoundingRectangle",
    role="LocalizedControlType",
    tag="ClassName",
    replaces=True,
    waits=False,
    touch="gestures",
    centres=False,
    sticky_modifiers=False,
    extensions=frozenset({FLICK}),
)
JSON_WIRE = Flavour(
    name="json-wire",
    title="a JSON Wire server",
    strategies=Strategies(
        frozenset(
            {
                "id", "name", "class name", "tag name", "xpath", "css selector", "link text", "partial link text",
                "accessibility id",
            }
        ),
        {},
        {"id": "id", "name": "name", "class": "class"},
    ),
    platform="any",
)  # fmt: skip
FLAVOURS = {each.name: each for each in (DESKTOP, MOBILE, CODED_UI, JSON_WIRE)}
