"""Performing W3C's actions tick by tick with the real pointer and keys, and letting go of what they hold."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from devices.desktop.actions import Button, Key, Move, Pause, Scroll, Tick, tick_duration_ms
from devices.desktop.interact import Interaction
from devices.desktop.x11 import BUTTONS, WHEEL
from devices.webdriver import WebDriverError

MOVE_STEP_S = 0.01
NOTCH_PX = 120.0  # of the wheel, as browsers on Linux count it


async def perform(hand: Interaction, ticks: list[Tick]) -> None:
    """Perform W3C actions; each tick lasts as long as its longest action."""
    for tick in ticks:
        began = time.monotonic()
        duration = tick_duration_ms(tick) / 1000
        moves: list[tuple[Callable[[float], Any], float]] = []
        for action in tick:
            match action:
                case Pause():
                    continue
                case Key(key=key, down=down):
                    await _perform_key(hand, action, key, down=down)
                case Button():
                    await _perform_button(hand, action)
                case Move():
                    start = await hand.session.x(hand.session.display.pointer)
                    target = await _target(hand, action, start)
                    if action.duration_ms:
                        moves.append((_glide(start, target), action.duration_ms / 1000))
                    else:
                        await hand.session.x(partial(hand.session.display.move_pointer, *target))
                case Scroll():
                    await _scroll(hand, action)
        await _wait_tick(hand, began, duration, moves)
    await hand.settle()


async def _wait_tick(
    hand: Interaction, began: float, duration: float, moves: list[tuple[Callable[[float], Any], float]]
) -> None:
    while moves:
        passed = time.monotonic() - began
        for place, length in moves:
            await hand.session.x(partial(hand.session.display.move_pointer, *place(min(1.0, passed / length))))
        moves = [(place, length) for place, length in moves if passed < length]
        if moves:
            await asyncio.sleep(MOVE_STEP_S)
    left = began + duration - time.monotonic()
    if left > 0:
        await asyncio.sleep(left)


def _glide(start: tuple[int, int], target: tuple[int, int]) -> Callable[[float], tuple[int, int]]:
    def at(ratio: float) -> tuple[int, int]:
        return round(start[0] + (target[0] - start[0]) * ratio), round(start[1] + (target[1] - start[1]) * ratio)

    return at


async def _perform_key(hand: Interaction, action: Key, key: str, *, down: bool) -> None:
    await hand.key(key, down=down)
    hand.held = [each for each in hand.held if not (isinstance(each, Key) and each.key == key)]
    if down:
        hand.held.append(action)


async def _perform_button(hand: Interaction, action: Button) -> None:
    if action.button not in BUTTONS:
        raise WebDriverError("invalid argument", f"no mouse button {action.button}; there are {sorted(BUTTONS)}")
    number = BUTTONS[action.button]
    await hand.session.x(lambda: hand.session.display.button(number, down=action.down))
    hand.held = [each for each in hand.held if not (isinstance(each, Button) and each.button == action.button)]
    if action.down:
        hand.held.append(action)


async def _target(hand: Interaction, action: Move | Scroll, pointer: tuple[int, int]) -> tuple[int, int]:
    x, y = action.x, action.y
    if action.origin == "pointer":
        x, y = x + pointer[0], y + pointer[1]
    elif action.element is not None:
        _, node = await hand.session.element(action.element)
        centre = (await hand.session.extents(node.ref)).centre
        x, y = x + centre[0], y + centre[1]
    width, height = await hand.session.x(lambda: hand.session.display.size)
    if not (0 <= x < width and 0 <= y < height):
        raise WebDriverError(
            "move target out of bounds", f"({x:g}, {y:g}) is not on the display of {width} x {height} pixels"
        )
    return math.floor(x), math.floor(y)


async def _scroll(hand: Interaction, action: Scroll) -> None:
    target = await _target(hand, action, (0, 0))

    def turn() -> None:
        display = hand.session.display
        display.move_pointer(*target)
        for delta, back, forth in ((action.dy, "up", "down"), (action.dx, "left", "right")):
            notches = max(1, round(abs(delta) / NOTCH_PX)) if delta else 0
            for _ in range(notches):
                button = WHEEL[forth if delta > 0 else back]
                display.button(button, down=True)
                display.button(button, down=False)

    await hand.session.x(turn)


async def release(hand: Interaction) -> None:
    """Release every key and button that actions left down, the last pressed first."""
    for action in reversed(list(hand.held)):
        if isinstance(action, Key):
            await hand.key(action.key, down=False)
        elif isinstance(action, Button):
            number = BUTTONS[action.button]
            await hand.session.x(partial(hand.session.display.button, number, down=False))
    hand.held.clear()
    hand.sources.clear()
    await hand.settle()
