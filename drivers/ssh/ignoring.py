"""Which files of a folder stay where they are: patterns as in a .gitignore file (gitignore(5))."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

# Ours, and what every Python project makes by itself.
ALWAYS = (".labctl-*",)
USUAL = (
    ".git/",
    "__pycache__/",
    "*.pyc",
    ".venv/",
    ".tox/",
    ".mypy_cache/",
    ".pytest_cache/",
    ".ruff_cache/",
    "node_modules/",
)
FILES = (".labctlignore", ".gitignore")


@dataclass(frozen=True, slots=True)
class _Rule:
    pattern: re.Pattern[bytes]
    keep: bool
    folders_only: bool


@dataclass(frozen=True, slots=True)
class Ignore:
    """The rules; of those that match, the last one counts. `of_files`, `of_folders`: all in one, where none keeps."""

    rules: tuple[_Rule, ...] = ()
    of_files: re.Pattern[bytes] | None = None
    of_folders: re.Pattern[bytes] | None = None

    @classmethod
    def of(cls, patterns: Sequence[str]) -> Ignore:
        """Patterns in their order; comments and empty lines are passed over. Raises ValueError for a bad one."""
        rules = tuple(rule for each in (*patterns, *ALWAYS) if (rule := _rule(each)) is not None)
        if any(rule.keep for rule in rules):
            return cls(rules)
        return cls(rules, _united(rule for rule in rules if not rule.folders_only), _united(rules))

    @classmethod
    def for_project(cls, folder: Path, more: Sequence[str] = ()) -> Ignore:
        """The usual ones, those of the folder's .labctlignore (else .gitignore), and `more`."""
        lines: list[str] = []
        for name in FILES:
            if (folder / name).is_file():
                lines = (folder / name).read_text(encoding="utf-8", errors="surrogateescape").splitlines()
                break
        return cls.of([*USUAL, *lines, *more])

    def __call__(self, path: bytes, folder: bool) -> bool:
        """Whether `path`, relative to the root, is left out. What lies in a folder that is left out is so too."""
        parts = path.split(b"/")
        return any(
            self.itself(b"/".join(parts[:depth]), folder or depth < len(parts)) for depth in range(1, len(parts) + 1)
        )

    def itself(self, path: bytes, folder: bool) -> bool:
        """The same for a path whose folders are known to stay."""
        united = self.of_folders if folder else self.of_files
        if united is not None:
            return united.fullmatch(path) is not None
        for rule in reversed(self.rules):
            if (folder or not rule.folders_only) and rule.pattern.fullmatch(path):
                return not rule.keep
        return False


def _united(rules: Iterable[_Rule]) -> re.Pattern[bytes]:
    return re.compile(b"|".join(b"(?:" + rule.pattern.pattern + b")" for rule in rules), re.DOTALL)


def _rule(line: str) -> _Rule | None:
    text = line if line.endswith("\\ ") else line.rstrip()
    if not text or text.startswith("#"):
        return None
    keep = text.startswith("!")
    text = text[1:] if keep or text.startswith(("\\#", "\\!")) else text
    folders_only = text.endswith("/")
    text = text.rstrip("/")
    anchored = "/" in text
    text = text.removeprefix("/")
    if not text:
        return None
    expression = _translate(text)
    prefix = "" if anchored else "(?:.*/)?"
    source = (prefix + expression).encode("utf-8", "surrogateescape")
    try:
        return _Rule(re.compile(source, re.DOTALL), keep, folders_only)
    except re.error as exc:
        raise ValueError(f"{line!r} is no pattern of an ignore file: {exc}") from None


def _translate(text: str) -> str:
    made, at = "", 0
    while at < len(text):
        if text.startswith("**/", at) and (at == 0 or text[at - 1] == "/"):
            made, at = made + "(?:.*/)?", at + 3
        elif text.startswith("**", at) and at + 2 == len(text) and at and text[at - 1] == "/":
            made, at = made + ".*", at + 2
        elif text[at] == "*":
            made, at = made + "[^/]*", at + 1
        elif text[at] == "?":
            made, at = made + "[^/]", at + 1
        elif text[at] == "[" and (end := text.find("]", at + 2)) > 0:
            inside = text[at + 1 : end].replace("\\", "\\\\").replace("[", "\\[")
            made, at = made + "[" + ("^/" + inside[1:] if inside[0] in "!^" else inside) + "]", end + 1
        elif text[at] == "\\" and at + 1 < len(text):
            made, at = made + re.escape(text[at + 1]), at + 2
        else:
            made, at = made + re.escape(text[at]), at + 1
    return made
