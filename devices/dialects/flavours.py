"""The JSON Wire servers that the gateway knows, and what each can do.

Facts: the sources of Winium.Desktop, Winium.Mobile and Winium.StoreApps.CodedUi (2GIS), and the JSON Wire protocol.
"""

from __future__ import annotations

from dataclasses import dataclass

from devices.dialects.locators import Strategies

_UI_AUTOMATION = {"id": "AutomationId", "name": "Name", "class": "ClassName"}


@dataclass(frozen=True)
class Flavour:
    """A kind of JSON Wire server.

    `prefixes`: vendor prefixes of capabilities that it takes without them. `touch`: it has fingers (`touch/...`) and no
    mouse. `sticky_modifiers`: a modifier key sent twice is released by the second. `bounds`: the attribute that holds
    an element's rectangle, for servers that know no location. `root`: XPath of the tree's root, for offsets from its
    corner. `extensions`: it has Winium's commands for grids, lists and menus.
    """

    name: str
    title: str
    strategies: Strategies
    prefixes: tuple[str, ...] = ("appium", "winium")
    platform: str = "windows"
    touch: bool = False
    sticky_modifiers: bool = True
    bounds: str | None = None
    root: str = "/*"
    extensions: bool = False


DESKTOP = Flavour(
    name="winium-desktop",
    title="Winium.Desktop",
    strategies=Strategies(
        frozenset({"id", "name", "class name", "xpath"}),
        {"accessibility id": "id", "link text": "name"},
        _UI_AUTOMATION,
    ),
    bounds="BoundingRectangle",
    extensions=True,
)
MOBILE = Flavour(
    name="winium-mobile",
    title="Winium.Mobile",
    strategies=Strategies(
        frozenset({"id", "name", "class name", "tag name", "xpath", "xname"}),
        {"accessibility id": "id", "link text": "name"},
        _UI_AUTOMATION,
    ),
    touch=True,
    sticky_modifiers=False,
)
CODED_UI = Flavour(
    name="winium-coded-ui",
    title="Winium.StoreApps.CodedUi",
    strategies=Strategies(
        frozenset({"id", "name", "class name", "xpath"}),
        {"accessibility id": "id", "link text": "name"},
        _UI_AUTOMATION,
    ),
    touch=True,
    sticky_modifiers=False,
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
