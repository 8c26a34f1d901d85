"""Reads a job file: from text to jobs, one for each combination of its matrix, or to all that is wrong with it."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from drivers import documents
from drivers.documents import Document, DocumentError, Location, Problem
from labctl.jobs import expressions, wait_graph
from labctl.jobs.expressions import UNKNOWN
from labctl.jobs.matrix import Combination, MatrixError, expand, title
from labctl.jobs.model import Job, Step
from labctl.jobs.roles import unfilled
from labctl.jobs.salvaging import PLACEHOLDER, salvage
from labctl.jobs.syntax import ExpressionError, Node
from labctl.matching import Candidate

# Says what is wrong with the parameters of an action: places below them, and messages; ("uses",) for the action itself.
CheckAction = Callable[[str, dict[str, Any]], list[tuple[Location, str]]]
_MOST_PROBLEMS = 100
# What expressions know of a run, beside `vars`, `matrix` and `steps`.
RUN_NAMES = ("device", "lane", "role", "roles", "run")


@dataclass(frozen=True, slots=True)
class ParsedJob:
    """One job, with the values of the matrix that it is for."""

    job: Job
    combination: Combination


@dataclass(frozen=True, slots=True)
class ParsedFile:
    """What a job file asks for: one job, or, where `matrix` is set, one for each combination."""

    name: str
    matrix: bool
    jobs: tuple[ParsedJob, ...]
    warnings: tuple[Problem, ...]


def parse_job_file(
    text: str,
    source: str,
    check_action: CheckAction,
    overrides: Mapping[str, str] | None = None,
    *,
    devices: Sequence[Candidate] | None = None,
) -> ParsedFile:
    """The jobs in a YAML or JSON text.

    `overrides`: values for its `vars`, as YAML scalars. `devices`: those of the lab, one of which each role must be
    able to have; whether all roles can at once is not looked at. Raises `drivers.documents.DocumentError` with every
    problem.
    """
    document = _overridden(documents.parse(text, source), overrides or {})
    if problems := list(_unstorable(document)):
        raise DocumentError(problems[:_MOST_PROBLEMS])
    value = document.value if isinstance(document.value, dict) else {}
    matrix = value.get("matrix")
    combinations = _combinations(document, matrix) if isinstance(matrix, dict) else [{}]
    jobs: list[ParsedJob] = []
    found: dict[Problem, None] = {}
    warnings: dict[Problem, None] = {}
    for combination in combinations:
        try:
            job, doubts = _one_job(document, combination, check_action, devices)
        except DocumentError as exc:
            found.update(dict.fromkeys(exc.problems))
            if len(found) > _MOST_PROBLEMS:
                break
            continue
        jobs.append(ParsedJob(job, combination))
        warnings.update(dict.fromkeys(doubts))
    if found:
        raise DocumentError(sorted(found, key=lambda each: (each.line, each.column))[:_MOST_PROBLEMS])
    return ParsedFile(str(value["name"]), isinstance(matrix, dict), tuple(jobs), tuple(warnings))


def scope_before(job: Job, combination: Combination, ids: Mapping[str, Any]) -> dict[str, Any]:
    """What expressions of a step can use, with what only a run can know unknown. `ids`: of the steps before it."""
    known = {"vars": job.vars, "matrix": combination, "steps": dict(ids)}
    return {**known, **dict.fromkeys(RUN_NAMES, UNKNOWN)}


def _combinations(document: Document, matrix: dict[str, Any]) -> list[Combination]:
    try:
        return expand(matrix)
    except MatrixError as exc:
        raise document.error(("matrix", *exc.where), str(exc)) from None


def _one_job(
    document: Document, combination: Combination, check_action: CheckAction, devices: Sequence[Candidate] | None
) -> tuple[Job, list[Problem]]:
    document, problems = _settled(document, combination)
    job: Job | None
    try:
        job = documents.validate(document, Job)
    except DocumentError as exc:
        problems += exc.problems
        job = salvage(document.value)
        if job is None:
            raise DocumentError(problems) from None
    problems += _names(document, job)
    if devices is not None:
        problems += unfilled(document, job, devices)
    for lane in job.lanes:
        problems += _expressions(document, job, lane, combination, check_action)
    problems += _outputs(document, job, combination)
    errors, doubts = wait_graph.check(wait_graph.meetings(job), job.signals)
    problems += [_worded(document, each) for each in errors]
    if problems:
        raise DocumentError(problems)
    return job, [_worded(document, each) for each in doubts]


def _settled(document: Document, combination: Combination) -> tuple[Document, list[Problem]]:
    """The document with what the scheduler has to know worked out: `vars`, `name` and `roles`."""
    value = document.value
    problems: list[Problem] = []
    if not isinstance(value, dict):
        return document, problems
    value = dict(value)

    def settle(key: str, scope: Mapping[str, Any]) -> None:
        broken = False
        for where, text in expressions.templates(value[key], (key,)):
            try:
                for node in expressions.parts(text):
                    if not isinstance(node, str):
                        _check_names(node, scope)
                if expressions.fill(text, scope) is UNKNOWN:
                    raise ExpressionError("has to be known before the run; only vars and matrix are")
            except ExpressionError as exc:
                problems.append(document.problem(where, str(exc)))
                broken = True
        if not broken:
            value[key] = expressions.fill(value[key], scope)

    scope: dict[str, Any] = {"matrix": combination}
    if "vars" in value:
        settle("vars", scope)
    if isinstance(value.get("vars", {}), dict):
        scope["vars"] = value.get("vars", {})
    for key in ("name", "roles"):
        if key in value:
            settle(key, scope)
    if isinstance(value.get("matrix"), dict):
        if isinstance(value.get("name"), str) and value["name"] == document.value["name"]:
            value["name"] = title(value["name"], combination)
        value["matrix"] = None
    return replace(document, value=value), problems


def _names(document: Document, job: Job) -> Iterator[Problem]:
    """Lanes without a role, and steps with the same id."""
    for name, lane in job.lanes.items():
        if lane.role is None and name not in job.roles:
            yield document.problem(("lanes", name), f"no role has this name; {_close(name, job.roles, 'roles are')}")
        elif lane.role is not None and lane.role not in job.roles:
            yield document.problem(
                ("lanes", name, "role"), f"no role {lane.role!r}; {_close(lane.role, job.roles, 'roles are')}"
            )
        ids: set[str] = set()
        for part, index, step in lane.parts():
            if step.id is not None and step.id in ids:
                yield document.problem(
                    ("lanes", name, part, index, "id"), f"two steps of {name} have the id {step.id!r}"
                )
            ids.add(step.id or "")


def _expressions(
    document: Document, job: Job, lane: str, combination: Combination, check_action: CheckAction
) -> Iterator[Problem]:
    """What is wrong in the expressions of a lane, and in the parameters of its actions."""
    earlier: dict[str, Any] = {}
    for part, index, step in job.lanes[lane].parts():
        at: Location = ("lanes", lane, part, index)
        scope = scope_before(job, combination, earlier)
        if step.condition is not None:
            try:
                node = expressions.condition(step.condition)
                _check_names(node, scope)
                expressions.evaluate(node, scope)
            except ExpressionError as exc:
                yield document.problem((*at, "if"), str(exc))
        broken = False
        for key, value in (("with", step.parameters), ("payload", step.payload)):
            for where, text in expressions.templates(value):
                try:
                    _check_text(text, scope)
                except ExpressionError as exc:
                    broken = True
                    yield document.problem((*at, key, *where), str(exc))
        if step.uses not in (None, PLACEHOLDER) and not broken:
            for where, message in _action(step, scope, check_action):
                yield document.problem((*at, *where), message)
        if step.id is not None:
            earlier[step.id] = dict.fromkeys(("outputs", "measurements", "verdict", "reason"), UNKNOWN)


def _action(step: Step, scope: Mapping[str, Any], check_action: CheckAction) -> Iterator[tuple[Location, str]]:
    """What the action says of its parameters; what hangs on a value that is not known yet is left for the run."""
    filled = expressions.fill(step.parameters, scope)
    open_places = [where for where, text in expressions.templates(step.parameters) if _open(text, scope)]
    for where, message in check_action(str(step.uses), _with_placeholders(filled)):
        inside = where[1:]
        related = any(place[: len(inside)] == inside or inside[: len(place)] == place for place in open_places)
        if where[0] == "uses" or not related:
            yield where, message


def _outputs(document: Document, job: Job, combination: Combination) -> Iterator[Problem]:
    known = {"outputs": UNKNOWN, "verdict": UNKNOWN, "reason": UNKNOWN}
    lanes = {
        name: {"steps": {step.id: known for _, _, step in lane.parts() if step.id}} for name, lane in job.lanes.items()
    }
    scope = {"vars": job.vars, "matrix": combination, "lanes": lanes, "roles": UNKNOWN, "run": UNKNOWN}
    for where, text in expressions.templates(job.outputs, ("outputs",)):
        try:
            _check_text(text, scope)
        except ExpressionError as exc:
            yield document.problem(where, str(exc))


def _check_text(text: str, scope: Mapping[str, Any]) -> None:
    for node in expressions.parts(text):
        if not isinstance(node, str):
            _check_names(node, scope)
    expressions.fill(text, scope)


def _check_names(node: Node, scope: Mapping[str, Any]) -> None:
    """Look up every name that is written out, also where the value does not hang on it. Raises ExpressionError."""
    for path in expressions.references(node):
        value: Any = scope
        for depth, part in enumerate(path):
            if not isinstance(value, Mapping):
                break
            if part not in value:
                kind = ".".join(map(str, path[:depth]))
                told = {"": "names are", "steps": "steps before this one with an id are"}.get(kind, f"{kind} has")
                where = f" in {kind}" if kind else ""
                raise ExpressionError(f"there is no {str(part)!r}{where}; {_close(str(part), value, told)}")
            value = value[part]


def _open(text: str, scope: Mapping[str, Any]) -> bool:
    return expressions.fill(text, scope) is UNKNOWN


def _with_placeholders(value: Any) -> Any:
    if value is UNKNOWN:
        return "${{ }}"
    if isinstance(value, dict):
        return {key: _with_placeholders(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_with_placeholders(each) for each in value]
    return value


def _overridden(document: Document, overrides: Mapping[str, str]) -> Document:
    if not overrides or not isinstance(document.value, dict):
        return document
    variables = document.value.get("vars", {})
    if not isinstance(variables, dict):
        return document
    values: dict[str, Any] = {}
    for name, text in overrides.items():
        if name not in variables:
            told = _close(name, [str(each) for each in variables], "vars are")
            raise document.error(("vars",), f"there is no {name!r} to set; {told}")
        values[name] = text if isinstance(variables[name], str) else _scalar(text)
    return replace(document, value={**document.value, "vars": {**variables, **values}})


def _scalar(text: str) -> Any:
    """What a text says as YAML; the text itself where that is nothing, or no value that JSON has, such as a date."""
    if not text.strip():
        return None
    try:
        document = documents.parse(text)
    except DocumentError:
        return text
    return text if any(_unstorable(document)) else document.value


def _unstorable(document: Document) -> Iterator[Problem]:
    """Values that YAML can say and JSON, or a database, cannot."""

    def look(value: Any, at: Location) -> Iterator[Problem]:
        if isinstance(value, dict):
            for key, each in value.items():
                if not isinstance(key, str):
                    yield document.problem(at, f"the key {key!r} is no text; put it in quotes")
                    continue
                yield from look(key, at)
                yield from look(each, (*at, key))
        elif isinstance(value, list):
            for index, each in enumerate(value):
                yield from look(each, (*at, index))
        elif isinstance(value, str):
            if any(each == "\0" or "\ud800" <= each <= "\udfff" for each in value):
                yield document.problem(at, "holds a character that is no text (NUL or half of a surrogate pair)")
        elif isinstance(value, float) and not math.isfinite(value):
            yield document.problem(at, f"is {value}, which is no number that JSON has")
        elif isinstance(value, int) and not isinstance(value, bool) and abs(value) > 2**63:
            yield document.problem(at, "is a number too large to be kept")
        elif not isinstance(value, str | int | float | bool | None):
            yield document.problem(at, f"is a {type(value).__name__}; put it in quotes to make it a text")

    yield from look(document.value, ())


def _worded(document: Document, finding: wait_graph.Finding) -> Problem:
    lines = [f"line {document.problem(place, '').line}" for place in finding.others]
    return document.problem(finding.at, finding.message.format(*lines))


def _close(name: str, known: Any, told: str) -> str:
    names = [str(each) for each in known]
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    return f"did you mean {close[0]!r}?" if close else f"{told}: {', '.join(names) or 'none'}"
