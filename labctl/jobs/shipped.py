"""Jobs that ship with the program: `labctl run library:NAME`."""

from __future__ import annotations

from importlib import resources

PREFIX = "library:"


def names() -> list[str]:
    """Their names."""
    folder = resources.files("labctl.jobs") / "library"
    return sorted(each.name.removesuffix(".yaml") for each in folder.iterdir() if each.name.endswith(".yaml"))


def text(name: str) -> str:
    """The job file of that name. Raises LookupError with those that there are."""
    if name not in names():
        raise LookupError(f"no job named {name!r} ships with the program; there are: {', '.join(names())}")
    return (resources.files("labctl.jobs") / "library" / f"{name}.yaml").read_text(encoding="utf-8")
