"""W3C WebDriver's commands on windows, each a function: handles, switching, closing, place, size and state."""

from __future__ import annotations

from functools import partial
from typing import Any

from devices.desktop.context import Context
from devices.desktop.x11 import Rect
from devices.webdriver import WebDriverError


async def get_window(on: Context) -> Any:
    return on.session.handle((await on.session.current())[1])


async def get_windows(on: Context) -> Any:
    await on.session.gather()
    return [on.session.handle(node) for _, node in on.session.windows()]


async def switch_window(on: Context) -> Any:
    handle = on.body.get("handle", on.body.get("name"))
    if not isinstance(handle, str):
        raise WebDriverError("invalid argument", f"handle must be a string, not {handle!r}")
    session = on.session
    await session.gather()
    for mirror, node in session.windows():
        if handle == session.handle(node):
            number = await session.x_window(mirror, node)
            await session.x(partial(session.display.activate, number))
            session.window = node.ref
            return
    names = ", ".join(f"{session.handle(node)} {node.name!r}" for _, node in session.windows())
    raise WebDriverError("no such window", f"no window {handle!r}; there are: {names or 'none'}")


async def close_window(on: Context) -> Any:
    session = on.session
    mirror, node = await session.current()
    number = await session.x_window(mirror, node)
    await session.x(lambda: session.display.close_window(number))

    async def look() -> bool | None:
        try:
            await session.gather()
        except WebDriverError as error:
            if error.code != "no such window":
                raise
            return True
        listed = [each.ref for _, each in session.windows()]
        return True if node.ref not in listed or session.dialog() else None

    await session.until(look, session.settings.command_timeout_s)
    return [session.handle(each) for _, each in session.windows()]


async def new_window(_: Context) -> Any:
    raise WebDriverError(
        "unsupported operation", "an application opens its windows itself; desktop: launch starts another"
    )


async def _x(on: Context) -> int:
    return await on.session.x_window(*await on.session.current())


async def get_window_rect(on: Context) -> Any:
    number = await _x(on)
    return (await on.session.x(lambda: on.session.display.outer_rect(number)))._asdict()


async def set_window_rect(on: Context) -> Any:
    for name in ("x", "y", "width", "height"):
        value = on.body.get(name)
        least = 0 if name in ("width", "height") else -(2**31)
        if value is not None and (
            isinstance(value, bool) or not isinstance(value, int | float) or not least <= value < 2**31
        ):
            raise WebDriverError("invalid argument", f"{name} must be a number of pixels, not {value!r}")
    number = await _x(on)
    display = on.session.display

    def place() -> Rect:
        display.activate(number)
        maximised = [name for name in display.state(number) if "MAXIMIZED" in name or "FULLSCREEN" in name]
        if maximised:
            display.set_state(number, maximised, on=False)
        now = display.outer_rect(number)
        wanted = {name: int(on.body[name]) for name in now._fields if on.body.get(name) is not None}
        # A frame that comes back with the end of a maximised state changes what the size inside it has to be.
        for _ in range(3):
            display.place(number, now._replace(**wanted))
            if display.outer_rect(number) == now._replace(**wanted):
                break
        return display.outer_rect(number)

    return (await on.session.x(place))._asdict()


async def maximize_window(on: Context) -> Any:
    return await _state(on, ["_NET_WM_STATE_MAXIMIZED_VERT", "_NET_WM_STATE_MAXIMIZED_HORZ"])


async def fullscreen_window(on: Context) -> Any:
    return await _state(on, ["_NET_WM_STATE_FULLSCREEN"])


async def _state(on: Context, names: list[str]) -> Any:
    number = await _x(on)
    display = on.session.display

    def change() -> Rect:
        _need_manager(on)
        display.activate(number)
        display.set_state(number, names, on=True)
        return display.outer_rect(number)

    return (await on.session.x(change))._asdict()


async def minimize_window(on: Context) -> Any:
    number = await _x(on)

    def change() -> Rect:
        _need_manager(on)
        on.session.display.iconify(number)
        return on.session.display.outer_rect(number)

    return (await on.session.x(change))._asdict()


def _need_manager(on: Context) -> None:
    if not on.session.display.has_window_manager():
        raise WebDriverError(
            "unsupported operation", f"no window manager runs on {on.session.display.name}; install openbox for one"
        )


async def get_title(on: Context) -> Any:
    return (await on.session.current())[1].name
