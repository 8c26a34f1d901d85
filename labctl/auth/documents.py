"""Policy documents: statements that allow or deny, as people write them, read with file and line.

    groups:
      operators: [person:anna, "ci:nightly-*"]
    statements:
      - name: operators drive by day
        effect: allow
        principals: [group:operators]
        actions: [read, leases.*, robots.drive]
        resources: ["device:robot-*", "robot:robot-*"]
        when: {labels: {site: berlin}, days: [mon, tue, wed, thu, fri], hours: 08:00-18:00, zone: Europe/Berlin}

An explicit deny wins over any allow; what no statement says is denied. `*` stands for any text, also across dots and
colons; everything else is taken literally.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import time
from pathlib import Path
from typing import Annotated, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints, model_validator

from drivers import documents
from labctl.auth.principals import EMERGENCY_STOP, KINDS

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_HOURS = re.compile(r"^([01]\d|2[0-3]):([0-5]\d)-(([01]\d|2[0-3]):([0-5]\d)|24:00)$")
_SUFFIXES = (".yaml", ".yml", ".json")
_GROUP = "group:"


def _principal(pattern: str) -> str:
    kind, colon, name = pattern.partition(":")
    if pattern != "*" and (not colon or not name or kind not in (*KINDS, "group", "*")):
        raise ValueError('a principal is "*", "person:NAME", "ci:NAME", "device:NAME", "*:NAME" or "group:NAME"')
    return pattern


def _resource(pattern: str) -> str:
    if pattern != "*" and ":" not in pattern:
        raise ValueError('a resource is "*" or "KIND:NAME", such as "device:robot-*", "job:*", "lease:*"')
    return pattern


def _hours(text: str) -> str:
    if not _HOURS.match(text):
        raise ValueError('hours are "HH:MM-HH:MM"; past midnight is written 22:00-06:00, to midnight 18:00-24:00')
    if text[:5] == text[6:]:
        raise ValueError("hours begin and end at the same minute; leave them out to mean the whole day")
    return text


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError("no time zone of that name is known; write one such as Europe/Berlin or UTC") from None
    return name


_Text = Annotated[str, StringConstraints(min_length=1, max_length=300)]
PrincipalPattern = Annotated[_Text, AfterValidator(_principal)]
ResourcePattern = Annotated[_Text, AfterValidator(_resource)]
ActionPattern = Annotated[_Text, StringConstraints(pattern=r"^[a-z*][a-z0-9_.*-]*$")]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Conditions(_Section):
    """What must hold besides, all of it. Times are in `zone`; a day is that on which the hours began."""

    labels: Annotated[dict[_Text, _Text | tuple[_Text, ...]], Field(description="of the resource; any of a list")] = {}
    own: Annotated[bool | None, Field(description="whether the resource belongs to the principal")] = None
    days: tuple[Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"], ...] = DAYS  # type: ignore[assignment]  # mypy widens the literals
    hours: Annotated[str, AfterValidator(_hours)] | None = None
    zone: Annotated[str, AfterValidator(_zone)] = "UTC"
    not_before: AwareDatetime | None = None
    not_after: AwareDatetime | None = None

    @model_validator(mode="after")
    def _some_time_is_left(self) -> Conditions:
        if not self.days:
            raise ValueError("days names no day")
        if self.not_before and self.not_after and self.not_before >= self.not_after:
            raise ValueError("not_before must lie before not_after")
        return self

    def window(self) -> tuple[time, time] | None:
        """Beginning and end of the hours; an end of midnight is 00:00."""
        if self.hours is None:
            return None
        begin, end = self.hours.split("-")
        return time.fromisoformat(begin), time() if end == "24:00" else time.fromisoformat(end)


class StatementDocument(_Section):
    """One statement as it is written."""

    name: _Text = ""
    effect: Literal["allow", "deny"]
    principals: Annotated[tuple[PrincipalPattern, ...], Field(min_length=1)]
    actions: Annotated[tuple[ActionPattern, ...], Field(min_length=1)]
    resources: Annotated[tuple[ResourcePattern, ...], Field(min_length=1)]
    when: Conditions = Conditions()

    @model_validator(mode="after")
    def _stops_are_open(self) -> StatementDocument:
        if self.effect == "deny" and EMERGENCY_STOP in self.actions:
            raise ValueError(f"{EMERGENCY_STOP} cannot be denied: every known principal may stop a machine")
        return self


class PolicyDocument(_Section):
    """One policy file."""

    groups: dict[_Text, tuple[PrincipalPattern, ...]] = {}
    statements: tuple[StatementDocument, ...] = ()


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement with its groups resolved. `where`: file:line, and its name if it has one."""

    allow: bool
    principals: tuple[str, ...]
    actions: tuple[str, ...]
    resources: tuple[str, ...]
    when: Conditions
    where: str


@dataclass(frozen=True, slots=True)
class Source:
    """The text of one policy file as it was read."""

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Policies:
    """All statements of a lab in order. `version`: a hash of the texts that they came from."""

    statements: tuple[Statement, ...] = ()
    sources: tuple[Source, ...] = ()

    @property
    def version(self) -> str:
        """16 hex digits that change with any of the texts; empty where there are none."""
        if not self.sources:
            return ""
        digest = hashlib.sha256()
        for source in self.sources:
            for part in (source.name, source.text):
                digest.update(b"%d:" % len(part.encode()) + part.encode())
        return digest.hexdigest()[:16]


def read_policies(paths: Iterable[Path]) -> Policies:
    """The policies in files and folders (their *.yaml, *.yml and *.json in order of name), groups shared by all.

    Raises `drivers.documents.DocumentError` with every problem.
    """
    problems: list[documents.Problem] = []
    sources: list[Source] = []
    for path in paths:
        for file in _files(path, problems):
            name = str(file)
            try:
                sources.append(Source(name, file.read_text(encoding="utf-8")))
            except (OSError, UnicodeDecodeError) as exc:
                problems.append(documents.Problem(name, 1, 1, "", f"cannot be read: {exc}"))
    if problems:
        raise documents.DocumentError(problems)
    return parse_policies(sources)


def parse_policies(sources: Sequence[Source]) -> Policies:
    """The policies in these texts. Raises `drivers.documents.DocumentError` with every problem in any of them."""
    problems: list[documents.Problem] = []
    parsed: list[tuple[documents.Document, PolicyDocument]] = []
    for source in sources:
        try:
            document = documents.parse(source.text, source.name)
            parsed.append((document, documents.validate(document, PolicyDocument)))
        except documents.DocumentError as exc:
            problems.extend(exc.problems)
    groups: dict[str, tuple[str, ...]] = {}
    for document, policy in parsed:
        for group, members in policy.groups.items():
            here = ("groups", group)
            if group in groups:
                problems.append(document.problem(here, "another file has a group of that name"))
            if any(member.startswith(_GROUP) for member in members):
                problems.append(document.problem(here, "a group has principals as members, not groups"))
            groups[group] = members
    statements = [_resolved(*each, groups, problems) for each in parsed]
    if problems:
        raise documents.DocumentError(problems)
    return Policies(tuple(statement for each in statements for statement in each), tuple(sources))


def _resolved(
    document: documents.Document,
    policy: PolicyDocument,
    groups: dict[str, tuple[str, ...]],
    problems: list[documents.Problem],
) -> list[Statement]:
    statements = []
    for index, written in enumerate(policy.statements):
        principals: list[str] = []
        for position, pattern in enumerate(written.principals):
            if not pattern.startswith(_GROUP):
                principals.append(pattern)
                continue
            group = pattern.removeprefix(_GROUP)
            if group not in groups:
                known = ", ".join(sorted(groups)) or "none"
                here = ("statements", index, "principals", position)
                problems.append(document.problem(here, f"there is no group {group!r}; groups are: {known}"))
            principals.extend(groups.get(group, ()))
        line = document.marks.get(("statements", index), (1, 1))[0]
        where = f"{document.source}:{line}" + (f" ({written.name})" if written.name else "")
        statements.append(
            Statement(
                written.effect == "allow", tuple(principals), written.actions, written.resources, written.when, where
            )
        )
    return statements


def _files(path: Path, problems: list[documents.Problem]) -> list[Path]:
    if not path.is_dir():
        return [path]
    try:
        return sorted(file for file in path.iterdir() if file.suffix in _SUFFIXES and not file.name.startswith("."))
    except OSError as exc:
        problems.append(documents.Problem(str(path), 1, 1, "", f"cannot be read: {exc.strerror}"))
        return []
