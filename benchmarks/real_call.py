"""Scores real WebRTC calls between two Chromium on this machine, beside PESQ wide-band: `real_call.py [--quick]`.

Each voice is spoken after 15 s of another talker's speech, in a call of its own. A recording that this machine
disturbed (its sound dropped out, a browser did not get to run) is thrown away and taken again. "PESQ, aligned" is PESQ
on the recording after our own alignment: PESQ itself cannot follow a jitter buffer. Lost packets are repaired in part
by Opus' in-band correction, unless that is switched off.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from _call import RATE, Call, Heard, Line, call
from pesq import PesqError, pesq
from scipy.signal import resample_poly

import audio
from audio.reference import load
from drivers.sound import PulseServer, Samples

VOICES = ("female_1", "female_2", "male_1", "male_2")
SETTLE_S = 15.0
TRIES = 6
LINES = {
    "Opus 6 kbit/s": Line(bit_rate=6000),
    "5 % loss": Line(loss_ratio=0.05),
    "20 % loss": Line(loss_ratio=0.2),
    "20 % loss, uncorrected": Line(loss_ratio=0.2, correction=False),
}


@dataclass(frozen=True)
class Row:
    """One recording and what is said of it. `tries`: how many were taken.

    `wide_band`: PESQ, `aligned`: PESQ after our alignment; None where it refuses.
    """

    condition: str
    voice: str
    mos: float
    wide_band: float | None
    aligned: float | None
    delay_ms: float | None
    concealed_ratio: float
    stretched_ms: float
    tries: int


def voice(name: str) -> Samples:
    return load(name).samples.astype(np.float32)


def settling(name: str) -> Samples:
    return np.tile(voice(VOICES[VOICES.index(name) - 1]), 2)[: round(SETTLE_S * RATE)]


def heard(standing: Call, name: str, *, settle: bool) -> tuple[Heard, int]:
    for attempt in range(1, TRIES + 1):
        result = standing.say(voice(name), settling(name) if settle and attempt == 1 else None)
        if not result.faults:
            return result, attempt
    raise SystemExit(f"errored: the machine disturbed {TRIES} recordings in a row: {result.faults}")


def peer(reference: Samples, recording: Samples) -> float | None:
    if not np.any(recording):
        return None
    narrow = [resample_poly(sound.astype(float), 1, 3) for sound in (reference, recording)]
    try:
        return float(pesq(16_000, *narrow, "wb"))
    except PesqError:
        return None


def row(condition: str, name: str, result: Heard, tries: int, reference: Samples | None = None) -> Row:
    against = result.reference if reference is None else reference
    score = audio.score(against, result.recording, RATE)
    seen = result.statistics
    stretched = (seen["insertedSamplesForDeceleration"] + seen["removedSamplesForAcceleration"]) / RATE * 1000
    concealed = seen["concealedSamples"] / seen["totalSamplesReceived"]
    wide_band = peer(against, result.recording)
    aligned = peer(against, score.alignment.warp(result.recording.astype(float)))
    return Row(condition, name, score.mos, wide_band, aligned, score.delay_ms, concealed, stretched, tries)


def calls(server: PulseServer, voices: tuple[str, ...], clean: int, lines: dict[str, Line]) -> Iterator[Row]:
    for turn in range(clean):
        name = voices[turn % len(voices)]
        with call(server) as standing:
            result, tries = heard(standing, name, settle=True)
            yield row("clean", name, result, tries)
            if turn < len(voices):
                other = VOICES[(VOICES.index(name) + 2) % 4]
                yield row(f"scored as {other}", name, result, tries, voice(other))
                standing.mute()
                muted, tries = heard(standing, name, settle=False)
                yield row("muted", name, muted, tries)
    for label, line in lines.items():
        for name in voices:
            with call(server, line) as standing:
                yield row(label, name, *heard(standing, name, settle=True))


def number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one voice, clean and at 6 kbit/s")
    quick = parser.parse_args().quick
    lines = {"Opus 6 kbit/s": LINES["Opus 6 kbit/s"]} if quick else LINES
    print("| call | voice | MOS | PESQ-WB | PESQ, aligned | delay ms | concealed % | stretched ms | recordings taken |")
    print("|---|---|---|---|---|---|---|---|---|")
    rows = []
    with PulseServer.start() as server:
        for each in calls(server, VOICES[:1] if quick else VOICES, 1 if quick else 10, lines):
            rows.append(each)
            cells = (
                each.condition,
                each.voice,
                number(each.mos, 2),
                number(each.wide_band, 2),
                number(each.aligned, 2),
                number(each.delay_ms, 0),
                number(100 * each.concealed_ratio, 1),
                number(each.stretched_ms, 0),
                str(each.tries),
            )
            print(f"| {' | '.join(cells)} |", flush=True)
    clean = [each.mos for each in rows if each.condition == "clean"]
    print(f"\n{len(clean)} clean calls: median {statistics.median(clean):.2f}, least {min(clean):.2f}.", end=" ")
    squeezed = [each.mos for each in rows if each.condition == "Opus 6 kbit/s"]
    print(f"6 kbit/s lies {statistics.mean(clean) - statistics.mean(squeezed):.2f} lower on average.")


if __name__ == "__main__":
    main()
