"""Rules of layout, in words: inside, above, aligned, size and distance ranges, by size of the screen.

The vocabulary is that of the Galen framework's specs (galenframework.com), in a grammar of our own:

    width 100..200 px            height < 40 px            width 40..60 % of header
    inside header                inside header 10..20 px left, 0 px top
    above footer 5..30 px        below, left of, right of likewise; the distance may be left out
    aligned top with logo        bottom, left, right, horizontally, vertically; "within 3 px" allows more than 1
    centred horizontally inside header within 2 px
    visible                      absent                    text "Save"               text matches "^Saved .+"
    same width as button         same height as button within 2 px
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_NUMBER = r"-?\d+(?:\.\d+)?"
_RANGE = re.compile(
    rf"(?:(?P<low>{_NUMBER})\s*(?:\.\.|to)\s*(?P<high>{_NUMBER})|(?P<sign>[<>]=?)\s*(?P<bound>{_NUMBER})|(?P<exact>{_NUMBER}))"
)
_DEFAULT_SLACK_PX = 1.0
SCREEN = "screen"


class LayoutError(ValueError):
    """A rule that makes no sense."""


@dataclass(frozen=True, slots=True)
class Rect:
    """An element's place, pixels of the page or screen. `text`: what it shows."""

    x: float
    y: float
    width: float
    height: float
    text: str = ""

    @property
    def right(self) -> float:
        return self.x + self.width

    @property
    def bottom(self) -> float:
        return self.y + self.height


@dataclass(frozen=True, slots=True)
class Finding:
    """What a rule found. `measured`: with the unit, for people. `others`: the elements it was compared with."""

    element: str
    rule: str
    passed: bool
    measured: str
    others: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.element}: {self.rule}" + ("" if self.passed else f" - but {self.measured}")


Places = Mapping[str, Rect | None]
Check = Callable[[Rect | None, Places], tuple[bool, str]]


@dataclass(frozen=True, slots=True)
class Range:
    """Both ends included; None is open. `strict`: the bound itself is out."""

    low: float | None
    high: float | None
    strict: bool = False

    def __contains__(self, value: object) -> bool:
        assert isinstance(value, float | int)
        if self.strict:
            return (self.low is None or value > self.low) and (self.high is None or value < self.high)
        return (self.low is None or value >= self.low) and (self.high is None or value <= self.high)


@dataclass(frozen=True)
class Rule:
    """A rule for one element."""

    element: str
    text: str
    others: tuple[str, ...]
    check: Check


@dataclass(frozen=True)
class Section:
    """Rules for screens of a width; `widths` None: for all."""

    widths: Range | None
    rules: tuple[Rule, ...]


@dataclass(frozen=True)
class Layout:
    """All rules of a page."""

    sections: tuple[Section, ...]

    @property
    def elements(self) -> frozenset[str]:
        """Every element that a rule names, but for the screen."""
        named = {name for section in self.sections for rule in section.rules for name in (rule.element, *rule.others)}
        return frozenset(named - {SCREEN})

    def check(self, places: Places, screen: tuple[float, float]) -> list[Finding]:
        """What the rules for a screen of `screen` (width, height in pixels) find. An element that is None is absent.

        Raises LayoutError when an element that a rule names is not among `places`.
        """
        width, height = screen
        known: dict[str, Rect | None] = {**places, SCREEN: Rect(0, 0, width, height)}
        found = []
        for section in self.sections:
            if section.widths is not None and width not in section.widths:
                continue
            for rule in section.rules:
                if missing := [name for name in (rule.element, *rule.others) if name not in known]:
                    raise LayoutError(f"{rule.element}: {rule.text}: nobody said where {missing[0]} is")
                passed, measured = rule.check(known[rule.element], known)
                found.append(Finding(rule.element, rule.text, passed, measured, rule.others))
        return found


def parse_layout(sections: Sequence[Mapping[str, Any]]) -> Layout:
    """Layout from a job's document: a list of `{"screen": "320..600 px", "rules": {element: rule or [rules]}}`, where
    `screen` may be left out.

    Raises LayoutError with all that is wrong, a line each.
    """
    problems: list[str] = []
    parsed: list[Section] = []
    for number, section in enumerate(sections):
        widths = None
        if (wanted := section.get("screen")) is not None:
            try:
                widths = _range(str(wanted).removesuffix("px").strip(), "the screen's width")
            except LayoutError as exc:
                problems.append(f"sections[{number}]: {exc}")
        rules: list[Rule] = []
        for element, texts in dict(section.get("rules") or {}).items():
            for text in [texts] if isinstance(texts, str) else texts:
                try:
                    rules.append(_rule(element, " ".join(str(text).split())))
                except LayoutError as exc:
                    problems.append(str(exc))
        parsed.append(Section(widths, tuple(rules)))
    if problems:
        raise LayoutError("\n".join(problems))
    return Layout(tuple(parsed))


def _rule(element: str, text: str) -> Rule:
    for pattern, make in _GRAMMAR:
        if (found := pattern.fullmatch(text)) is not None:
            others = tuple(name for key in ("other",) if (name := found.groupdict().get(key)))
            try:
                return Rule(element, text, others, make(found))
            except LayoutError as exc:
                raise LayoutError(f"{element}: {text}: {exc}") from None
    raise LayoutError(f"{element}: {text}: not a rule; they begin with {', '.join(_WORDS)}")


def _range(text: str, what: str) -> Range:
    found = _RANGE.fullmatch(text.strip())
    if found is None:
        raise LayoutError(f"{what} {text!r} is no range: give 10, 10..20, < 30 or >= 5")
    if found["exact"] is not None:
        exact = float(found["exact"])
        return Range(exact - _DEFAULT_SLACK_PX, exact + _DEFAULT_SLACK_PX)
    if found["sign"] is not None:
        bound, strict = float(found["bound"]), len(found["sign"]) == 1
        return Range(None, bound, strict) if found["sign"][0] == "<" else Range(bound, None, strict)
    low, high = float(found["low"]), float(found["high"])
    if low > high:
        raise LayoutError(f"{what} {text!r}: the lower end comes first")
    return Range(low, high)


def _present(check: Callable[[Rect, Places], tuple[bool, str]]) -> Check:
    def of(rect: Rect | None, places: Places) -> tuple[bool, str]:
        return (False, "it is absent") if rect is None else check(rect, places)

    return of


def _other(places: Places, name: str) -> Rect | None:
    return places[name]


def _size(found: re.Match[str]) -> Check:
    side, wanted = found["side"], _range(found["range"], found["side"])
    relative = found["other"]

    def check(rect: Rect, places: Places) -> tuple[bool, str]:
        value: float = getattr(rect, side)
        if relative is None:
            return value in wanted, f"it is {value:g} px"
        other = _other(places, relative)
        if other is None:
            return False, f"{relative} is absent"
        whole: float = getattr(other, side)
        share = 100 * value / whole if whole else 0.0
        return share in wanted, f"it is {share:.1f} %"

    return _present(check)


def _inside(found: re.Match[str]) -> Check:
    name = found["other"]
    distances = {}
    for part in filter(None, (each.strip() for each in (found["distances"] or "").split(","))):
        side_first = re.fullmatch(r"(?P<range>.+?)\s*px\s+(?P<sides>(?:top|bottom|left|right|\s)+)", part)
        if side_first is None:
            raise LayoutError(f"{part!r} is no distance: give for example 10..20 px left")
        for side in side_first["sides"].split():
            distances[side] = _range(side_first["range"], f"the distance {side}")

    def check(rect: Rect, places: Places) -> tuple[bool, str]:
        other = _other(places, name)
        if other is None:
            return False, f"{name} is absent"
        gaps = {
            "left": rect.x - other.x, "top": rect.y - other.y,
            "right": other.right - rect.right, "bottom": other.bottom - rect.bottom,
        }  # fmt: skip
        out = {side: gap for side, gap in gaps.items() if gap < -_DEFAULT_SLACK_PX}
        if out:
            return False, "it reaches out by " + ", ".join(f"{-gap:g} px {side}" for side, gap in out.items())
        off = {side: gaps[side] for side, wanted in distances.items() if gaps[side] not in wanted}
        told = off or {side: gaps[side] for side in distances}
        return not off, "it is " + ", ".join(f"{gap:g} px {side}" for side, gap in told.items()) + " from the edge"

    return _present(check)


_GAPS: dict[str, Callable[[Rect, Rect], float]] = {
    "above": lambda rect, other: other.y - rect.bottom,
    "below": lambda rect, other: rect.y - other.bottom,
    "left of": lambda rect, other: other.x - rect.right,
    "right of": lambda rect, other: rect.x - other.right,
}


def _beside(found: re.Match[str]) -> Check:
    name, gap_of = found["other"], _GAPS[found["where"]]
    wanted = _range(found["range"], "the distance") if found["range"] else Range(-_DEFAULT_SLACK_PX, None)

    def check(rect: Rect, places: Places) -> tuple[bool, str]:
        other = _other(places, name)
        if other is None:
            return False, f"{name} is absent"
        gap = gap_of(rect, other)
        return gap in wanted, f"the gap is {gap:g} px" if gap >= 0 else f"they overlap by {-gap:g} px"

    return _present(check)


_EDGES: dict[str, Callable[[Rect], float]] = {
    "top": lambda rect: rect.y,
    "bottom": lambda rect: rect.bottom,
    "left": lambda rect: rect.x,
    "right": lambda rect: rect.right,
    "horizontally": lambda rect: rect.y + rect.height / 2,
    "vertically": lambda rect: rect.x + rect.width / 2,
}


def _aligned(found: re.Match[str]) -> Check:
    name, edge, slack = found["other"], _EDGES[found["edge"]], _slack(found)

    def check(rect: Rect, places: Places) -> tuple[bool, str]:
        other = _other(places, name)
        if other is None:
            return False, f"{name} is absent"
        off = edge(rect) - edge(other)
        return abs(off) <= slack, f"it is {off:+g} px off"

    return _present(check)


def _centred(found: re.Match[str]) -> Check:
    name, slack = found["other"], _slack(found)
    middle = _EDGES["vertically" if found["axis"] == "horizontally" else "horizontally"]

    def check(rect: Rect, places: Places) -> tuple[bool, str]:
        other = _other(places, name)
        if other is None:
            return False, f"{name} is absent"
        off = middle(rect) - middle(other)
        return abs(off) <= slack, f"it is {off:+g} px off the middle"

    return _present(check)


def _same(found: re.Match[str]) -> Check:
    name, side, slack = found["other"], found["side"], _slack(found)

    def check(rect: Rect, places: Places) -> tuple[bool, str]:
        other = _other(places, name)
        if other is None:
            return False, f"{name} is absent"
        off: float = getattr(rect, side) - getattr(other, side)
        return abs(off) <= slack, f"it differs by {off:+g} px"

    return _present(check)


def _slack(found: re.Match[str]) -> float:
    return float(found["slack"]) if found["slack"] else _DEFAULT_SLACK_PX


def _visible(_found: re.Match[str]) -> Check:
    return _present(lambda rect, _places: (rect.width > 0 and rect.height > 0, "it has no size"))


def _absent(_found: re.Match[str]) -> Check:
    return lambda rect, _places: (rect is None or rect.width * rect.height == 0, "it is there")


def _text(found: re.Match[str]) -> Check:
    wanted = found["text"]
    if found["how"] is None:
        return _present(lambda rect, _places: (rect.text == wanted, f"it says {rect.text!r}"))
    try:
        pattern = re.compile(wanted)
    except re.error as exc:
        raise LayoutError(f"{wanted!r} is no regular expression: {exc}") from None
    return _present(lambda rect, _places: (pattern.search(rect.text) is not None, f"it says {rect.text!r}"))


_OTHER = r"(?P<other>[\w.-]+)"
_WITHIN = rf"(?: within (?P<slack>{_NUMBER}) px)?"
_GRAMMAR: list[tuple[re.Pattern[str], Callable[[re.Match[str]], Check]]] = [
    (re.compile(rf"(?P<side>width|height) (?P<range>.+?) (?:px|% of {_OTHER})"), _size),
    (re.compile(rf"inside {_OTHER}(?: (?P<distances>.+))?"), _inside),
    (re.compile(rf"(?P<where>above|below|left of|right of) {_OTHER}(?: (?P<range>.+?) px)?"), _beside),
    (re.compile(rf"aligned (?P<edge>top|bottom|left|right|horizontally|vertically) with {_OTHER}{_WITHIN}"), _aligned),
    (re.compile(rf"cent(?:red|ered) (?P<axis>horizontally|vertically) inside {_OTHER}{_WITHIN}"), _centred),
    (re.compile(rf"same (?P<side>width|height) as {_OTHER}{_WITHIN}"), _same),
    (re.compile(r"visible"), _visible),
    (re.compile(r"absent"), _absent),
    (re.compile(r'text (?P<how>matches )?"(?P<text>.*)"'), _text),
]
_WORDS = (
    "width", "height", "inside", "above", "below", "left of", "right of", "aligned", "centred", "same", "visible",
    "absent", "text",
)  # fmt: skip


def annotate(png: bytes, findings: Iterable[Finding], places: Places, scale: float = 1.0) -> bytes:
    """The screenshot with what is off framed in red and named, what it was compared with in blue. Returns a PNG.

    `scale`: pixels of the picture for a pixel of the places (a page's device pixel ratio).
    """
    from PIL import Image, ImageDraw  # noqa: PLC0415 - seldom wanted, slow to load

    picture = Image.open(io.BytesIO(png)).convert("RGB")
    draw = ImageDraw.Draw(picture)
    off = [finding for finding in findings if not finding.passed]
    for colour, names in (
        ("blue", {other for each in off for other in each.others}),
        ("red", {each.element for each in off}),
    ):
        for name in names:
            if (rect := places.get(name)) is not None:
                box = [scale * edge for edge in (rect.x, rect.y, rect.right, rect.bottom)]
                draw.rectangle(box, outline=colour, width=2)
    for row, finding in enumerate(off):
        rect = places.get(finding.element)
        x, y = (scale * rect.x, scale * rect.bottom) if rect is not None else (4.0, 4.0)
        at = (min(x, picture.width - 60), min(y + 2 + 12 * row, picture.height - 14))
        box_of_text = draw.textbbox(at, str(finding))
        draw.rectangle(box_of_text, fill="white")
        draw.text(at, str(finding), fill="red")
    out = io.BytesIO()
    picture.save(out, "PNG")
    return out.getvalue()
