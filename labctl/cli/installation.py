"""Whether the top-level packages `drivers` and `courses` are the ones this labctl was installed with."""

from __future__ import annotations

import importlib
from pathlib import Path

import labctl
from labctl.cli.exits import ExpectedError


def foreign_packages() -> list[str]:
    """A sentence for each top-level package that is not ours: another folder of that name was found first."""
    home = Path(labctl.__file__).resolve().parent.parent
    told = []
    for name in ("drivers", "courses"):
        try:
            found = importlib.import_module(name)
        except ImportError as exc:
            told.append(f"the package {name!r} cannot be imported: {exc}")
            continue
        place = getattr(found, "__file__", None) or next(iter(found.__path__), "nowhere")
        if not Path(place).resolve().is_relative_to(home / name):
            told.append(
                f"{name!r} is {place}, not {home / name}: a folder of that name comes first in the search path; "
                "start labctl in another folder, or take that one out of PYTHONPATH"
            )
    return told


def check_top_level_packages() -> None:
    """Raises ExpectedError when somebody else's package hides one of ours."""
    if told := foreign_packages():
        raise ExpectedError("\n".join(told))
