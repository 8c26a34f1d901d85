"""Text for people, JSON for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any


def print_json(document: Any) -> None:
    """One JSON document on standard output."""
    print(json.dumps(document), flush=True)


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]], empty: str) -> None:
    """A table on standard output; `empty` is said when there are no rows."""
    if not rows:
        print(empty)
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(*columns, box=box.SIMPLE_HEAD)
    for row in rows:
        table.add_row(*("" if cell is None else str(cell) for cell in row))
    width = None if sys.stdout.isatty() else 200
    Console(width=width, soft_wrap=not sys.stdout.isatty(), markup=False, highlight=False).print(table)


def note(text: str) -> None:
    """A line for people on standard error, which leaves standard output to the result."""
    print(text, file=sys.stderr, flush=True)
