"""Job files: everything that is wrong at once, with line and column; and what the right ones become."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from drivers.documents import DocumentError, Problem
from labctl.jobs import ParsedFile, parse_job_file, shipped
from labctl.matching import Candidate
from labctl.registry import ActionRegistry

ACTIONS = ActionRegistry()
CALL = """
name: call
vars: {patience: 5s, rooms: [a, b]}
roles: {alice: {kind: endpoint}, bob: {kind: endpoint}}
signals: [outside]
lanes:
  alice:
    steps:
      - {id: settle, uses: run.sleep, with: {duration: "${{ vars.patience }}"}, timeout: 1h30m, retry: 2}
      - {wait: ready, timeout: 250ms, if: success()}
      - {notify: done, payload: {of: "${{ steps.settle.verdict }}"}}
  bob:
    steps:
      - {notify: ready}
      - {wait: outside}
      - {barrier: end}
  carol:
    role: bob
    steps: [{barrier: end, if: always()}]
"""


def parse(text: str, **overrides: str) -> ParsedFile:
    return parse_job_file(text, "job.yaml", ACTIONS.check, overrides)


def problems(text: str, **overrides: str) -> list[str]:
    with pytest.raises(DocumentError) as refused:
        parse(text, **overrides)
    return [f"{each.line}:{each.column} {each.message}" for each in refused.value.problems]


def test_a_job_that_is_right() -> None:
    parsed = parse(CALL)
    (only,) = parsed.jobs
    steps = only.job.lanes["alice"].steps
    assert (parsed.name, parsed.matrix, only.combination) == ("call", False, {})
    assert (steps[0].timeout, steps[0].retry.times, steps[1].timeout) == (5400, 2, 0.25)
    assert [step.title for step in steps] == ["run.sleep", "wait ready", "notify done"]
    assert only.job.role_of("carol") == "bob"
    assert parse(CALL, patience="1m").jobs[0].job.vars == {"patience": "1m", "rooms": ["a", "b"]}


@pytest.mark.parametrize("known", ["outputs.seconds", "measurements.recorded", "verdict", "reason"])
def test_all_that_a_run_knows_of_an_earlier_step_may_be_used(known: str) -> None:
    text = CALL.replace("steps.settle.verdict", f"steps.settle.{known}").replace(
        "success()", f"steps.settle.{known} != 1"
    )
    assert known in str(parse(text).jobs[0].job.lanes["alice"].steps[2].payload)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("[c, 2]", ["c", 2]),
        ("", None),
        ("2024-02-28", "2024-02-28"),
        ("2024-02-30", "2024-02-30"),
        ("9" * 5000, "9" * 5000),
        ("[" * 5000, "[" * 5000),
        ("&a [*a]", "&a [*a]"),
        (".nan", ".nan"),
        ("{1: 2}", "{1: 2}"),
    ],
    ids=lambda each: str(each)[:12],
)
def test_the_value_given_for_a_variable_is_yaml_where_that_can_be_kept(text: str, value: object) -> None:
    assert parse(CALL, rooms=text).jobs[0].job.vars["rooms"] == value


def test_a_text_given_for_a_variable_that_no_database_keeps_is_refused() -> None:
    assert problems(CALL, patience="5s\0") == [
        "3:8 holds a character that is no text (NUL or half of a surrogate pair)"
    ]


def test_every_error_of_every_kind_is_told_at_once() -> None:
    text = """name: call
vars: {patience: 5s}
roles: {alice: {kind: endpoint}, bob: {knid: endpoint}}
timout: 5m
lanes:
  alice:
    steps:
      - {uses: run.slep, with: {duration: 1}}
      - {uses: run.sleep, with: {duraton: 1}}
      - {uses: run.sleep, with: {duration: "${{ vars.patients }}"}}
      - {uses: run.sleep, with: {duration: x}}
      - {wait: redy, timeout: soon}
      - {wait: ready, retry: 3}
      - {notify: done, if: steps.none.verdict == 'passed'}
      - {}
  bbo:
    steps: [{notify: ready}]
outputs: {o: "${{ lanes.alice.steps.x }}"}
"""
    assert problems(text) == [
        "3:40 unknown key; did you mean 'kind'?",
        "4:1 unknown key; did you mean 'timeout'?",
        "8:10 no action 'run.slep'; did you mean 'run.sleep'?",
        "9:27 is required",
        "9:34 unknown key; did you mean 'duration'?",
        "10:34 there is no 'patients' in vars; did you mean 'patience'?",
        '11:34 is no length of time: write seconds as a number, or like "90s", "5m", "1h30m", "250ms"',
        "12:10 nobody notifies 'redy'; did you mean 'ready'?",
        '12:22 is no length of time: write seconds as a number, or like "90s", "5m", "1h30m", "250ms" (got \'soon\')',
        "13:9 retry cannot be used with wait",
        "14:24 there is no 'none' in steps; steps before this one with an id are: none",
        "15:9 a step has one of uses, notify, wait and barrier; this one has none of them",
        "16:3 no role has this name; did you mean 'bob'?",
        "18:11 there is no 'x' in lanes.alice.steps; lanes.alice.steps has: none",
    ]


def test_lanes_that_wait_for_each_other_are_told_with_their_lines() -> None:
    text = CALL.replace("- {notify: ready}", "- {wait: done}\n      - {notify: ready}")
    (told,) = problems(text)
    assert told.startswith("10:10 lanes wait for each other for ever: alice waits for 'ready' (line 10) before bob")
    assert "(line 15); bob waits for 'done' (line 14) before alice notifies it (line 11)" in told


def test_a_matrix_becomes_jobs_with_its_values_worked_out() -> None:
    text = """
name: drive
matrix: {robot: [r1, r2], speed: [0.2, 0.4], exclude: [{robot: r2, speed: 0.4}]}
vars: {label: "at ${{ matrix.speed }}"}
roles: {robot: {device: "${{ matrix.robot }}"}}
lanes: {robot: {steps: [{uses: run.measure, with: {name: "${{ vars.label }}", value: "${{ matrix.speed }}"}}]}}
"""
    parsed = parse(text)
    assert [each.job.name for each in parsed.jobs] == ["drive (r1, 0.2)", "drive (r1, 0.4)", "drive (r2, 0.2)"]
    assert [each.job.roles["robot"].device for each in parsed.jobs] == ["r1", "r1", "r2"]
    assert parsed.jobs[1].job.vars == {"label": "at 0.4"}
    assert problems(text.replace("matrix.robot", "matrix.robt")) == [
        "5:17 there is no 'robt' in matrix; did you mean 'robot'?"
    ]
    assert problems(text.replace("matrix.robot", "run.id"))[0].startswith("5:17 there is no 'run'")


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("retry: 2", "retry: -1", "greater than or equal to 0"),
        ("retry: 2", "retry: {tims: 1}", "did you mean 'times'?"),
        ("notify: ready", "notify: a b", "should match pattern"),
        ("barrier: end}", "barrier: end, count: 3}", "needs 3 lanes, and bob, carol alone come"),
        ("name: call", "name: ''", "at least 1 character"),
        ("name: call", "name: .nan", "no number that JSON has"),
        ("name: call", "name: \"a\\0b\"", "no text"),
        ("name: call", "name: 2026-01-01", "put it in quotes"),
        ("name: call", "name: call\n? [a]\n: b", "cannot be understood"),
        ("name: call", "name: call\n3: x", "is no text; put it in quotes"),
        ("roles: {alice: {kind: endpoint}", "roles: {alice: {kind: endpoint, device: x}", "give either device"),
        ("if: always()", "if: '${{ alwys() }}'", "there is no function alwys()"),
        ("id: settle", "id: se ttle", "should match pattern"),
        ("role: bob", "role: dave", "no role 'dave'"),
    ],
)  # fmt: skip
def test_what_else_can_be_wrong(old: str, new: str, told: str) -> None:
    assert old in CALL
    assert told in "\n".join(problems(CALL.replace(old, new)))


@pytest.mark.parametrize("name", shipped.names())
def test_the_jobs_of_the_library_are_right(name: str) -> None:
    assert parse(shipped.text(name)).warnings == ()


def test_the_page_on_jobs_has_a_job_that_is_right(request: pytest.FixtureRequest) -> None:
    page = (request.config.rootpath / "docs" / "jobs.md").read_text(encoding="utf-8")
    assert parse(page.split("```yaml\n")[1].split("```")[0]).name == "two-party call"


def test_the_examples_are_right(request: pytest.FixtureRequest) -> None:
    for path in (request.config.rootpath / "examples").rglob("*.yaml"):
        assert parse(path.read_text(encoding="utf-8")).jobs


VALUES: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(
        ["${{ vars.x }}", "${{", "alice", "run.sleep", "ready", "5m", 10**400]
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["name", "roles", "lanes", "steps", "uses", "with", "wait", "notify", "barrier", "if", "alice",
                         "kind", "timeout", "matrix", "vars", "outputs", "signals", "always", "retry", "id", "x"]),
        inner, max_size=5),
    max_leaves=25,
)  # fmt: skip


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_any_document_is_taken_or_refused_in_words(data: Any) -> None:
    """A right job with some of it replaced by anything at all."""
    document = yaml.safe_load(CALL)
    for _ in range(data.draw(st.integers(1, 3))):
        here: Any = document
        while isinstance(here, dict | list) and here and data.draw(st.booleans()):
            keys = sorted(here, key=str) if isinstance(here, dict) else range(len(here))
            key = data.draw(st.sampled_from(list(keys)))
            if not isinstance(here[key], dict | list) or data.draw(st.booleans()):
                here[key] = data.draw(VALUES)
                break
            here = here[key]
    told: tuple[Problem, ...] = ()
    try:
        parse(yaml.safe_dump(document))
    except DocumentError as exc:
        told = exc.problems
    assert all(each.line >= 1 and each.message for each in told)


NEVER = "the lab has no devices that could fill this, even if all were free"


def test_roles_that_the_lab_cannot_fill_are_told_with_all_that_is_wrong() -> None:
    devices = [Candidate("alice", "endpoint", {"site": "berlin"}), Candidate("robot-1", "robot", {})]
    text = """
name: call
roles:
  alice: {device: alise}
  bob: {kind: endpoints}
  carol: {kind: endpoint, labels: {site: paris}}
  dave: {kind: endpoint, lables: {site: berlin}}
  erin: {kind: endpoint, labels: {site: berlin}}
lanes:
  alice: {steps: [{uses: test.do}]}
"""
    with pytest.raises(DocumentError) as wrong:
        parse_job_file(text, "job.yaml", lambda _uses, _parameters: [], devices=devices)
    assert [(each.line, each.column, each.message) for each in wrong.value.problems] == [
        (4, 11, "there is no device 'alise'; did you mean 'alice'?"),
        (5, 9, f"{NEVER}: an endpoints; did you mean 'endpoint'?"),
        (6, 3, f"{NEVER}: an endpoint with site=paris"),
        (7, 26, "unknown key; did you mean 'labels'?"),
    ]
