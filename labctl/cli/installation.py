"""Whether the top-level packages `drivers` and `courses` are the ones this labctl was installed with."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import labctl
from labctl.cli.exits import ExpectedError


def foreign_packages() -> list[str]:
    """A sentence for each top-level package that is not ours: another folder of that name was found first."""
    home = Path(labctl.__file__).resolve().parent.parent
    told = []
    for name in ("drivers", "courses"):
        found = importlib.util.find_spec(name)  # looked for, not run: it may be anybody's
        if found is None:
            told.append(f"the package {name!r} is not there: install labctl again (pip install -e .)")
            continue
        place = found.origin or next(iter(found.submodule_search_locations or ()), "nowhere")
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
