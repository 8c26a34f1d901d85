"""Runs and their lanes in the database: the start, every step, and the one end. Each function is part of a transaction.

A run begins in the transaction that grants its lease, and ends in the one in which its last lane ends, with its lease.
Each lane is ended once: by the daemon that carries it out, or by another one when that is gone.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from labctl.errors import InvalidInputError, NotFoundError
from labctl.jobs import expressions
from labctl.jobs.syntax import ExpressionError
from labctl.store import health, leasing, submitting
from labctl.store.identifiers import new_id
from labctl.store.leasing import Grant
from labctl.store.tables import devices, jobs, lanes, leases, runs, steps
from labctl.store.transaction import Transaction

# An errored run of a job with `on_lab_failure: requeue` is followed by another, up to so many in all; and so is one
# that was lost before its first step, whatever the job says.
MOST_RUNS = 3
_WORST_FIRST = ("errored", "cancelled", "failed", "passed")


@dataclass(frozen=True, slots=True)
class Claim:
    """A run of which this daemon carries out some lanes. `since_s`: how long ago it began."""

    run: str
    attempt: int
    document: dict[str, Any]
    combination: dict[str, Any]
    grant: Grant
    lanes: tuple[str, ...]
    since_s: float
    before: dict[str, Before]


@dataclass(frozen=True, slots=True)
class Before:
    """What a lane did before this daemon was restarted: rows of its steps, and how long it has waited in the next."""

    steps: tuple[sa.Row[Any], ...] = ()
    waited_s: float = 0.0


def start_run(transaction: Transaction, grant: Grant) -> str:
    """The run of a job whose lease is being granted, with its lanes, each for the daemon of its device."""
    row = transaction.execute(sa.select(jobs).where(jobs.c.id == grant.job)).one()
    run = new_id()
    attempts = transaction.execute(sa.select(sa.func.count()).where(runs.c.job_id == row.id)).scalar_one()
    transaction.execute(
        sa.insert(runs).values(
            id=run,
            job_id=row.id,
            lease_id=grant.lease,
            attempt=attempts + 1,
            state="running",
            reason="",
            cancel_asked=False,
            started_at=transaction.now,
        )
    )
    owners = sa.select(devices.c.name, devices.c.daemon).where(devices.c.name.in_(grant.devices))
    daemons = {each.name: each.daemon for each in transaction.execute(owners)}
    rows = []
    for name, lane in row.document["lanes"].items():
        role = lane.get("role") or name
        device = grant.roles[role]
        total = len(lane["steps"]) + len(lane.get("always", ()))
        # A room is nobody's: whoever decides carries out its lane.
        rows.append({"name": name, "role": role, "device": device, "daemon": daemons[device] or transaction.daemon})
        rows[-1] |= {"run_id": run, "state": "ready", "done": 0, "total": total, "reason": ""}
    transaction.execute(sa.insert(lanes), rows)
    submitting.begin(transaction, row.id)
    transaction.emit("run.started", job=row.id, run=run, lease=grant.lease, roles=grant.roles, attempt=attempts + 1)
    return run


def claim_lanes(transaction: Transaction) -> list[Claim]:
    """Take up the lanes that are ready for this daemon."""
    mine = sa.and_(lanes.c.daemon == transaction.daemon, lanes.c.state == "ready")
    found: dict[str, list[str]] = {}
    for row in transaction.execute(sa.select(lanes.c.run_id, lanes.c.name).where(mine).order_by(lanes.c.run_id)):
        found.setdefault(row.run_id, []).append(row.name)
    if not found:
        return []
    started = sa.func.coalesce(lanes.c.started_at, transaction.now)
    transaction.execute(sa.update(lanes).where(mine).values(state="running", started_at=started))
    claims = []
    for run_id, names in found.items():
        run = transaction.execute(sa.select(runs).where(runs.c.id == run_id)).one()
        job = transaction.execute(sa.select(jobs).where(jobs.c.id == run.job_id)).one()
        lease = transaction.execute(sa.select(leases).where(leases.c.id == run.lease_id)).one()
        grant = leasing.as_grant(transaction, lease)
        since_s = transaction.now - run.started_at
        before = {name: _before(transaction, run_id, name) for name in names}
        combination = job.combination or {}
        claims.append(Claim(run_id, run.attempt, job.document, combination, grant, tuple(names), since_s, before))
    return claims


def begin_step(transaction: Transaction, run: str, lane: str, number: int, row: dict[str, Any]) -> None:
    """Note that a step begins, or is tried again. `row`: `step_id`, `title`, `what`, `attempt`."""
    values = {**row, "verdict": "running", "reason": "", "outputs": {}}
    if not transaction.execute(sa.update(steps).where(_step(run, lane, number)).values(**values)).rowcount:
        key = {"run_id": run, "lane": lane, "number": number, "started_at": transaction.now}
        transaction.execute(sa.insert(steps).values(**key, **values))
    transaction.execute(sa.update(lanes).where(_lane(run, lane)).values(step=row["title"]))


def end_step(transaction: Transaction, run: str, lane: str, number: int, row: dict[str, Any]) -> None:
    """Note how a try of a step ended: `verdict`, `reason`, `outputs`."""
    ended = {**row, "finished_at": transaction.now}
    transaction.execute(sa.update(steps).where(_step(run, lane, number)).values(**ended))
    transaction.execute(sa.update(lanes).where(_lane(run, lane)).values(step=None, done=number + 1))


def skip_step(transaction: Transaction, run: str, lane: str, number: int, row: dict[str, Any]) -> None:
    """Note that a step is left out. `row`: `step_id`, `title`, `what`, `reason`."""
    key = {"run_id": run, "lane": lane, "number": number, "attempt": 0, "verdict": "skipped", "outputs": {}}
    times = {"started_at": transaction.now, "finished_at": transaction.now}
    transaction.execute(sa.insert(steps).values(**key, **times, **row))
    transaction.execute(sa.update(lanes).where(_lane(run, lane)).values(done=number + 1))


def end_lane_steps(transaction: Transaction, run: str, lane: str, verdict: str, reason: str) -> None:
    """The steps of a lane are over; what is left is its teardown. Whoever waits for it hears of that now."""
    going = sa.and_(_lane(run, lane), lanes.c.state == "running", lanes.c.daemon == transaction.daemon)
    ending = {"state": "ending", "verdict": verdict, "reason": reason}
    if transaction.execute(sa.update(lanes).where(going).values(**ending)).rowcount:
        job = _run(transaction, run).job_id
        transaction.emit("lane.ending", job=job, run=run, lane=lane, verdict=verdict, reason=reason)


def finish_lane(transaction: Transaction, run: str, lane: str, verdict: str, reason: str) -> Grant | None:
    """End a lane of this daemon; with the last one its run ends. Returns the lease that ended with it."""
    own = sa.and_(_lane(run, lane), lanes.c.daemon == transaction.daemon)
    return _finish_lane(transaction, (run, lane), own, verdict, reason)


def recover(transaction: Transaction, why: str) -> list[Grant]:
    """After a start: end the lanes that an earlier process of this daemon was at.

    Those not begun can still begin; and where all that it was at only waited for others, they go on waiting.
    """
    for run in waiting_runs(transaction, transaction.daemon):
        mine = sa.and_(lanes.c.run_id == run, lanes.c.daemon == transaction.daemon, lanes.c.state == "running")
        transaction.execute(sa.update(lanes).where(mine).values(state="ready"))
    return lose_daemon(transaction, transaction.daemon, why, states=("running", "ending"))


def waiting_runs(transaction: Transaction, daemon: str) -> set[str]:
    """The runs that need nothing of a daemon's process: all their lanes there stand in a `wait` or at a barrier or have
    not begun, and their leases last.
    """
    own = sa.and_(lanes.c.daemon == daemon, lanes.c.state.in_(("ready", "running", "ending")))
    here = sa.and_(steps.c.run_id == lanes.c.run_id, steps.c.lane == lanes.c.name, steps.c.verdict == "running")
    joined = lanes.join(runs, runs.c.id == lanes.c.run_id).join(leases, leases.c.id == runs.c.lease_id)
    lasts = sa.and_(leases.c.state == "active", leases.c.expires_at > transaction.now)
    found = sa.select(lanes.c.run_id, lanes.c.state, steps.c.what, lasts.label("lasts"))
    waits: dict[str, bool] = {}
    for row in transaction.execute(found.select_from(joined.outerjoin(steps, here)).where(own)):
        meets = row.state == "running" and str(row.what).startswith(("wait ", "barrier "))
        waits[row.run_id] = waits.get(row.run_id, True) and row.lasts and (meets or row.state == "ready")
    return {run for run, so in waits.items() if so}


def held_by_people(transaction: Transaction) -> list[Grant]:
    """Active leases that are no job's, with what is left of their durations."""
    leasing.expire(transaction)
    held = sa.select(leases).where(leases.c.state == "active", leases.c.job_id.is_(None))
    rows = transaction.execute(held).all()
    return [leasing.as_grant(transaction, row, row.expires_at - transaction.now) for row in rows]


def lose_daemon(
    transaction: Transaction,
    daemon: str,
    why: str,
    *,
    states: tuple[str, ...] = ("ready", "running", "ending"),
    spared: Collection[str] = (),
) -> list[Grant]:
    """End the lanes of a daemon that is gone, but for those of the runs `spared`; lanes of others in the same runs tear
    down. Returns leases that ended.
    """
    left = sa.select(lanes.c.run_id, lanes.c.name).where(lanes.c.daemon == daemon, lanes.c.state.in_(states))
    left = left.where(lanes.c.run_id.not_in(spared))
    ended: list[Grant] = []
    for open_lane in transaction.execute(left.order_by(lanes.c.run_id, lanes.c.name)).all():
        run, lane = open_lane.run_id, open_lane.name
        grant = _finish_lane(transaction, (run, lane), _lane(run, lane), "errored", why)
        if grant is not None:
            ended.append(grant)
        else:
            break_off(transaction, run, why)
    return ended


def break_off(transaction: Transaction, run: str, why: str) -> None:
    """Lanes that are left of a run tear down, for one that was lost."""
    if (row := _run(transaction, run)).state == "running":
        submitting.ask_to_end(transaction, row.job_id, why, "errored")


def lost_daemons(connection: sa.Connection, gone: set[str]) -> set[str]:
    """Those of the daemons `gone` that left lanes open."""
    open_lanes = sa.select(lanes.c.daemon).where(lanes.c.daemon.in_(gone), lanes.c.state != "finished").distinct()
    return set(connection.execute(open_lanes).scalars())


def _finish_lane(
    transaction: Transaction, place: tuple[str, str], which: sa.ColumnElement[bool], verdict: str, reason: str
) -> Grant | None:
    run, lane = place
    ended = {"state": "finished", "verdict": verdict, "reason": reason, "step": None, "finished_at": transaction.now}
    open_lane = sa.and_(which, lanes.c.state != "finished")
    if not transaction.execute(sa.update(lanes).where(open_lane).values(**ended)).rowcount:
        return None
    health.lane_over(transaction, run, lane, verdict, reason)
    broken_off = {"verdict": verdict, "reason": reason, "finished_at": transaction.now}
    left = sa.and_(steps.c.run_id == run, steps.c.lane == lane, steps.c.verdict == "running")
    transaction.execute(sa.update(steps).where(left).values(**broken_off))
    row = _run(transaction, run)
    transaction.emit("lane.finished", job=row.job_id, run=run, lane=lane, verdict=verdict, reason=reason)
    own = transaction.execute(sa.select(lanes).where(lanes.c.run_id == run).order_by(lanes.c.name)).all()
    if any(each.state != "finished" for each in own):
        return None
    worst = min((each.verdict for each in own), key=_WORST_FIRST.index)
    told = dict.fromkeys(each.reason for each in own if each.verdict == worst and each.reason)
    # Who waited in vain for a lane tells that one's reason: the reason itself is enough.
    causes = [each for each in told if not any(other in each for other in told if other != each)]
    return _finish_run(transaction, row, worst, "; ".join(causes))


def _finish_run(transaction: Transaction, row: sa.Row[Any], verdict: str, reason: str) -> Grant | None:
    job = transaction.execute(sa.select(jobs).where(jobs.c.id == row.job_id)).one()
    ended = {"state": "finished", "verdict": verdict, "reason": reason, "finished_at": transaction.now}
    outputs = _outputs(transaction, row, job)
    open_run = sa.and_(runs.c.id == row.id, runs.c.state == "running")
    if not transaction.execute(sa.update(runs).where(open_run).values(outputs=outputs, **ended)).rowcount:
        return None
    transaction.emit("run.finished", job=job.id, run=row.id, verdict=verdict, reason=reason)
    lease = transaction.execute(sa.select(leases.c.state).where(leases.c.id == row.lease_id)).scalar_one()
    grant = leasing.end(transaction, row.lease_id, "released", "its run ended") if lease == "active" else None
    untouched = transaction.execute(sa.select(steps.c.number).where(steps.c.run_id == row.id).limit(1)).first() is None
    again = untouched or job.document.get("on_lab_failure") == "requeue"
    if verdict == "errored" and again and row.cancel_verdict != "cancelled" and row.attempt < MOST_RUNS:
        try:
            submitting.requeue(transaction, job.id, reason)
        except (NotFoundError, InvalidInputError) as exc:  # the lab is another one by now
            submitting.finish(transaction, job.id, verdict, f"{reason}; not queued again: {exc}")
    else:
        submitting.finish(transaction, job.id, verdict, reason)
    return grant


def _outputs(transaction: Transaction, run: sa.Row[Any], job: sa.Row[Any]) -> dict[str, Any]:
    """What the job shows of a run; null where the step that it comes from did not get there."""
    wanted = job.document.get("outputs") or {}
    if not wanted:
        return {}
    known: dict[str, Any] = {name: {"steps": {}} for name in job.document["lanes"]}
    named = sa.select(steps).where(steps.c.run_id == run.id, steps.c.step_id.is_not(None))
    for each in transaction.execute(named):
        shown = {"outputs": each.outputs or None, "verdict": each.verdict, "reason": each.reason}
        known[each.lane]["steps"][each.step_id] = shown
    held = transaction.execute(sa.select(lanes.c.role, lanes.c.device).where(lanes.c.run_id == run.id))
    scope = {
        "vars": job.document.get("vars", {}),
        "matrix": job.combination or {},
        "lanes": known,
        "roles": {each.role: each.device for each in held},
        "run": {"id": run.id, "attempt": run.attempt, "job": job.id},
    }
    return {name: _output(value, scope) for name, value in wanted.items()}


def _output(value: Any, scope: dict[str, Any]) -> Any:
    try:
        return expressions.fill(value, scope)
    except ExpressionError:
        return None


def _before(transaction: Transaction, run: str, lane: str) -> Before:
    done = sa.select(steps).where(steps.c.run_id == run, steps.c.lane == lane).order_by(steps.c.number)
    rows = transaction.execute(done).all()
    if not rows or rows[-1].verdict != "running":
        return Before()
    return Before(tuple(rows[:-1]), max(0.001, transaction.now - rows[-1].started_at))


def _run(transaction: Transaction, run: str) -> sa.Row[Any]:
    return transaction.execute(sa.select(runs).where(runs.c.id == run)).one()


def _lane(run: str, lane: str) -> sa.ColumnElement[bool]:
    return sa.and_(lanes.c.run_id == run, lanes.c.name == lane)


def _step(run: str, lane: str, number: int) -> sa.ColumnElement[bool]:
    return sa.and_(steps.c.run_id == run, steps.c.lane == lane, steps.c.number == number)
