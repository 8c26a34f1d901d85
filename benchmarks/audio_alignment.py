"""Measures alignment on speech whose true lag is known, beside one global cross-correlation.

Run: python benchmarks/audio_alignment.py [--quick] [--rate 16000|48000]. An utterance is within 5 ms when the median
error of its lag, over the instants that were not cut out, is; "frames off" is the share of instants off by more.
"""

from __future__ import annotations

import argparse
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile
from _audio_codecs import code
from _time_warps import Warped, delay, drift, jitter_buffer, jumps, lose_packets, mute, pauses, stretch
from scipy.signal import correlate, resample_poly

sys.path.insert(0, str(Path(__file__).parents[1]))

from audio.align import align

VOICES = Path(__file__).parents[1] / "audio" / "reference"
RECORDED = Path(__file__).parents[2] / "shared" / "data" / "speech"


def main() -> None:
    """Print a table of conditions for all talkers."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--quick", action="store_true", help="one talker")
    arguments.add_argument("--rate", type=int, default=16000)
    options = arguments.parse_args()
    talkers = list(load(options.rate))
    if options.quick:
        talkers = talkers[:1]
    rows: dict[str, list[tuple[np.ndarray, np.ndarray, float, float, float, bool]]] = {}
    for index, talker in enumerate(talkers):
        for name, warped in conditions(talker, options.rate, np.random.default_rng(index)):
            rows.setdefault(name, []).append(measure(talker, warped, options.rate))
    print(f"{len(talkers)} talkers at {options.rate} Hz\n")
    print(
        "| condition | utterances | within 1 / 5 / 20 ms | global within 5 ms | frames off | coverage | CPU s per s |"
    )
    print("|---|---|---|---|---|---|---|")
    for name, results in rows.items():
        errors = np.concatenate([result[0] for result in results])
        plain = np.concatenate([result[1] for result in results])
        shares = " / ".join(f"{np.mean(errors <= limit):.2f}" for limit in (1, 5, 20))
        off, coverage, cpu = (np.mean([result[i] for result in results]) for i in (2, 3, 4))
        figures = f"{np.mean(plain <= 5):.2f} | {off:.3f} | {coverage:.3f} | {cpu:.4f}"
        print(f"| {name} | {len(errors)} | {shares} | {figures} |")
    print_drift(talkers, options.rate)
    print_strangers(talkers, options.rate)


def load(rate: int) -> Iterator[np.ndarray]:
    """Yield the reference voices and the recorded talkers at `rate`, each at an RMS of 0.1."""
    files = [[path] for path in sorted(VOICES.glob("*male_*.flac"))]
    if RECORDED.exists():
        for name in ("aew", "axb"):
            files.append(sorted(RECORDED.glob(f"cmu_arctic_us_{name}_*.wav")))
    else:
        print(f"{RECORDED} is not there: only the reference voices are measured")
    for group in files:
        parts = []
        for path in group:
            samples, own = soundfile.read(path)
            parts += [resample_poly(samples, rate, own), np.zeros(round(0.3 * rate))]
        talker = np.concatenate(parts)
        yield 0.1 * talker / np.sqrt(np.mean(talker**2))


def conditions(x: np.ndarray, rate: int, rng: np.random.Generator) -> Iterator[tuple[str, Warped]]:
    """Yield each condition by name."""

    def noisy(warped: Warped, snr_db: float) -> Warped:
        noise = rng.normal(size=len(warped.samples)) * 0.1 * 10 ** (-snr_db / 20)
        return Warped(warped.samples + noise, rate, warped.track)

    end = len(x) / rate
    middles = [(a + b) / 2 for a, b in pauses(x, rate) if 0.3 < (a + b) / 2 < end - 0.3]
    in_pauses = list(zip(middles, (0.06, -0.04, 0.2, -0.1, 0.02, -0.06), strict=False))
    words = [end * share for share in (0.12, 0.31, 0.52, 0.71)]
    buffer = jitter_buffer(x, rate, [(0, 0.2), (end * 0.3, 0.0), (end * 0.6, 0.12)])
    yield "delay 237.31 ms", delay(x, rate, 0.23731, 1.0)
    yield "delay 10 s, -40 dB", Warped(0.01 * delay(x, rate, 10.0, 1.0).samples, rate, delay(x, rate, 10.0).track)
    yield "starts 1 s late", delay(x, rate, -1.0, 1.0)
    yield "noise 0 dB", noisy(delay(x, rate, 0.5, 1.0), 0)
    late = delay(x, rate, 0.5)
    yield "clipped at 0.02", Warped(np.clip(late.samples, -0.02, 0.02), rate, late.track)
    yield "drift 300 ppm", drift(x, rate, 300)
    yield "jumps in pauses", jumps(x, rate, in_pauses)
    yield "jumps in pauses, noise 5 dB", noisy(jumps(x, rate, in_pauses), 5)
    yield "jumps in words +60", jumps(x, rate, [(words[0], 0.06), (words[2], 0.06)], "repeat")
    yield "jumps in words -60", jumps(x, rate, [(words[0], -0.06), (words[2], -0.06)])
    yield "jumps in words +200 -20 -200", jumps(x, rate, [(words[0], 0.2), (words[1], -0.02), (words[3], -0.2)])
    yield "jumps +1 s -1 s", jumps(x, rate, [(words[0], 1.0), (words[2], -1.0)])
    yield "stretched 30 %, compressed 30 %", stretch(x, rate, [(1, 2, 1.3), (3, 4, 0.7)])
    yield "jitter buffer", buffer
    yield "jitter buffer, noise 5 dB", noisy(buffer, 5)
    yield "drift and jumps", drift(x, rate, 200).then(jumps, in_pauses[:2])
    yield "mute 2 s", mute(x, rate, [(2, 4)])
    yield "zero-fill loss 20 %", lose_packets(x, rate, 0.2, rng)
    yield "concealed loss 10 %", lose_packets(x, rate, 0.1, rng, conceal=True)


def measure(
    reference: np.ndarray, warped: Warped, rate: int
) -> tuple[np.ndarray, np.ndarray, float, float, float, bool]:
    """Return errors per utterance in ms (ours, the global one), frames off, coverage, CPU s per s, found at all."""
    start = time.process_time()
    found = align(reference, warped.samples, rate)
    cpu = (time.process_time() - start) / (len(reference) / rate)
    product = correlate(warped.samples, reference, mode="full", method="fft")
    plain = (int(np.argmax(product)) - len(reference) + 1) / rate
    ours, theirs, off = [], [], []
    for utterance in found.utterances:
        times = np.arange(utterance.start_s + 0.02, utterance.end_s - 0.02, 0.005)
        truth = warped.lag(times)
        times, truth = times[np.isfinite(truth)], truth[np.isfinite(truth)]
        if len(times):
            error = 1000 * np.abs(np.nan_to_num(found.lag(times), nan=1e9) - truth)
            ours.append(np.median(error))
            theirs.append(1000 * np.median(np.abs(plain - truth)))
            off.append(np.mean(error > 5))
    return np.array(ours), np.array(theirs), float(np.mean(off)), found.coverage, cpu, bool(np.isfinite(found.delay_ms))


def print_drift(talkers: list[np.ndarray], rate: int) -> None:
    """Print how far off the drift is over 60 s of speech, also after noise, a codec and delay that jumps in pauses."""
    speech = np.concatenate(talkers)[: 60 * rate]
    middles = [(start + end) / 2 for start, end in pauses(speech, rate) if 1 < start < len(speech) / rate - 2]
    places = list(zip(middles[3::6], (0.06, -0.04, 0.02, -0.06), strict=False))
    rng = np.random.default_rng(5)

    def noisy(x: np.ndarray) -> np.ndarray:
        return x + rng.normal(size=len(x)) * 0.1 * 10 ** (-20 / 20)

    def coded(x: np.ndarray) -> np.ndarray:
        return code(x, rate, "libopus", 48000, bit_rate=16000, application="voip", frame_duration="20")

    print(f"\nDrift found over {len(speech) / rate:.0f} s of speech, ppm off\n")
    print("| drift, ppm | clean | noise 20 dB | Opus 16 kbit/s | jumps in pauses |\n|---|---|---|---|---|")
    worst = 0.0
    for ppm in (-300, -100, -20, 20, 100, 300):
        sounds = [change(drift(speech, rate, ppm).samples) for change in (np.asarray, noisy, coded)]
        sounds.append(drift(speech, rate, ppm).then(jumps, places).samples)
        off = [align(speech, sound, rate).drift_ppm - ppm for sound in sounds]
        worst = max(worst, *map(abs, off))
        print(f"| {ppm:+d} | {' | '.join(f'{each:+.2f}' for each in off)} |")
    print(f"\nAt most {worst:.2f} ppm off.")


def print_strangers(talkers: list[np.ndarray], rate: int) -> None:
    """Print how often something is found where there is nothing: other speech, noise, silence."""
    rng = np.random.default_rng(0)
    tries, false, worst = 0, 0, 0.0
    for index, talker in enumerate(talkers):
        others = [other for number, other in enumerate(talkers) if number != index]
        for degraded in [*others, np.zeros(5 * rate), rng.normal(size=8 * rate) * 0.1]:
            found = align(talker, degraded, rate)
            tries += 1
            false += bool(np.isfinite(found.delay_ms))
            worst = max(worst, found.coverage)
    print(f"\nOther speech, noise, silence: {false} false alignments in {tries}; highest coverage {worst:.3f}")


if __name__ == "__main__":
    main()
