"""Doing the steps of actions with what a JSON Wire server has: a mouse, a finger to put anywhere, or whole gestures."""

from __future__ import annotations

import asyncio

from devices.dialects import actions as acts
from devices.dialects.conversation import Conversation, of_element
from devices.webdriver import WebDriverError

# A finger that rests so long is a long press (as UWP's and Android's hold events count it).
LONG_PRESS_MS = 500


class Keyboard:
    """Keys of a session, and those modifiers that are held."""

    def __init__(self, wire: Conversation) -> None:
        self._wire = wire
        self._held: set[str] = set()

    async def do(self, step: acts.Keys) -> None:
        """Type the characters."""
        await self._wire.ask("POST", "/keys", {"value": list(step.text)})
        for key in step.text:
            if key == acts.NULL_KEY:
                self._held.clear()
            elif key in acts.MODIFIERS and self._wire.flavour.sticky_modifiers:
                self._held ^= {key}

    async def release(self) -> None:
        """Let go of what is held."""
        if self._held:
            await self._wire.ask("POST", "/keys", {"value": [acts.NULL_KEY]})
            self._held.clear()


class Mouse:
    """The mouse of a session."""

    def __init__(self, wire: Conversation) -> None:
        self._wire = wire
        self._held: set[int] = set()

    async def do(self, step: acts.Step) -> None:
        """One step of a mouse."""
        wire = self._wire
        match step:
            case acts.Click(button):
                await wire.ask("POST", "/click", {"button": button})
            case acts.DoubleClick():
                await wire.ask("POST", "/doubleclick")
            case acts.Press(button):
                await wire.ask("POST", "/buttondown", {"button": button})
                self._held.add(button)
            case acts.Release(button):
                await wire.ask("POST", "/buttonup", {"button": button})
                self._held.discard(button)
            case acts.MoveBy(x, y):
                await wire.ask("POST", "/moveto", {"xoffset": x, "yoffset": y})
            case acts.MoveTo(x, y):
                # The wire counts from an element's corner or from where the mouse is, and only the former is known.
                root = await wire.root()
                corner = await wire.rect(root)
                offsets = {"xoffset": round(x - corner["x"]), "yoffset": round(y - corner["y"])}
                await wire.ask("POST", "/moveto", {"element": root, **offsets})
            case acts.MoveToElement(element, x, y):
                await move_to_element(wire, element, x, y)

    async def release(self) -> None:
        """Let go of what is held."""
        for button in tuple(self._held):
            await self._wire.ask("POST", "/buttonup", {"button": button})
            self._held.discard(button)


async def move_to_element(wire: Conversation, element: str, x: int, y: int) -> None:
    """The pointer so far off an element's centre; the wire counts from the corner."""
    if (x, y) == (0, 0) and wire.flavour.centres:
        await wire.ask("POST", "/moveto", {"element": element})
        return
    size = await wire.ask("GET", f"{of_element(element)}/size")
    offsets = {"xoffset": round(size["width"] / 2 + x), "yoffset": round(size["height"] / 2 + y)}
    await wire.ask("POST", "/moveto", {"element": element, **offsets})


class Finger:
    """One finger that goes down, moves and comes up anywhere on the glass."""

    def __init__(self, wire: Conversation) -> None:
        self._wire = wire
        self._down = False
        self._at: tuple[str, int, int] = ("", 0, 0)  # so far off the centre of an element, or of the screen's corner

    async def do(self, step: acts.Step) -> None:
        """One step of a finger."""
        ask = self._wire.ask
        element = self._at[0] if self._at[0] and self._at[1:] == (0, 0) else None
        match step:
            case acts.Click() if element:
                await ask("POST", "/touch/click", {"element": element})
            case acts.DoubleClick() if element:
                await ask("POST", "/touch/doubleclick", {"element": element})
            case acts.Click():
                await self._tap()
            case acts.DoubleClick():
                await self._tap()
                await self._tap()
            case acts.Press():
                await ask("POST", "/touch/down", await self._place())
                self._down = True
            case acts.Release():
                await self.release()
            case acts.MoveTo(x, y):
                await self._move(("", x, y))
            case acts.MoveBy(x, y):
                here = await self._place()
                await self._move(("", here["x"] + x, here["y"] + y))
            case acts.MoveToElement(onto, x, y):
                await self._move((onto, x, y))

    async def _tap(self) -> None:
        place = await self._place()
        await self._wire.ask("POST", "/touch/down", place)
        await self._wire.ask("POST", "/touch/up", place)

    async def _move(self, to: tuple[str, int, int]) -> None:
        self._at = to
        if self._down:
            await self._wire.ask("POST", "/touch/move", await self._place())

    async def _place(self) -> dict[str, int]:
        """Where the finger is, on the screen."""
        element, x, y = self._at
        if not element:
            return {"x": x, "y": y}
        rect = await self._wire.rect(element)
        return {"x": round(rect["x"] + rect["width"] / 2 + x), "y": round(rect["y"] + rect["height"] / 2 + y)}

    async def release(self) -> None:
        """Lift the finger."""
        if self._down:
            await self._wire.ask("POST", "/touch/up", await self._place())
            self._down = False


class Gestures:
    """A finger of which the server knows whole gestures that begin at an element: taps, long presses and slides."""

    def __init__(self, wire: Conversation) -> None:
        self._wire = wire
        self._at: tuple[str, int, int] | None = None  # so far off the centre of an element
        self._slide: tuple[int, int] | None = None  # the way since the finger went down; None: it is up
        self._rested_ms = 0

    async def do(self, step: acts.Step) -> None:
        """One step of a finger; a gesture is made when the finger comes up."""
        match step:
            case acts.Pause(ms):
                self._rested_ms = max(self._rested_ms, ms)
            case acts.MoveToElement(element, x, y) if self._slide is None:
                self._at = (element, x, y)
            case acts.MoveBy(x, y) if self._slide is None and self._at is not None:
                self._at = (self._at[0], self._at[1] + x, self._at[2] + y)
            case acts.MoveBy(x, y) if self._slide is not None:
                self._slide = (self._slide[0] + x, self._slide[1] + y)
            case acts.MoveTo() | acts.MoveBy() | acts.MoveToElement():
                await self._slide_to(step)
            case acts.Click():
                await self._tap("/touch/click")
            case acts.DoubleClick():
                await self._tap("/touch/doubleclick")
            case acts.Press():
                self._centre()
                self._slide, self._rested_ms = (0, 0), 0
            case acts.Release() if self._slide is not None:
                await self._lift(self._slide)

    async def _tap(self, gesture: str) -> None:
        element, x, y = self._at or self._nowhere()
        if (x, y) == (0, 0):
            await self._wire.ask("POST", gesture, {"element": element})
            return
        await move_to_element(self._wire, element, x, y)
        for _ in range(2 if gesture.endswith("doubleclick") else 1):
            await self._wire.ask("POST", "/click", {"button": 0})

    async def _lift(self, slide: tuple[int, int]) -> None:
        element = self._centre()
        self._slide = None
        if slide != (0, 0):
            offsets = {"xoffset": slide[0], "yoffset": slide[1]}
            await self._wire.ask("POST", "/touch/scroll", {"element": element, **offsets})
        else:
            gesture = "/touch/longclick" if self._rested_ms >= LONG_PRESS_MS else "/touch/click"
            await self._wire.ask("POST", gesture, {"element": element})

    async def _slide_to(self, step: acts.MoveTo | acts.MoveBy | acts.MoveToElement) -> None:
        if self._slide is None:
            self._nowhere()
        start = await self._wire.rect(self._centre())
        x, y = float(step.x), float(step.y)
        if isinstance(step, acts.MoveToElement):
            end = await self._wire.rect(step.element)
            x, y = x + end["x"] + end["width"] / 2, y + end["y"] + end["height"] / 2
        self._slide = (
            round(x - start["x"] - start["width"] / 2),
            round(y - start["y"] - start["height"] / 2),
        )

    def _centre(self) -> str:
        """The element that the finger stands in the middle of, where alone these gestures begin."""
        element, x, y = self._at or self._nowhere()
        if (x, y) != (0, 0):
            raise WebDriverError(
                "unsupported operation",
                f"{self._wire.flavour.title} begins long presses and slides in the middle of an element",
            )
        return element

    def _nowhere(self) -> tuple[str, int, int]:
        raise WebDriverError(
            "unsupported operation", f"{self._wire.flavour.title} knows no place but elements: move to one first"
        )

    async def release(self) -> None:
        """Forget a gesture that was begun: the server has not heard of it."""
        self._slide = None


class Hands:
    """Keyboard, mouse and finger of one session. Raises WebDriverError "unsupported operation" for what it has not."""

    def __init__(self, wire: Conversation) -> None:
        self._wire = wire
        self._keyboard = Keyboard(wire)
        self._mouse = Mouse(wire)
        self._finger: Finger | Gestures | None = None
        if wire.flavour.touch:
            self._finger = Gestures(wire) if wire.flavour.touch == "gestures" else Finger(wire)

    async def perform(self, plan: acts.Plan) -> None:
        """Do the steps, one after the other."""
        pointer = self._finger if plan.touch else self._mouse
        if pointer is None:
            raise WebDriverError(
                "unsupported operation", f"{self._wire.flavour.title} has no touch screen; use a mouse"
            )
        for step in plan.steps:
            if isinstance(step, acts.Keys):
                await self._keyboard.do(step)
                continue
            if isinstance(step, acts.Pause):
                await asyncio.sleep(step.ms / 1000)
            await pointer.do(step)

    async def release(self) -> None:
        """Let go of every button and key that was held."""
        for each in (self._keyboard, self._mouse, self._finger):
            if each is not None:
                await each.release()
