"""W3C WebDriver's commands on alerts, each a function, for the modal dialogs of a desktop."""

from __future__ import annotations

from typing import Any

from devices.desktop.context import Context
from devices.desktop.finding import texts_of
from devices.desktop.mirror import Mirror
from devices.desktop.tree import Node
from devices.webdriver import WebDriverError


async def _dialog(on: Context) -> tuple[Mirror, Node]:
    await on.session.gather()
    found = on.session.dialog()
    if found is None:
        raise WebDriverError("no such alert", "no modal dialog is open")
    return found


async def alert_text(on: Context) -> Any:
    _, dialog = await _dialog(on)
    labels = [node for node in dialog.walk() if node.role in ("label", "static") and node.has("showing")]
    texts = await texts_of(on.session, labels)
    return "\n".join(texts.get(node, node.name) for node in labels if texts.get(node, node.name)) or dialog.name


async def accept_alert(on: Context) -> Any:
    await _answer_dialog(on, ("ok", "yes", "save", "open", "apply", "close"), default=True)


async def dismiss_alert(on: Context) -> Any:
    await _answer_dialog(on, ("cancel", "no", "close", "ok"), default=False)


async def _answer_dialog(on: Context, names: tuple[str, ...], *, default: bool) -> None:
    mirror, dialog = await _dialog(on)
    buttons = [node for node in dialog.walk() if node.role == "push button" and node.has("showing")]
    named = {node.name.replace("_", "").replace("&", "").strip().lower(): node for node in reversed(buttons)}
    chosen = next((node for node in buttons if default and node.has("is-default")), None)
    chosen = chosen or next((named[name] for name in names if name in named), None)
    if chosen is None:
        raise WebDriverError(
            "unsupported operation",
            f"the dialog {dialog.name!r} has none of the buttons {', '.join(names)}; it has: {', '.join(named)}",
        )
    await on.input.click(mirror, chosen)

    async def look() -> bool | None:
        try:
            await on.session.gather()
        except WebDriverError as error:
            if error.code != "no such window":
                raise
            return True
        now = on.session.dialog()
        return True if now is None or now[1].ref != dialog.ref else None

    await on.session.until(look, on.session.settings.command_timeout_s)


async def type_in_alert(on: Context) -> Any:
    text = on.body.get("text")
    if not isinstance(text, str):
        raise WebDriverError("invalid argument", f"text must be a string, not {text!r}")
    mirror, dialog = await _dialog(on)
    entry = next((node for node in dialog.walk() if node.has("editable") and node.has("showing")), None)
    if entry is None:
        raise WebDriverError("element not interactable", f"the dialog {dialog.name!r} has no field to type in")
    await on.input.clear(entry)
    await on.input.type_text(mirror, entry, text)
