"""Selenium 4's scripts for what JSON Wire servers have as commands of their own.

Its bindings ask for attributes, visibility and submission by running JavaScript of their own ("atoms") in the page,
each marked with its name in a comment: `/* isDisplayed */return (function(){...})`. A desktop runs no JavaScript.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote

from devices.dialects.elements import element_id

_MARK = re.compile(r"\s*/\*\s*([A-Za-z_-]+?)(?:\.js)?\s*\*/")


def atom(script: str, args: list[Any]) -> tuple[str, str] | None:
    """Method and path below the session of the command that an atom stands for; None for any other script."""
    marked = _MARK.match(script)
    element = element_id(args[0]) if args else None
    if marked is None or element is None:
        return None
    of = f"/element/{quote(element, safe='')}"
    match marked[1].replace("-", "").replace("_", "").lower(), args[1:]:
        case "getattribute", [str(name)]:
            return "GET", f"{of}/attribute/{quote(name, safe='')}"
        case "isdisplayed", []:
            return "GET", f"{of}/displayed"
        case (("submitform" | "submit"), []):
            return "POST", f"{of}/submit"
    return None
