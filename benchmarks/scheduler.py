"""A scheduling pass over many queued jobs and 1,000 devices: the decision alone, and written to SQLite; the curve.

Jobs want one to three devices, by name or by kind, site and model, of five lengths; one in ten is urgent. Also what one
release costs with the whole queue waiting, and how long it takes to say when the last of them likely starts.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
import time
from pathlib import Path

import sqlalchemy as sa

from labctl.matching import Candidate, Requirement
from labctl.scheduler import Board, Request, Rules, decide, expected_start, look_ahead
from labctl.store import Transaction, asking, granting, open_store
from labctl.store.asking import Wish
from labctl.store.tables import devices

KINDS = ("robot", "phone", "audio", "host", "browser")
DEVICES = 1000
SEED = 20


def fleet(count: int) -> list[Candidate]:
    labels = ({"site": f"site-{number % 7}"} for number in range(count))
    return [
        Candidate(f"d{number:04}", KINDS[number % 5], each, model=f"m{number % 11}")
        for number, each in enumerate(labels)
    ]


def wanted(chance: random.Random) -> list[Requirement]:
    names = chance.sample(range(DEVICES), 3)
    require = []
    for name in names[: chance.choice((1, 1, 1, 2, 3))]:
        if chance.random() < 0.3:
            require.append(Requirement(device=f"d{name:04}"))
        else:
            labels = {"site": f"site-{chance.randrange(7)}"} if chance.random() < 0.5 else {}
            require.append(Requirement(kind=chance.choice(KINDS), labels=labels))
    return require


def queue(count: int) -> list[Request]:
    chance, made = random.Random(SEED), []
    for number in range(count):
        limit_s = chance.choice((60.0, 300.0, 600.0, 1800.0, 3600.0))
        urgent = 30 if chance.random() < 0.1 else 0
        require = tuple(wanted(chance))
        made.append(Request(f"{number:06}", f"o{number % 40}", require, 60, limit_s, limit_s, urgent, float(number)))
    return made


def decision(count: int) -> tuple[int, float, float, float]:
    """Granted; seconds for the whole queue, for one release afterwards, and for a forecast of the last in line."""
    board = Board()
    for device in fleet(DEVICES):
        board.put_device(device)
    for request in queue(count):
        board.add_request(request)
    began = time.perf_counter()
    placed = decide(board, 1e6, Rules())
    decided = time.perf_counter()
    last = max(board.requests.values(), key=lambda each: each.rank)
    looked = time.perf_counter()
    expected_start(look_ahead(board, last, 1e6))
    forecast = time.perf_counter() - looked
    board.release(placed[0].request.id)
    released = time.perf_counter()
    decide(board, 1e6 + 1, Rules())
    return len(placed), decided - began, time.perf_counter() - released, forecast


def written(count: int) -> float:
    """Seconds of the transaction that grants what can be granted, on SQLite, durable."""
    with tempfile.TemporaryDirectory(prefix="labctl-bench-") as folder:
        store = open_store(Path(folder))

        def fill(transaction: Transaction) -> None:
            common = {
                "state": "good",
                "state_reason": "",
                "state_since": 0,
                "capabilities": [],
                "facts": {},
                "revision": 1,
            }
            rows = [
                {"name": each.name, "kind": each.kind, "labels": each.labels, "model": each.model, **common}
                for each in fleet(DEVICES)
            ]
            transaction.execute(sa.insert(devices), rows)
            for each in queue(count):
                wish = Wish(priority=each.priority, limit_s=each.limit_s, expected_s=each.expected_s)
                asking.request(transaction, each.owner, each.require, each.duration_s, wish=wish)

        store.write(fill)
        began = time.perf_counter()
        store.write(granting.schedule)
        took = time.perf_counter() - began
        store.close()
    return took


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one try of each instead of the best of five")
    tries = 1 if parser.parse_args().quick else 5
    print(f"load average: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores; {DEVICES} devices; best of {tries}\n")
    print(
        "| queued jobs | granted | decided in s | decided and written in s | us a job | one release ms | forecast ms |"
    )
    print("|---|---|---|---|---|---|---|")
    for count in (1_250, 2_500, 5_000, 10_000, 20_000):
        runs = [decision(count) for _ in range(tries)]
        granted = runs[0][0]
        decided, release, forecast = (min(run[column] for run in runs) for column in (1, 2, 3))
        whole = min(written(count) for _ in range(min(tries, 2)))
        print(
            f"| {count} | {granted} | {decided:.3f} | {whole:.3f} | {decided / count * 1e6:.1f} | {release * 1e3:.1f} "
            f"| {forecast * 1e3:.0f} |",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
