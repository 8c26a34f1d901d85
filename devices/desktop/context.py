"""What a command works on: the session, its input, the parts of the route and the body."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from devices.desktop.interact import Interaction
from devices.desktop.mirror import Mirror
from devices.desktop.session import Session
from devices.desktop.tree import Node
from devices.webdriver import ELEMENT_KEY


@dataclass(frozen=True)
class Context:
    """What a command works on: the session, the parts of the route by name, and the JSON body."""

    session: Session
    input: Interaction
    parts: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, Any] = field(default_factory=dict)

    async def element(self) -> tuple[Mirror, Node]:
        """The element that the route names."""
        return await self.session.element(self.parts["element"])


Command = Callable[[Context], Awaitable[Any]]


def reference(number: str) -> dict[str, str]:
    """An element on the wire."""
    return {ELEMENT_KEY: number}
