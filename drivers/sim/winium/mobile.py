"""Winium.Mobile's commands: a finger for a mouse, scripts of its own, and the source of its page."""

from __future__ import annotations

from typing import Any

from drivers.sim.winium.commands import SCRIPT, Refusal, Route, route
from drivers.sim.winium.desktop import WindowsCommands


class MobileCommands(WindowsCommands):
    """Winium.Mobile."""

    def routes(self) -> list[Route]:
        """All commands that the server has."""
        return [
            *super().routes(),
            route("POST", "~/execute", self._execute),
            route("GET", "~/source", lambda _: self.application.source()),
            route("GET", "~/element/{id}/name", lambda _, key: f"Windows.UI.Xaml.Controls.{self._element(key).kind}"),
            route("POST", "~/touch/click", self._tap),
            route("POST", "~/touch/doubleclick", lambda body: self._tap(body, 2)),
            route("POST", "~/touch/flick", self._flick),
            route("POST", "~/touch/down", self._touch_down),
            route("POST", "~/touch/move", self._touch),
            route("POST", "~/touch/up", self._touch_up),
        ]

    def _execute(self, body: Any) -> Any:
        prefix, _, command = body["script"].partition(":")
        args, command = body["args"], command.strip()
        if prefix == "mobile" and command in ("App.Open", "App.Close"):
            self.application.running = command == "App.Open"
        elif prefix == "automation" and command in ("InvokePattern.Invoke", "TogglePattern.Toggle"):
            self.application.click(self._element(args[0]["ELEMENT"]))
        elif (prefix, command) == ("attribute", "set"):
            control, name, value = self._element(args[0]["ELEMENT"]), args[1], args[2]
            if name != "Text":
                raise Refusal(SCRIPT, f"Could not access attribute {name}")
            control.value = str(value)
        else:
            raise Refusal(SCRIPT, f"Unknown script command '{body['script']}'")

    def _tap(self, body: Any, taps: int = 1) -> Any:
        control = self._element(body["element"])
        self.application.mouse = control.centre
        for _ in range(taps):
            self.application.click(control)

    def _flick(self, body: Any) -> None:
        way = f"{body['xoffset']}, {body['yoffset']} at {body['speed']}"
        self.application.log.append(f"flick {self._element(body['element']).name} by {way}")

    def _touch(self, body: Any) -> None:
        self.application.mouse = (body["x"], body["y"])

    def _touch_down(self, body: Any) -> Any:
        self._touch(body)
        self.application.press_mouse(0)

    def _touch_up(self, body: Any) -> Any:
        self._touch(body)
        self.application.release_mouse(0)
