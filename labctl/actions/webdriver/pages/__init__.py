"""Pages that ship with the program, for browsers on the daemon's machine: `webdriver.open` with `page: call`."""

from __future__ import annotations

from pathlib import Path

_FOLDER = Path(__file__).parent


def names() -> list[str]:
    """Their names."""
    return sorted(each.stem for each in _FOLDER.glob("*.html"))


def page_file(name: str) -> Path:
    """The page of that name. Raises LookupError with those that there are."""
    if name not in names():
        raise LookupError(f"no page named {name!r} ships with the program; there are: {', '.join(names())}")
    return _FOLDER / f"{name}.html"
