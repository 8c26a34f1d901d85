"""Finds, before a job is accepted, meetings of lanes that can never happen: who waits for whom, on paper.

The lanes are played through with everything going well: every `notify` that might be skipped is sent, every `wait` that
might be skipped is skipped. Whoever is stuck even so is stuck in every run, and that is refused. A wait that hangs on a
`notify` under an `if` may be meant, and is a warning.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from labctl.jobs.model import Job, Part

Location = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Meeting:
    """A step where lanes meet. `conditional`: it has an `if`. `count`: of a barrier, if the job says it."""

    lane: str
    kind: Literal["notify", "wait", "barrier"]
    signal: str
    at: Location
    conditional: bool
    count: int | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """Something wrong, or doubtful. `others`: places that the message names as {0}, {1} ..., by their lines."""

    at: Location
    message: str
    others: tuple[Location, ...] = ()


def meetings(job: Job) -> dict[str, list[Meeting]]:
    """The meetings of each lane in order."""
    return {name: [m for place in lane.parts() if (m := _meeting(name, *place))] for name, lane in job.lanes.items()}


def check(lanes: Mapping[str, Sequence[Meeting]], outside: Collection[str]) -> tuple[list[Finding], list[Finding]]:
    """What makes the job impossible, and what is doubtful. `outside`: signals that other programs send."""
    errors = [*_unanswered(lanes, outside), *_barriers(lanes)]
    if not errors:
        errors += _stuck(lanes, outside)
    return errors, [] if errors else list(_doubtful(lanes, outside))


def barrier_count(lanes: Mapping[str, Sequence[Meeting]], name: str) -> int:
    """How many lanes have to arrive at a barrier."""
    own = [each for each in _all(lanes) if each.kind == "barrier" and each.signal == name]
    return next((each.count for each in own if each.count is not None), len({each.lane for each in own}))


def _meeting(lane: str, part: Part, index: int, step: object) -> Meeting | None:
    for kind in ("notify", "wait", "barrier"):
        signal = getattr(step, kind)
        if signal is not None:
            conditional = getattr(step, "condition", None) not in (None, "success()", "always()")
            at = ("lanes", lane, part, index, kind)
            return Meeting(lane, kind, signal, at, conditional, getattr(step, "count", None))
    return None


def _all(lanes: Mapping[str, Sequence[Meeting]]) -> Iterator[Meeting]:
    for own in lanes.values():
        yield from own


def _unanswered(lanes: Mapping[str, Sequence[Meeting]], outside: Collection[str]) -> Iterator[Finding]:
    sent = {each.signal for each in _all(lanes) if each.kind == "notify"} | set(outside)
    for each in _all(lanes):
        if each.kind == "wait" and each.signal not in sent:
            close = difflib.get_close_matches(each.signal, sent, n=1, cutoff=0.6)
            hint = f"did you mean {close[0]!r}?" if close else "let a lane notify it, or name it under signals"
            yield Finding(each.at, f"nobody notifies {each.signal!r}; {hint}")


def _barriers(lanes: Mapping[str, Sequence[Meeting]]) -> Iterator[Finding]:
    named: dict[str, list[Meeting]] = {}
    for each in _all(lanes):
        if each.kind == "barrier":
            named.setdefault(each.signal, []).append(each)
    for name, own in named.items():
        first: dict[str, Meeting] = {}
        for each in own:
            if each.lane in first:
                message = (
                    f"the lane {each.lane} was at the barrier {name!r} before, in {{0}}; give this one another name"
                )
                yield Finding(each.at, message, (first[each.lane].at,))
            first.setdefault(each.lane, each)
        counts = {each.count for each in own if each.count is not None}
        if len(counts) > 1:
            places = tuple(each.at for each in own if each.count is not None)
            yield Finding(own[0].at, f"the barrier {name!r} is given different counts ({_listed(len(places))})", places)
        elif (count := max(counts, default=2)) > len(first):
            close = difflib.get_close_matches(name, named.keys() - {name}, n=1, cutoff=0.6)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            who = f"{', '.join(first)} alone {'comes' if len(first) == 1 else 'come'}"
            yield Finding(own[0].at, f"the barrier {name!r} needs {count} lanes, and {who}{hint}")


def _stuck(lanes: Mapping[str, Sequence[Meeting]], outside: Collection[str]) -> list[Finding]:
    """The cycles among lanes that cannot go on although all goes well."""
    stuck = _play(lanes, outside)
    found: list[Finding] = []
    explained: set[str] = set()
    for lane in stuck:
        chain: list[str] = []
        here = lane
        while here in stuck and here not in chain and here not in explained:
            chain.append(here)
            here = _blocker(lanes, stuck, stuck[here]).lane
        explained.update(chain)
        if here in chain:
            found.append(_cycle(lanes, stuck, chain[chain.index(here) :]))
    return found


def _play(lanes: Mapping[str, Sequence[Meeting]], outside: Collection[str]) -> dict[str, Meeting]:
    """Let every lane go as far as it can; where those that are stuck stand."""
    sent = set(outside)
    arrived: dict[str, set[str]] = {}
    at = dict.fromkeys(lanes, 0)

    def passes(meeting: Meeting) -> bool:
        match meeting.kind:
            case "notify":
                sent.add(meeting.signal)
                return True
            case "wait":
                return meeting.conditional or meeting.signal in sent
            case "barrier":
                arrived.setdefault(meeting.signal, set()).add(meeting.lane)
                full = len(arrived[meeting.signal]) >= barrier_count(lanes, meeting.signal)
                return full or meeting.conditional

    moved = True
    while moved:
        moved = False
        for lane, own in lanes.items():
            while at[lane] < len(own) and passes(own[at[lane]]):
                at[lane] += 1
                moved = True
    return {lane: own[at[lane]] for lane, own in lanes.items() if at[lane] < len(own)}


def _blocker(lanes: Mapping[str, Sequence[Meeting]], stuck: Mapping[str, Meeting], waiting: Meeting) -> Meeting:
    """A meeting, of a lane that is stuck before it, that `waiting` cannot do without."""
    wanted = "notify" if waiting.kind == "wait" else "barrier"
    for lane, standing in stuck.items():
        own = lanes[lane]
        for each in own[own.index(standing) :]:
            if each.kind == wanted and each.signal == waiting.signal and each is not waiting:
                return each
    return waiting


def _cycle(lanes: Mapping[str, Sequence[Meeting]], stuck: Mapping[str, Meeting], chain: list[str]) -> Finding:
    told: list[str] = []
    places: list[Location] = []
    for lane in chain:
        waiting = stuck[lane]
        answer = _blocker(lanes, stuck, waiting)
        verb = "notifies it" if waiting.kind == "wait" else "comes there"
        doing = "waits for" if waiting.kind == "wait" else "stands at the barrier"
        told.append(f"{lane} {doing} {waiting.signal!r} ({{{len(places)}}}) before {answer.lane} {verb}")
        told[-1] += f" ({{{len(places) + 1}}})"
        places += [waiting.at, answer.at]
    return Finding(stuck[chain[0]].at, "lanes wait for each other for ever: " + "; ".join(told), tuple(places))


def _doubtful(lanes: Mapping[str, Sequence[Meeting]], outside: Collection[str]) -> Iterator[Finding]:
    for each in _all(lanes):
        senders = [other for other in _all(lanes) if other.kind == "notify" and other.signal == each.signal]
        if each.kind != "wait" or each.signal in outside or not all(sender.conditional for sender in senders):
            continue
        places = tuple(sender.at for sender in senders)
        yield Finding(each.at, f"{each.signal!r} is notified only under an if ({_listed(len(places))})", places)


def _listed(count: int) -> str:
    return ", ".join(f"{{{index}}}" for index in range(count))
