"""The graded pairs of dialogs as a page to look at: what each element became, how sure that was, why, and the truth."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from html import escape

_STYLE = """body{font:14px sans-serif;margin:2em}table{border-collapse:collapse;margin-bottom:2em}
td,th{border:1px solid #ccc;padding:2px 8px;text-align:left;vertical-align:top}th{background:#eee}
.right{background:#e4f5e4}.unsure{background:#fdf6d8}.wrong{background:#fbdcdc}small{color:#666}"""
_KEY = """<p><span class=right>&nbsp;right, and above the threshold&nbsp;</span>
<span class=unsure>&nbsp;right, but below it: suggested, not healed&nbsp;</span>
<span class=wrong>&nbsp;wrong, lost, or matched though it is gone&nbsp;</span></p>"""


@dataclass(frozen=True)
class Row:
    """What became of one element. `truth`, `found`: the elements, "gone" for none; `confidence`: 0 for none."""

    pair: str
    was: str
    truth: str
    found: str
    confidence: float
    evidence: tuple[str, ...]


def page(rows: Iterable[Row], threshold: float) -> str:
    """HTML with one table for each pair of dialogs."""
    out = [f"<!doctype html><meta charset=utf-8><title>Locator healing</title><style>{_STYLE}</style>"]
    out.append(f"<h1>Locator healing, threshold {threshold}</h1>{_KEY}")
    title = None
    for row in rows:
        if row.pair != title:
            out.append("</table>" if title is not None else "")
            title = row.pair
            heads = "".join(f"<th>{each}" for each in ("was", "is now", "was matched with", "confidence", "evidence"))
            out.append(f"<h2>{escape(title)}</h2><table><tr>{heads}")
        cells = (row.was, row.truth, row.found if row.found != row.truth else "the same", _percent(row.confidence))
        told = "".join(f"<td>{escape(each)}" for each in cells)
        out.append(f"<tr class={_kind(row, threshold)}>{told}<td><small>{escape(', '.join(row.evidence))}</small>")
    return "\n".join([*out, "</table>"])


def _kind(row: Row, threshold: float) -> str:
    if row.found != row.truth:
        return "wrong"
    return "right" if row.confidence >= threshold or row.found == "gone" else "unsure"


def _percent(confidence: float) -> str:
    return f"{confidence:.2f}" if confidence else ""
