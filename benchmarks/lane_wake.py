"""How long a waiting lane takes to wake: from the other lane's notify to the first thing that it does then.

In one daemon on SQLite and on PostgreSQL (every commit on the disk), and between two daemons on PostgreSQL. The peer is
labgrid's way to wait, which looks again after a second (`labgrid-client reserve --wait`).

    python benchmarks/lane_wake.py [--quick]
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import sqlalchemy as sa
from _postgresql import Cluster

from labctl.config import load_lab
from labctl.daemon import Daemon, run_daemon
from labctl.jobs.expressions import truthy
from labctl.sequencer.meeting import Meetings
from labctl.steps import Cancellation
from labctl.store import Transaction
from labctl.store.signalling import Signal
from labctl.store.tables import jobs, runs

LABGRID_POLL_S = 1.0
DEVICE = "{name}: {{kind: endpoint, simulated: true}}"


@contextmanager
def lab(folder: Path, databases: list[str | None]) -> Iterator[list[Daemon]]:
    """As many daemons as databases, with one device each: device-0, device-1 ..."""
    with ExitStack() as stack:
        found = []
        for number, database in enumerate(databases):
            path = folder / f"lab-{number}.yaml"
            devices = "\n  ".join(DEVICE.format(name=f"device-{number}{each}") for each in "ab")
            path.write_text(f"lab: bench-{number}\nartifacts: memory://b\ndevices:\n  {devices}\n", encoding="utf-8")
            found.append(stack.enter_context(run_daemon(load_lab(path), folder / f"data-{number}", database)))
        yield found


def a_run(daemon: Daemon, devices: list[str]) -> tuple[str, str]:
    """A run that lasts until its job is cancelled; job and run."""
    roles = {f"r{at}": {"device": device} for at, device in enumerate(devices)}
    lanes = {role: {"steps": [{"wait": "end", "timeout": "1h"}]} for role in roles}
    document = {"name": "bench", "roles": roles, "lanes": lanes, "signals": ["end", "ping", "pong"]}
    job = daemon.submissions.submit(json.dumps(document), "job", "bench").job
    seen = 0
    while True:
        with daemon.store.read() as connection:
            run = connection.execute(sa.select(runs.c.id).where(runs.c.job_id == job)).scalar()
        if truthy(run):
            return job, str(run)
        seen = daemon.store.bell.wait(seen, 10)


def wakes(sender: Daemon, waiter: Daemon, run: str, count: int) -> list[float]:
    """Seconds from `notify` being called to the waiter being back, one after the other."""
    waiting = Meetings(waiter.store, waiter.sequencer.news, run)
    saying = Meetings(sender.store, sender.sequencer.news, run)
    woken_at: list[float] = []
    ready = threading.Semaphore(0)

    def wait() -> None:
        for turn in range(count):
            ready.release()
            answer = waiting.wait(f"s{turn}", 60, Cancellation())
            woken_at.append(time.perf_counter())
            assert isinstance(answer, Signal), answer

    thread = threading.Thread(target=wait)
    # Without a lane that could send it, a wait is in vain unless it is said to come from outside.
    names = ["end", *(f"s{turn}" for turn in range(count))]
    sender.store.write(lambda transaction: _allow(transaction, run, names))
    thread.start()
    taken = []
    for turn in range(count):
        ready.acquire()
        time.sleep(0.01)  # so that the waiter has looked, found nothing and sleeps
        began = time.perf_counter()
        saying.notify(f"s{turn}", "bench", turn)
        while len(woken_at) <= turn:
            time.sleep(0.0002)
        taken.append(woken_at[turn] - began)
    thread.join()
    return taken


def _allow(transaction: Transaction, run: str, names: list[str]) -> None:
    job = transaction.execute(sa.select(runs.c.job_id).where(runs.c.id == run)).scalar_one()
    document = transaction.execute(sa.select(jobs.c.document).where(jobs.c.id == job)).scalar_one()
    transaction.execute(sa.update(jobs).where(jobs.c.id == job).values(document={**document, "signals": names}))


def measure(databases: list[str | None], folder: Path, count: int) -> list[float]:
    folder.mkdir()
    with lab(folder, databases) as daemons:
        sender, waiter = daemons[0], daemons[-1]
        devices = ["device-0a", f"device-{len(daemons) - 1}b"]
        job, run = a_run(sender, devices)
        taken = wakes(sender, waiter, run, count)
        sender.cancel(job, "measured")
        return taken


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="40 wakes instead of 400")
    count = 40 if parser.parse_args().quick else 400
    print(f"{count} wakes of a lane that waits for a signal; load average {os.getloadavg()[0]:.1f}.\n")
    print("| where | median, ms | p95, ms | p99, ms | goal, ms | labgrid's mean / our median |")
    print("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        cluster = Cluster(durable=True)
        try:
            rows = [
                ("one daemon, SQLite (synchronous=FULL)", [None], 5),
                ("one daemon, PostgreSQL", [cluster.create()], 5),
                ("two daemons, PostgreSQL", [cluster.create()] * 2, 20),
            ]
            for number, (where, databases, goal) in enumerate(rows):
                taken = np.array(measure(databases, folder / str(number), count)) * 1000
                median, p95, p99 = np.percentile(taken, [50, 95, 99])
                ratio = LABGRID_POLL_S / 2 * 1000 / median
                print(f"| {where} | {median:.2f} | {p95:.2f} | {p99:.2f} | {goal} | {ratio:.0f} |", flush=True)
        finally:
            cluster.remove()
    print("\nlabgrid looks every second, so that a wake takes half a second in the mean.")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
