"""Measures our perceptual score on the ladder beside PESQ, ViSQOL and STOI: agreement, order, blind spots, cost."""

from __future__ import annotations

import os

for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

import argparse
import hashlib
import math
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from itertools import groupby, pairwise
from multiprocessing import get_context
from pathlib import Path
from resource import RUSAGE_SELF, getrusage

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parents[1])]

import numpy as np
from _audio_codecs import resample
from _audio_ladder import Condition, Talker, conditions, talkers

from audio.align import Alignment, align
from audio.mos import perceptual

FALLING = ("opus", "amr", "loss", "white", "pink", "clipping", "low-pass", "aac", "mp3")
OPUS_SLACK = 0.03
MOVED = {f"opus plc, jitter buffer, loss {share}": f"loss, opus plc {share}" for share in (0.05, 0.1, 0.2)}


@dataclass(frozen=True)
class Peers:
    """What the peers say (NaN where they weren't asked) and PESQ's CPU seconds per second of audio."""

    pesq: float
    visqol: float
    stoi: float
    pesq_cpu: float


@dataclass(frozen=True)
class Row:
    """One talker under one condition: our score and what the peers say."""

    talker: Talker = field(repr=False)
    number: int  # of the condition on the ladder
    quick: bool
    ours: float
    coverage: float
    reasons: tuple[str, ...]
    peers: Peers
    ours_cpu: float

    @property
    def condition(self) -> Condition:
        return _ladder(self.quick)[self.number]

    @property
    def name(self) -> str:
        return self.condition.name

    @property
    def pesq(self) -> float:
        return self.peers.pesq

    @property
    def visqol(self) -> float:
        return self.peers.visqol

    @property
    def stoi(self) -> float:
        return self.peers.stoi


@cache
def _ladder(quick: bool) -> list[Condition]:
    return conditions(quick)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="four talkers, a third of the ladder, no ViSQOL")
    parser.add_argument("--rate", type=int, choices=(16000, 48000), help="one half of it")
    parser.add_argument("--jobs", type=int, default=1, help="talkers at once; CPU figures suffer from more than one")
    parser.add_argument("--cache", type=Path, help="keep degraded speech and the peers' answers in this folder")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    for rate in [arguments.rate] if arguments.rate else [16000, 48000]:
        chosen = list(talkers(rate))
        chosen = chosen[:3] + chosen[-1:] if arguments.quick else chosen
        asked = () if arguments.quick else (0,)  # ViSQOL takes longer than all the rest
        tasks = [(talker, arguments.quick, number in asked, arguments.cache) for number, talker in enumerate(chosen)]
        with get_context("spawn").Pool(arguments.jobs, maxtasksperchild=1) as pool:
            rows = [row for part in pool.imap(_measure, tasks, chunksize=1) for row in part]
        print(f"\n## Ladder at {rate // 1000} kHz, means over {len(chosen)} talkers\n")
        _print_ladder(rows)
        if rate == 16000:
            _print_agreement(rows)
        _print_order(rows)
        _print_blind_spots(rows, chosen)
        _print_cost(rows)
    if arguments.rate != 16000:
        _print_memory()


def _measure(task: tuple[Talker, bool, bool, Path | None]) -> list[Row]:
    talker, quick, asks_visqol, folder = task
    warnings.filterwarnings("ignore")
    visqol = _visqol() if asks_visqol else None
    rows = []
    for number, condition in enumerate(conditions(quick)):
        x, rate = talker.samples, talker.sample_rate
        y, peers = _degraded(talker, condition, visqol, folder)
        begin = time.process_time()
        alignment = align(x, y, rate)
        score = perceptual(x, y, rate, alignment)
        seconds = (time.process_time() - begin) / (len(x) / rate)
        reasons = tuple(reason.text for reason in score.reasons)
        rows.append(Row(talker, number, quick, score.mos, alignment.coverage, reasons, peers, seconds))
    return rows


def _degraded(
    talker: Talker,
    condition: Condition,
    visqol: Callable[[np.ndarray, np.ndarray, int], float] | None,
    folder: Path | None,
) -> tuple[np.ndarray, Peers]:
    """Return the degraded speech and what the peers say of it, from the cache where it has them."""
    x, rate = talker.samples, talker.sample_rate
    path = None
    if folder is not None:
        key = hashlib.sha256(x.tobytes() + f"{rate} {condition.name} {visqol is not None}".encode())
        for name in ("_audio_ladder.py", "_audio_codecs.py", "_time_warps.py"):
            key.update((Path(__file__).parent / name).read_bytes())
        path = folder / f"{key.hexdigest()[:32]}.npz"
        if path.exists():
            with np.load(path) as stored:
                return stored["y"], Peers(*(float(value) for value in stored["peers"]))
    y = condition.degrade(x, rate)
    peers = _ask_peers(x, y, rate, visqol)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, y=y, peers=np.array([peers.pesq, peers.visqol, peers.stoi, peers.pesq_cpu]))
    return y, peers


def _ask_peers(
    x: np.ndarray, y: np.ndarray, rate: int, visqol: Callable[[np.ndarray, np.ndarray, int], float] | None
) -> Peers:
    from pesq import PesqError, pesq  # noqa: PLC0415  (a peer, installed for benchmarks only)
    from pystoi import stoi  # noqa: PLC0415

    wide, wide_y = resample(x, rate, 16000), resample(y, rate, 16000)
    before = time.process_time()
    value = pesq(16000, wide, wide_y, "wb", on_error=PesqError.RETURN_VALUES)
    after = time.process_time()
    length = min(len(x), len(y))
    return Peers(
        float(value) if value > 0 else math.nan,
        visqol(x, y, rate) if visqol else math.nan,
        float(stoi(x[:length], y[:length], rate)),
        (after - before) / (len(x) / rate),
    )


def _visqol() -> Callable[[np.ndarray, np.ndarray, int], float] | None:
    try:
        from visqol import VisqolApi  # noqa: PLC0415
    except ImportError:
        print("ViSQOL is not installed: its column is empty (pip install 'visqol-python[lattice]')")
        return None
    judge = VisqolApi()
    judge.create(mode="speech")

    def ask(x: np.ndarray, y: np.ndarray, rate: int) -> float:
        if not np.any(y):
            return math.nan
        return float(judge.measure_from_arrays(resample(x, rate, 16000), resample(y, rate, 16000), 16000).moslqo)

    return ask


def _print_ladder(rows: list[Row]) -> None:
    print(
        "| condition | ours | least .. most | PESQ-WB | ViSQOL | STOI | usual reason |\n|---|---|---|---|---|---|---|"
    )
    order = list(dict.fromkeys(row.condition.name for row in rows))
    for name in order:
        some = [row for row in rows if row.condition.name == name]
        ours = [row.ours for row in some]
        texts = [text for row in some for text in row.reasons]
        kinds = [text.split(":")[0].split(" ")[0] for text in texts]
        usual = next((text for text in texts if text.startswith(max(set(kinds), key=kinds.count))), "")
        print(
            f"| {name}{' (held out)' if some[0].condition.held_out else ''} | {np.mean(ours):.2f} | {min(ours):.2f} .. "
            f"{max(ours):.2f} | {_mean(some, 'pesq')} | {_mean(some, 'visqol')} | {_mean(some, 'stoi')} | {usual} |"
        )


def _mean(rows: list[Row], name: str) -> str:
    values = [getattr(row, name) for row in rows if math.isfinite(getattr(row, name))]
    return f"{np.mean(values):.2f}" if values else "-"


def _print_agreement(rows: list[Row]) -> None:
    valid = [row for row in rows if row.condition.pesq and math.isfinite(row.pesq)]
    print("\n### Agreement with PESQ-WB where it is valid (codecs, noise, loss, clipping, constant delay)\n")
    print("| set | pairs | Pearson | RMSE | STOI's Pearson |\n|---|---|---|---|---|")
    groups: list[tuple[str, list[Row]]] = [
        ("all", valid),
        ("training talkers, training conditions", _some(valid, talker=False, condition=False)),
        ("held-out talkers, training conditions", _some(valid, talker=True, condition=False)),
        ("training talkers, held-out conditions", _some(valid, talker=False, condition=True)),
        ("held-out talkers, held-out conditions", _some(valid, talker=True, condition=True)),
    ]
    for name in dict.fromkeys(row.talker.name for row in valid):
        of_talker = [row for row in valid if row.talker.name == name]
        groups.append((f"{name}{' (held out)' if of_talker[0].talker.held_out else ''}", of_talker))
    for title, some in groups:
        if len(some) > 2:
            ours, theirs = np.array([row.ours for row in some]), np.array([row.pesq for row in some])
            rmse = np.sqrt(np.mean((ours - theirs) ** 2))
            other = np.corrcoef([row.stoi for row in some], theirs)[0, 1]
            pearson = np.corrcoef(ours, theirs)[0, 1]
            print(f"| {title} | {len(some)} | {pearson:.3f} | {rmse:.3f} | {other:.3f} |")


def _some(rows: list[Row], *, talker: bool, condition: bool) -> list[Row]:
    return [row for row in rows if row.talker.held_out is talker and row.condition.held_out is condition]


def _print_order(rows: list[Row]) -> None:
    steps, wrong = 0, []
    for (talker, family), group in groupby(rows, key=lambda row: (row.talker.name, row.condition.family)):
        if not family.startswith(FALLING):
            continue
        for milder, worse in pairwise(group):
            steps += 1
            slack = OPUS_SLACK if family.startswith("opus") and worse.condition.severity >= 24 else 0.0
            if worse.ours > milder.ours + slack:
                wrong.append(f"{talker}, {worse.condition.name}: {milder.ours:.3f} -> {worse.ours:.3f}")
    print(
        f"\nFalling with severity in {steps - len(wrong)} of {steps} steps." + "".join(f"\n- {each}" for each in wrong)
    )


def _print_blind_spots(rows: list[Row], chosen: list[Talker]) -> None:
    best = {talker.name: _identity(talker) for talker in chosen}
    print("\n| where peers fail | wanted | worst talker | PESQ-WB there |\n|---|---|---|---|")

    def worst_cost(start: str) -> tuple[float, float]:
        return max((best[r.talker.name] - r.ours, r.pesq) for r in rows if r.condition.name.startswith(start))

    for start, limit in (("jump in pause", 0.3), ("jump in word", 0.8), ("drift", 0.3), ("jitter buffer", 0.3)):
        cost, peer = worst_cost(start)
        print(f"| {start} | costs <= {limit} | {cost:.2f} | {peer:.2f} |")
    moved = {row.talker.name + row.name.rpartition(" ")[2]: row.ours for row in rows if row.name in MOVED}
    steady = {row.talker.name + row.name.rpartition(" ")[2]: row.ours for row in rows if row.name in MOVED.values()}
    apart = [abs(steady[key] - value) for key, value in moved.items() if key in steady]
    if apart:
        print(f"| concealed loss with a jitter buffer against without | differs <= 0.3 | {max(apart):.2f} | |")
    for name in ("mute s 2", "loss, zeros 0.2", "loss, opus plc 0.2", "white noise dB 0", "silence 1"):
        some = [(row.ours, row.pesq) for row in rows if row.condition.name == name]
        if some:
            wanted = "1.0 .. 1.3" if name == "silence 1" else "< 2.5"
            print(f"| {name} | {wanted} | {max(some)[0]:.2f} | {max(some)[1]:.2f} |")
    least = min(
        (best[row.talker.name] - row.ours for row in rows if row.condition.name == "gain dB -40"), default=math.nan
    )
    print(f"| gain -40 dB | costs >= 0.5 | {least:.2f} | |")
    others = []
    # Half a list away: neighbours may be one synthesiser with the same words and timing, which is not other speech.
    half = len(chosen) // 2
    for talker, other in zip(chosen, chosen[half:] + chosen[:half], strict=True):
        score = perceptual(talker.samples, other.samples, talker.sample_rate, _align_pair(talker, other))
        others.append((score.mos, [reason.text for reason in score.reasons]))
    highest = max(others)
    named = sum(any(text.startswith("other speech") for text in texts) for _, texts in others)
    print(f"| other speech | 1.0 .. 1.3 | {highest[0]:.2f} ({named} of {len(others)} named) | |")


def _align_pair(talker: Talker, other: Talker) -> Alignment:
    """Return the alignment of one talker's speech with another's."""
    return align(talker.samples, other.samples, talker.sample_rate)


def _identity(talker: Talker) -> float:
    x, rate = talker.samples, talker.sample_rate
    return perceptual(x, x, rate, align(x, x, rate)).mos


def _print_cost(rows: list[Row]) -> None:
    for steady in (True, False):
        some = [row for row in rows if row.condition.steady is steady]
        ours, theirs = np.mean([row.ours_cpu for row in some]), np.mean([row.peers.pesq_cpu for row in some])
        kind = "constant" if steady else "moving"
        print(
            f"\nCPU per second of audio at {kind} delay, alignment and score: {ours:.4f} s; PESQ {theirs:.4f} s "
            f"(on 16 kHz); ratio {ours / theirs:.2f}."
        )


def _print_memory() -> None:
    context = get_context("spawn")
    with context.Pool(1) as pool:
        seconds, gibibytes, mos = pool.apply(score_ten_minutes)
    print(
        f"\nTen minutes at 48 kHz: {gibibytes:.2f} GiB at most, {seconds / 600:.4f} s of CPU per second, MOS {mos:.2f}."
    )


def score_ten_minutes() -> tuple[float, float, float]:
    """Return CPU seconds, the process's peak memory in GiB and the score of ten minutes with 60 ms of delay."""
    talker = next(_four_voices())
    x = np.resize(talker, 600 * 48000)
    y = np.concatenate([np.zeros(2880), x])
    begin = time.process_time()
    score = perceptual(x, y, 48000, align(x, y, 48000))
    return time.process_time() - begin, getrusage(RUSAGE_SELF).ru_maxrss / 2**20, score.mos


def _four_voices() -> Iterator[np.ndarray]:
    voices = [talker.samples for talker in talkers(48000)][:4]
    # Joined with pauses of different lengths, so that the whole does not repeat itself evenly.
    pauses = [np.zeros(round(48000 * (0.5 + 0.37 * number))) for number in range(len(voices))]
    yield np.concatenate([part for pair in zip(voices, pauses, strict=True) for part in pair])


if __name__ == "__main__":
    main()
