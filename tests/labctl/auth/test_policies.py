"""Policies: each rule of the language as a case, and the compiled index against a naive reading of the same rules."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.documents import DocumentError
from labctl.auth import Decision, Principal, Resource
from labctl.auth.checking import remarks
from labctl.auth.documents import DAYS, Conditions, Policies, Source, Statement, parse_policies, read_policies
from labctl.auth.evaluation import Evaluator
from labctl.auth.explaining import explain
from labctl.auth.patterns import PatternIndex, matches

ANNA, NIGHTLY, ROBOT = Principal("anna"), Principal("nightly", "ci"), Principal("robot-1", "device")
ADMINISTRATOR = Principal("root", administrator=True)
ROBOT_1 = Resource("device", "robot-1", labels={"site": "berlin"})
MONDAY_NOON = datetime(2026, 3, 2, 12, tzinfo=ZoneInfo("Europe/Berlin")).timestamp()
HOUR = 3600.0


def policies(text: str) -> Policies:
    return parse_policies([Source("lab.yaml", text)])


def decide(text: str, who: Principal, action: str, what: Resource, now: float = MONDAY_NOON) -> Decision:
    return Evaluator(policies(text)).decide(who, action, what, now)


def statement(**changes: Any) -> str:
    whole = {"effect": "allow", "principals": ["*"], "actions": ["*"], "resources": ["*"], **changes}
    return "{" + ", ".join(f"{name}: {value!r}".replace("True", "true") for name, value in whole.items()) + "}"


def one(**changes: Any) -> str:
    return f"statements: [{statement(**changes)}]"


def allowed(text: str, who: Principal = ANNA, action: str = "read", what: Resource = ROBOT_1, **at: float) -> bool:
    return decide(text, who, action, what, **at).allowed


def test_what_nothing_is_said_of_is_denied() -> None:
    told = decide("statements: []", ANNA, "read", ROBOT_1)
    assert (told.allowed, told.statement) == (False, "no statement allows it")
    assert not allowed(one(actions=["leases.*"]))


def test_a_deny_wins_over_any_allow_wherever_it_stands() -> None:
    allow, deny = statement(), statement(effect="deny", actions=["leases.request"])
    for order in (f"statements: [{allow}, {deny}]", f"statements: [{deny}, {allow}]"):
        assert not allowed(order, action="leases.request")
        assert allowed(order, action="leases.release")


def test_the_statement_that_decided_is_named_by_file_line_and_name() -> None:
    text = """
statements:
  - {effect: allow, principals: ["person:ben"], actions: ["*"], resources: ["*"]}
  - name: people read
    effect: allow
    principals: ["person:*"]
    actions: [read]
    resources: ["*"]
  - {effect: deny, principals: ["*"], actions: ["robots.*"], resources: ["*"]}
"""
    assert decide(text, ANNA, "read", ROBOT_1).statement == "lab.yaml:4 (people read)"
    assert decide(text, ANNA, "robots.reset", ROBOT_1).statement == "lab.yaml:9"
    assert decide(text, Principal("ben"), "read", ROBOT_1).statement == "lab.yaml:3"


def test_administrators_may_what_is_not_denied() -> None:
    assert allowed("statements: []", ADMINISTRATOR, "tokens.create")
    assert not allowed(one(effect="deny", actions=["tokens.*"]), ADMINISTRATOR, "tokens.create")


@pytest.mark.parametrize("who", [ANNA, NIGHTLY, ROBOT, ADMINISTRATOR])
def test_an_emergency_stop_is_open_to_every_known_principal(who: Principal) -> None:
    assert allowed(one(effect="deny"), who, "robots.estop", Resource("robot", "robot-1"))


@pytest.mark.parametrize(
    ("pattern", "who", "speaks"),
    [
        ("*", ANNA, True),
        ("person:anna", ANNA, True),
        ("person:ann", ANNA, False),
        ("person:an*", ANNA, True),
        ("ci:*", ANNA, False),
        ("ci:*", NIGHTLY, True),
        ("device:robot-*", ROBOT, True),
        ("*:nightly", NIGHTLY, True),
        ("group:crew", ANNA, True),
        ("group:crew", NIGHTLY, False),
    ],
)
def test_principals_are_named_by_kind_name_or_group(pattern: str, who: Principal, speaks: bool) -> None:
    groups = 'groups: {crew: ["person:anna", "person:ben"]}\n'
    assert allowed(groups + one(principals=[pattern]), who) is speaks


@pytest.mark.parametrize(
    ("pattern", "action", "speaks"),
    [("read", "read", True), ("leases.*", "leases.renew", True), ("leases.*", "leases", False), ("*", "x.y", True)],
)
def test_actions_are_named_with_wildcards(pattern: str, action: str, speaks: bool) -> None:
    assert allowed(one(actions=[pattern]), action=action) is speaks


@pytest.mark.parametrize(
    ("pattern", "speaks"),
    [
        ("*", True),
        ("device:*", True),
        ("device:robot-1", True),
        ("device:robot-*", True),
        ("*:robot-1", True),
        ("device:*-1", True),
        ("device:r*t-*", True),
        ("robot:*", False),
        ("device:robot-1?", False),
        ("device:ROBOT-1", False),
        ("device:robot-1*1", False),
    ],
)
def test_resources_are_named_by_kind_and_name_with_wildcards(pattern: str, speaks: bool) -> None:
    assert allowed(one(resources=[pattern])) is speaks


@pytest.mark.parametrize(
    ("wanted", "labels", "holds"),
    [
        ({"site": "berlin"}, {"site": "berlin", "floor": "2"}, True),
        ({"site": "berlin"}, {"site": "bern"}, False),
        ({"site": "ber*"}, {"site": "bern"}, True),
        ({"site": ["bern", "berlin"]}, {"site": "berlin"}, True),
        ({"site": "berlin", "floor": "2"}, {"site": "berlin"}, False),
        ({"site": "*"}, {}, False),
    ],
)
def test_labels_of_the_resource_are_conditions(wanted: dict[str, Any], labels: dict[str, str], holds: bool) -> None:
    what = Resource("device", "robot-1", labels=labels)
    assert allowed(one(when={"labels": wanted}), what=what) is holds
    assert allowed(f"statements: [{statement()}, {statement(effect='deny', when={'labels': wanted})}]", what=what) is (
        not holds
    )


@pytest.mark.parametrize(("own", "owner", "holds"), [(True, "anna", True), (True, "ben", False), (True, None, False)])
def test_ownership_is_a_condition(own: bool, owner: str | None, holds: bool) -> None:
    assert allowed(one(when={"own": own}), what=Resource("job", "7", owner)) is holds


@pytest.mark.parametrize(
    ("when", "after_noon_h", "holds"),
    [
        ("hours: 08:00-18:00", 0, True),
        ("hours: 08:00-18:00", 5.99, True),
        ("hours: 08:00-18:00", 6, False),  # the end is not in it
        ("hours: 08:00-18:00", -4, True),
        ("hours: 22:00-06:00", 0, False),
        ("hours: 22:00-06:00", 10, True),
        ("hours: 22:00-06:00", 17.99, True),
        ("hours: 22:00-06:00, days: [mon]", 17, True),  # Tuesday at five belongs to Monday's night
        ("hours: 22:00-06:00, days: [tue]", 17, False),
        ("hours: 18:00-24:00", 11.99, True),
        ("hours: 18:00-24:00", 12, False),
        ("days: [mon]", 0, True),
        ("days: [sat, sun]", 0, False),
        ("days: [sat, sun]", 5 * 24, True),
        ("not_before: 2026-03-02T11:00:00Z", 0, True),
        ("not_before: 2026-03-02T11:00:01Z", 0, False),
        ("not_after: 2026-03-02T11:00:00Z", 0, False),
        ("not_after: 2026-03-02T12:00:01+01:00", 0, True),
    ],
)
def test_time_of_day_days_and_dates_are_conditions(when: str, after_noon_h: float, holds: bool) -> None:
    text = one().replace("}]", f", when: {{{when}, zone: Europe/Berlin}}}}]")
    assert allowed(text, now=MONDAY_NOON + after_noon_h * HOUR) is holds


def test_hours_follow_the_zone_over_the_change_to_summer_time() -> None:
    text = one().replace("}]", ", when: {hours: 08:00-18:00, zone: Europe/Berlin}}]")
    for day in (datetime(2026, 3, 28), datetime(2026, 3, 30)):
        at = (day + timedelta(hours=8)).replace(tzinfo=ZoneInfo("Europe/Berlin"))
        assert allowed(text, now=at.timestamp())
        assert not allowed(text, now=at.timestamp() - 1)


def test_all_conditions_of_a_statement_must_hold() -> None:
    text = one().replace("}]", ", when: {labels: {site: berlin}, hours: 08:00-18:00, zone: Europe/Berlin, own: true}}]")
    mine = Resource("device", "robot-1", "anna", {"site": "berlin"})
    assert allowed(text, what=mine)
    assert not allowed(text, what=mine, now=MONDAY_NOON + 8 * HOUR)
    assert not allowed(text, what=ROBOT_1)


def test_no_question_compiles_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = Evaluator(policies(one().replace("}]", ", when: {labels: {site: berlin}, hours: 08:00-18:00}}]")))
    for name in ("PatternIndex", "ZoneInfo"):
        monkeypatch.delattr(f"labctl.auth.evaluation.{name}")
    monkeypatch.delattr("labctl.auth.patterns.matcher")
    assert loaded.decide(ANNA, "read", ROBOT_1, MONDAY_NOON).allowed
    assert loaded.decide_list(ANNA, "read", "device", MONDAY_NOON).allowed


def test_a_list_may_be_asked_for_by_whoever_may_read_some_of_it() -> None:
    evaluator = Evaluator(policies(one(principals=["person:anna"], actions=["read"], resources=["device:robot-*"])))
    assert evaluator.decide_list(ANNA, "read", "device", MONDAY_NOON).allowed
    assert not evaluator.decide_list(ANNA, "read", "job", MONDAY_NOON).allowed
    assert not evaluator.decide_list(ANNA, "leases.renew", "device", MONDAY_NOON).allowed
    assert not evaluator.decide_list(NIGHTLY, "read", "device", MONDAY_NOON).allowed
    assert evaluator.decide_list(ADMINISTRATOR, "read", "job", MONDAY_NOON).allowed
    closed = Evaluator(policies(f"statements: [{statement()}, {statement(effect='deny', resources=['device:*'])}]"))
    assert not closed.decide_list(ADMINISTRATOR, "read", "device", MONDAY_NOON).allowed
    night = Evaluator(policies(one().replace("}]", ", when: {hours: 22:00-06:00}}]")))
    assert not night.decide_list(ANNA, "read", "device", MONDAY_NOON).allowed


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (one(effect="permit"), "lab.yaml:1:15: at statements[0].effect Input should be 'allow' or 'deny'"),
        (one(principals=["anna"]), 'a principal is "*", "person:NAME"'),
        (one(principals=["robot:anna"]), 'a principal is "*", "person:NAME"'),
        (one(principals=[]), "should have at least 1 item"),
        (one(resources=["robot-1"]), 'a resource is "*" or "KIND:NAME"'),
        (one(actions=["Read"]), "should match pattern"),
        (one(principals=["group:crew"]), "there is no group 'crew'; groups are: none"),
        (one(efect="deny"), "unknown key; did you mean 'effect'?"),
        (one(effect="deny", actions=["robots.estop"]), "cannot be denied"),
        (one(when={"hours": "8-18"}), 'hours are "HH:MM-HH:MM"'),
        (one(when={"hours": "08:00-08:00"}), "begin and end at the same minute"),
        (one(when={"zone": "Europe/Berlim"}), "no time zone of that name"),
        (one(when={"days": ["monday"]}), "Input should be 'mon'"),
        (one(when={"not_before": "2026-03-02T11:00:00"}), "should have timezone info"),
        ('groups: {a: ["group:b"]}', "a group has principals as members, not groups"),
        ("statements: 3", "lab.yaml:1:1: at statements"),
        ("", "the document is empty"),
    ],
)
def test_what_is_wrong_with_a_document_is_said_with_its_place(text: str, told: str) -> None:
    with pytest.raises(DocumentError, match=r"lab\.yaml:\d+:\d+: ") as caught:
        policies(text)
    assert told in str(caught.value)


def test_a_folder_of_files_shares_its_groups_and_tells_all_problems(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(one(principals=["group:crew"]), encoding="utf-8")
    (tmp_path / "b.yml").write_text('groups: {crew: ["person:anna"]}', encoding="utf-8")
    (tmp_path / "notes.txt").write_text("no policy", encoding="utf-8")
    found = read_policies([tmp_path])
    assert [each.name for each in found.sources] == [str(tmp_path / "a.yaml"), str(tmp_path / "b.yml")]
    assert Evaluator(found).decide(ANNA, "read", ROBOT_1, 0).statement == f"{tmp_path / 'a.yaml'}:1"
    (tmp_path / "c.json").write_text('{"groups": {"crew": ["ci:*"]}, "x": 1}', encoding="utf-8")
    with pytest.raises(DocumentError) as caught:
        read_policies([tmp_path, tmp_path / "gone.yaml"])
    assert "gone.yaml:1:1: cannot be read" in str(caught.value)


def test_the_version_changes_with_any_text() -> None:
    first, second = policies(one()), policies(one() + " ")
    assert (len(first.version), first.version == second.version) == (16, False)
    assert policies(one()).version == first.version
    assert Policies().version == ""


def test_an_explanation_lists_what_spoke_of_the_question_and_what_just_missed() -> None:
    text = f"statements: [{statement(when={'labels': {'site': 'bern'}})}, {statement(effect='deny')}]"
    told = explain(policies(text), ANNA, "read", ROBOT_1, MONDAY_NOON)
    assert [(each.effect, each.holds) for each in told.considered] == [("allow", False), ("deny", True)]
    assert told.considered[0].conditions == {"labels": {"site": "bern"}}
    missed = explain(policies(one(principals=["ci:*"])), ANNA, "read", ROBOT_1, MONDAY_NOON)
    assert missed.near_misses == ("lab.yaml:1: would allow, but for its principals: ci:*",)


def test_statements_that_change_nothing_are_remarked_on() -> None:
    text = (
        "groups: {nobody: []}\nstatements:\n"
        f"  - {statement()}\n  - {statement(actions=['read'])}\n  - {statement(principals=['group:nobody'])}\n"
        f"  - {statement(effect='deny', actions=['robots.*'])}\n  - {statement(actions=['robots.reset'])}\n"
    )
    assert remarks(policies(text)) == [
        "lab.yaml:4: adds nothing to lab.yaml:3",
        "lab.yaml:5: speaks of nobody, since its groups are empty",
        "lab.yaml:7: adds nothing to lab.yaml:3",
    ]


@pytest.mark.parametrize(
    ("who", "action", "what", "expected"),
    [
        (NIGHTLY, "read", Resource("device", "robot-1"), True),
        (NIGHTLY, "read", Resource("token", "x", "anna"), False),
        (NIGHTLY, "jobs.submit", Resource("job"), True),
        (NIGHTLY, "leases.release", Resource("lease", "7", "nightly"), True),
        (NIGHTLY, "leases.release", Resource("lease", "7", "anna"), False),
        (ANNA, "hosts.exec", Resource("host", "nuc"), False),
        (NIGHTLY, "robots.reset", Resource("robot", "robot-1", "nightly"), False),
        (ROBOT, "jobs.submit", Resource("job"), False),
    ],
)
def test_the_policies_to_start_from(who: Principal, action: str, what: Resource, expected: bool) -> None:
    start = read_policies([Path(__file__).parents[3] / "config" / "policies.yaml"])
    assert Evaluator(start).decide(who, action, what, MONDAY_NOON).allowed is expected


# Against a naive reading of the rules

NAMES = st.sampled_from(["anna", "ben", "robot-1", "robot-2", "a", ""])
PATTERNS = st.sampled_from(["*", "anna", "robot-*", "*-1", "r*b*t*", "ben", "a", "**", "robot-1"])
WHEN = st.builds(
    Conditions,
    labels=st.dictionaries(st.sampled_from(["site", "floor"]), st.sampled_from(["b*", "berlin", "2"]), max_size=2),
    own=st.sampled_from([None, True, False]),
    days=st.lists(st.sampled_from(DAYS), min_size=1, unique=True).map(tuple),
    hours=st.sampled_from([None, "08:00-18:00", "22:00-06:00", "00:00-24:00", "18:00-24:00"]),
    zone=st.sampled_from(["UTC", "America/New_York"]),
)


def several(*kinds: str, least: int) -> st.SearchStrategy[tuple[str, ...]]:
    return st.lists(st.builds("{}:{}".format, st.sampled_from(kinds), PATTERNS), min_size=least, max_size=3).map(tuple)


STATEMENTS = st.builds(
    Statement,
    allow=st.booleans(),
    principals=several("person", "ci", "*", least=0),
    actions=st.lists(st.sampled_from(["*", "read", "leases.*", "leases.renew"]), min_size=1, max_size=2).map(tuple),
    resources=several("device", "*", least=1),
    when=st.one_of(st.just(Conditions()), WHEN),
    where=st.just(""),
)


def glob(pattern: str, text: str) -> bool:
    """By the definition of the wildcard, one character at a time."""
    if not pattern:
        return not text
    if pattern[0] == "*":
        return glob(pattern[1:], text) or (bool(text) and glob(pattern, text[1:]))
    return bool(text) and pattern[0] == text[0] and glob(pattern[1:], text[1:])


def naive(statements: list[Statement], who: Principal, action: str, what: Resource, now: float) -> tuple[bool, int]:
    """By the rules as the documents tell them: the decision, and the number of the statement that made it."""
    speaking = [
        number
        for number, each in enumerate(statements)
        if any(glob(p, f"{who.kind}:{who.name}") for p in each.principals)
        and any(glob(p, action) for p in each.actions)
        and any(glob(p, f"{what.kind}:{what.name}") for p in each.resources)
        and holds(each.when, who, what, now)
    ]
    for number in speaking:
        if not statements[number].allow:
            return False, number
    return (True, speaking[0]) if speaking else (False, -1)


def holds(when: Conditions, who: Principal, what: Resource, now: float) -> bool:
    for label, pattern in when.labels.items():
        if label not in (what.labels or {}) or not glob(str(pattern), (what.labels or {})[label]):
            return False
    if when.own is not None and when.own != (what.owner == who.name):
        return False
    local = datetime.fromtimestamp(now, ZoneInfo(when.zone))
    minute, day = 60 * local.hour + local.minute, local.weekday()
    if when.hours is not None:
        begin, end = (60 * int(text[:2]) + int(text[3:]) for text in when.hours.split("-"))
        if end <= begin and minute < end:
            day = (day - 1) % 7
        elif not begin <= minute < (end if end > begin else 24 * 60):
            return False
    return DAYS[day] in when.days


@given(
    statements=st.lists(STATEMENTS, max_size=12),
    who=st.builds(Principal, name=NAMES, kind=st.sampled_from(["person", "ci"])),
    action=st.sampled_from(["read", "leases.renew", "leases.request"]),
    what=st.builds(
        Resource,
        kind=st.sampled_from(["device", "job"]),
        name=NAMES,
        owner=st.sampled_from([None, "anna", "ben"]),
        labels=st.dictionaries(st.sampled_from(["site", "floor"]), st.sampled_from(["berlin", "2"])),
    ),
    now=st.floats(1.7e9, 1.8e9),
)
def test_the_index_decides_as_the_rules_read(
    statements: list[Statement], who: Principal, action: str, what: Resource, now: float
) -> None:
    numbered = [
        Statement(s.allow, s.principals, s.actions, s.resources, s.when, str(n)) for n, s in enumerate(statements)
    ]
    expected, by = naive(statements, who, action, what, now)
    told = Evaluator(Policies(tuple(numbered))).decide(who, action, what, now)
    assert (told.allowed, told.statement) == (expected, str(by) if by >= 0 else "no statement allows it")


TEXT = st.text(alphabet="ab*:\n.", max_size=8)


@given(pattern=TEXT, text=TEXT)
def test_a_wildcard_stands_for_any_text(pattern: str, text: str) -> None:
    assert matches(pattern, text) is glob(pattern, text)


@given(patterns=st.lists(TEXT, max_size=8), text=TEXT)
def test_an_index_finds_just_the_patterns_that_match(patterns: list[str], text: str) -> None:
    found = PatternIndex((pattern, number) for number, pattern in enumerate(patterns)).find(text)
    assert sorted(found) == [number for number, pattern in enumerate(patterns) if glob(pattern, text)]
