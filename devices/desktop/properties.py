"""An element's properties by name: what "Get Element Attribute" and "Get Element Property" answer."""

from __future__ import annotations

from typing import Any

from devices.desktop.atspi import ACCESSIBLE, VALUE
from devices.desktop.context import Context
from devices.desktop.finding import identify
from devices.desktop.names import STATES, role_tag, state_names


async def attribute(on: Context, number: str, name: str) -> Any:  # noqa: PLR0911, PLR0912 - one case a name
    """An element's property by name: text, value, rect, id, a state, an object attribute; None if it has none."""
    session = on.session
    _, node = await session.element(number)
    plain = name.replace("_", "-")
    match name.lower():
        case "name" | "accessible-name" | "label" | "title":
            return node.name
        case "role":
            return node.role
        case "class" | "classname" | "tagname" | "tag":
            return role_tag(node.role)
        case "description" | "help":
            return node.description
        case "text" | "textcontent" | "innertext":
            return await session.text(node)
        case "value":
            if node.offers(VALUE):
                return await session.bus.property(node.ref, VALUE, "CurrentValue")
            return await session.text(node)
        case "x" | "y" | "width" | "height":
            return (await session.extents(node.ref))._asdict()[name.lower()]
        case "rect" | "bounds":
            return (await session.extents(node.ref))._asdict()
        case "states":
            return state_names(node.states)
        case "interfaces":
            return sorted(node.interfaces)
        case "actions":
            return await on.input.actions_of(node)
        case "id" | "accessible-id" | "automationid":
            await identify(session, [node])
            return node.identifier or None
        case _ if plain in STATES:
            return "true" if node.has(plain) else "false"
    found = await session.bus.call(node.ref, ACCESSIBLE, "GetAttributes")
    return found.get(name)
