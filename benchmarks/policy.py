"""A policy decision with 1,000 statements, beside casbin with the same rules, in the same process.

Five shapes of 1,000 statements: as a lab writes them; all about the asker, each naming one device; each naming devices
by their beginning; wildcards at both ends, where no index by beginning helps (casbin's `keyMatch` has none such); and
all of them about every question, told apart by a label only, with the last one deciding. casbin gets the statements as
rows (some allow and no deny), without conditions, which it knows only as expressions of one's own. "first": the first
question of all after the policies were loaded; "loading": what that took.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import logging
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import casbin
from casbin.model import Model

from labctl.auth import Principal, Resource
from labctl.auth.authority import Authority
from labctl.auth.documents import Conditions, Policies, Statement
from labctl.auth.evaluation import Evaluator
from labctl.auth.explaining import explain
from labctl.auth.tokens import Token, presented
from labctl.store import access, open_store

STATEMENTS = 1000
NOW = datetime(2026, 3, 2, 12, tzinfo=UTC).timestamp()
MODEL = """
[request_definition]
r = sub, obj, act
[policy_definition]
p = sub, obj, act, eft
[policy_effect]
e = some(where (p.eft == allow)) && !some(where (p.eft == deny))
[matchers]
m = keyMatch(r.sub, p.sub) && keyMatch(r.obj, p.obj) && keyMatch(r.act, p.act)
"""
ANNA, ACTION = Principal("anna"), "leases.renew"
Rule = tuple[bool, str, str, str]  # allow, principal, action, resource


def lab_like(chance: random.Random) -> list[Rule]:
    """Teams of ten, each with its robots and actions; one statement in ten denies."""
    actions = ["read", "leases.*", "jobs.*", "robots.*", "hosts.exec", "audio.*", "webdriver.open"]
    people = [f"person:p{number}" for number in range(60)] + ["person:anna", "ci:*", "person:*"]
    return [
        (chance.random() > 0.1, chance.choice(people), chance.choice(actions), f"device:robot-{chance.randrange(100)}*")
        for _ in range(STATEMENTS - 1)
    ] + [(True, "person:anna", "leases.*", "device:robot-*")]


def exact(_chance: random.Random) -> list[Rule]:
    return [(number % 10 > 0, "person:anna", "leases.*", f"device:robot-{number}") for number in range(STATEMENTS)]


def beginnings(_chance: random.Random) -> list[Rule]:
    return [(number % 10 > 0, "person:anna", "leases.*", f"device:robot-{number}-*") for number in range(STATEMENTS)]


def both_ends(_chance: random.Random) -> list[Rule]:
    return [(number % 10 > 0, "person:anna", "leases.*", f"*:*robot-{number}-*") for number in range(STATEMENTS)]


def compiled(rules: list[Rule], when: Callable[[int], Conditions] = lambda _number: Conditions()) -> Policies:
    return Policies(
        tuple(
            Statement(allow, (who,), (act,), (what,), when(number), f"lab.yaml:{number}")
            for number, (allow, who, act, what) in enumerate(rules)
        )
    )


def by_day(_number: int) -> Conditions:
    return Conditions(labels={"site": "ber*"}, hours="08:00-18:00")


def by_label(number: int) -> Conditions:
    return Conditions(labels={"rack": f"r{number}"}, hours="08:00-18:00")


def peer(rules: list[Rule]) -> casbin.Enforcer:
    model = Model()
    model.load_model_from_text(MODEL)
    enforcer = casbin.Enforcer(model)
    enforcer.add_policies([(who, what, act, "allow" if allow else "deny") for allow, who, act, what in rules])
    return enforcer


def ask(decider: Evaluator, who: Principal, what: Resource) -> bool:
    return decider.decide(who, ACTION, what, NOW).allowed


def microseconds(question: Callable[..., object], arguments: Iterable[tuple[object, ...]]) -> list[float]:
    taken = []
    for each in arguments:
        began = time.perf_counter_ns()
        question(*each)
        taken.append((time.perf_counter_ns() - began) / 1000)
    return sorted(taken)


def row(name: str, taken: list[float], ours: float | None = None) -> None:
    median, high = statistics.median(taken), taken[min(len(taken) - 1, int(0.99 * len(taken)))]
    ratio = "" if ours is None else f"{median / ours:,.0f} x ours"
    print(f"| {name} | {median:,.1f} | {high:,.1f} | {ratio} |", flush=True)


def measure(name: str, rules: list[Rule], names: list[str], *, beside_casbin: bool) -> None:
    policies = compiled(rules)
    ours, conditional = Evaluator(policies), Evaluator(compiled(rules, by_day))
    resources = [Resource("device", each, labels={"site": "berlin"}) for each in names]
    again = microseconds(ask, ((ours, ANNA, each) for each in resources))
    row(f"{name}: next", again)
    row(f"{name}: next, labels and hours in each", microseconds(ask, ((conditional, ANNA, each) for each in resources)))
    beginning(name, policies, resources[0])
    if beside_casbin:
        other = peer(rules)
        for each in resources[:50]:
            if other.enforce(str(ANNA), str(each), ACTION) is not ask(ours, ANNA, each):
                raise SystemExit(f"casbin decides otherwise about {each}")
        few = ((str(ANNA), str(each), ACTION) for each in resources[: max(20, len(resources) // 50)])
        row(f"{name}: casbin {version('casbin')}", microseconds(other.enforce, few), statistics.median(again))


def measure_labels(count: int) -> None:
    policies = compiled([(True, "*", "*", "*")] * STATEMENTS, by_label)
    ours = Evaluator(policies)
    last = Resource("device", "robot-1", labels={"rack": f"r{STATEMENTS - 1}"})
    if not ask(ours, ANNA, last):
        raise SystemExit("the last statement does not allow")
    row("told apart by a label: next", microseconds(ask, [(ours, ANNA, last)] * count))
    beginning("told apart by a label", policies, last)


def beginning(name: str, policies: Policies, what: Resource) -> None:
    fresh = [Evaluator(policies) for _ in range(20)]
    row(f"{name}: first", microseconds(ask, ((each, ANNA, what) for each in fresh)))
    row(f"{name}: loading", microseconds(Evaluator, [(policies,)] * 20))


def identification(count: int) -> list[float]:
    """From the header of a request to its principal, among 200 tokens: what an emergency stop waits for as well."""
    with tempfile.TemporaryDirectory() as folder, contextlib.closing(open_store(Path(folder))) as store:
        tokens = [Token.new() for _ in range(200)]
        for token in tokens:
            about = {"token": token.id, "hashed": token.hash(), "principal": "anna", "kind": "person", "note": ""}
            store.write(functools.partial(access.issue, administrator=True, duration_s=None, by="x", **about))
        with contextlib.closing(Authority(store)) as authority:
            headers = [(b"host", b"lab"), (b"authorization", f"Bearer {tokens[7].text}".encode())]
            return microseconds(lambda: authority.identify(presented(headers)), [()] * count)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tenth of the repetitions")
    count = 500 if parser.parse_args().quick else 5000
    logging.disable(logging.CRITICAL)  # casbin logs every decision
    print(
        f"{STATEMENTS} statements, {count} questions; load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores\n"
    )
    print("| statements | median, µs | p99, µs | |\n|---|---:|---:|---:|")
    shapes = (("as a lab writes them", lab_like), ("one name each", exact), ("beginnings", beginnings))
    for name, make in (*shapes, ("open at both ends", both_ends)):
        chance = random.Random(7)
        rules = make(chance)
        end = "" if make is exact else "-a"
        names = [f"robot-{chance.randrange(2 * STATEMENTS)}{end}" for _ in range(count)]
        measure(name, rules, names, beside_casbin=make is not both_ends)
    measure_labels(count)
    policies = compiled(lab_like(random.Random(7)))
    began = time.perf_counter()
    explain(policies, ANNA, ACTION, Resource("device", "robot-1"), NOW)
    row("who asks, among 200 tokens", identification(count))
    print(f"\nAn explanation takes {1000 * (time.perf_counter() - began):.1f} ms. To reach: at most 100 µs a decision.")


if __name__ == "__main__":
    main()
