"""Decoding one scan's data lines, check characters included: ours, plain numpy, and hokuyolx, in one run.

    python benchmarks/scip_decode.py [--quick]

Each decoder is given the same blocks of 1081 three-character values (a UTM-30LX's scan) as on the wire. The decoders
take turns, round by round, and the best round of each counts, so that other load on the machine does not favour one.
"""

from __future__ import annotations

import argparse
import os
import time
import warnings
from collections.abc import Callable

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from numpy.typing import NDArray

from drivers.scip import decode_ranges, encode_ranges

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from hokuyolx import HokuyoLX

STEPS = 1081
C_LIBRARY_PER_S = 63_000  # the goal: what a decoder in C reached elsewhere; not measured in this run

Decoder = Callable[[bytes], NDArray[np.uint32]]


def with_hokuyolx() -> Decoder:
    """hokuyolx's own conversion, without connecting: its lines are split and decoded to text as its receiver does."""
    laser = object.__new__(HokuyoLX)

    def decode(block: bytes) -> NDArray[np.uint32]:
        values: NDArray[np.uint32] = laser._process_scan_data(block[:-1].decode("ascii").split("\n"), False)
        return values

    return decode


def with_plain_numpy(block: bytes) -> NDArray[np.uint32]:
    """The straightforward way: a check a line, the characters joined, three columns shifted together."""
    lines = block.split(b"\n")[:-1]
    for line in lines:
        if (sum(line[:-1]) & 0x3F) + 0x30 != line[-1]:
            raise ValueError("wrong check character")
    digits = np.frombuffer(b"".join(line[:-1] for line in lines), np.uint8).astype(np.uint32).reshape(-1, 3) - 0x30
    return digits[:, 0] << 12 | digits[:, 1] << 6 | digits[:, 2]


def best_seconds(decode: Decoder, blocks: list[bytes], calls: int) -> float:
    """Seconds a call in one round."""
    started = time.perf_counter()
    for number in range(calls):
        decode(blocks[number % len(blocks)])
    return (time.perf_counter() - started) / calls


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer rounds, rougher figures")
    rounds = 3 if parser.parse_args().quick else 15
    rng = np.random.default_rng(20)
    scans = [rng.integers(23, 30_000, STEPS).astype(np.uint32) for _ in range(50)]
    blocks = [encode_ranges(scan, 3) for scan in scans]
    contenders: dict[str, tuple[Decoder, int]] = {
        "decode_ranges": (lambda block: decode_ranges(block, 3), 4000),
        "plain numpy": (with_plain_numpy, 1000),
        "hokuyolx 0.9.0": (with_hokuyolx(), 20),
    }
    for name, (decode, _) in contenders.items():
        for scan, block in zip(scans, blocks, strict=True):
            if not np.array_equal(decode(block), scan):
                raise SystemExit(f"{name} decodes something else than was encoded")
    best = dict.fromkeys(contenders, float("inf"))
    for _ in range(rounds):
        for name, (decode, calls) in contenders.items():
            best[name] = min(best[name], best_seconds(decode, blocks, calls))
    ours = best["decode_ranges"]
    print(f"One scan of {STEPS} three-character values, checks included; best of {rounds} rounds\n")
    print("| decoder | µs a scan | scans/s | decode_ranges is faster by |")
    print("|---|---:|---:|---:|")
    for name, seconds in best.items():
        print(f"| {name} | {seconds * 1e6:.1f} | {1 / seconds:,.0f} | {seconds / ours:.1f} x |")
    print(
        f"\nGoals: at least 80 x hokuyolx (here {best['hokuyolx 0.9.0'] / ours:.0f} x); aim at the C library's "
        f"{C_LIBRARY_PER_S:,} scans/s (here {1 / ours:,.0f})."
    )


if __name__ == "__main__":
    main()
