"""Finds actions by name among the entry points of the group `labctl.actions`; loads one when a job first names it."""

from __future__ import annotations

import difflib
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from pydantic import ValidationError

from labctl.steps import Action

GROUP = "labctl.actions"


class ActionRegistry:
    """The actions that the installed packages offer."""

    def __init__(self) -> None:
        self._offered: dict[str, EntryPoint] = {point.name: point for point in entry_points(group=GROUP)}
        self._loaded: dict[str, Action[Any]] = {}

    def names(self) -> list[str]:
        return sorted(self._offered)

    def get(self, name: str) -> Action[Any]:
        """The action of that name. Raises LookupError with what to do when there is none."""
        if name not in self._loaded:
            if name not in self._offered:
                close = difflib.get_close_matches(name, self._offered, n=1, cutoff=0.6)
                hint = f"did you mean {close[0]!r}?" if close else f"known are: {', '.join(self.names()) or 'none'}"
                raise LookupError(f"no action {name!r}; {hint}")
            try:
                self._loaded[name] = self._offered[name].load()()
            except Exception as exc:  # a package of somebody else may fail in any way
                raise LookupError(f"the action {name!r} ({self._offered[name].value}) cannot be loaded: {exc}") from exc
        return self._loaded[name]

    def check(self, name: str, parameters: dict[str, Any]) -> list[tuple[tuple[str | int, ...], str]]:
        """What is wrong with a step that uses the action `name`: places below the step, and messages."""
        try:
            action = self.get(name)
        except LookupError as exc:
            return [(("uses",), str(exc))]
        try:
            action.parameters.model_validate(parameters)
        except ValidationError as exc:
            return [(("with", *error["loc"]), _message(error, action)) for error in exc.errors(include_url=False)]
        return []


def _message(error: Any, action: Action[Any]) -> str:
    if error["type"] == "missing":
        return "is required"
    if error["type"] == "extra_forbidden":
        known = sorted(action.parameters.model_fields)
        close = difflib.get_close_matches(str(error["loc"][-1]), known, n=1, cutoff=0.6)
        return f"unknown key; did you mean {close[0]!r}?" if close else f"unknown key; known are {', '.join(known)}"
    return str(error["msg"]).removeprefix("Value error, ")
