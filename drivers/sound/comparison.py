"""Compares what was sent into a loop with what came back: bit by bit, or by level and delay if it is analogue."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from drivers.sound.types import Capture, DropOut, DropOutKind, Playback, Samples, require_intact

BLOCK_S = 0.005
PROBE_S = 1.0
PROBE_LEVEL = 0.1
# A cable between two sound cards reaches 60 dB; less than this is a wrong input, a loop with echo, or lost samples.
LEAST_SNR_DB = 20.0
MOST_CANDIDATES = 500


@dataclass(frozen=True, slots=True)
class LoopCheck:
    """A self-test of a loop: what was sent came back.

    `gain_db`: level out over level in (0: dBFS in is dBFS out). `delay_s`: from the first sample's leaving to its
    coming back, by the driver's clock. `snr_db`: what came back, level aside, against what differs (inf: bit-identical
    but for gain).
    """

    endpoint: str
    bit_identical: bool
    gain_db: float
    delay_s: float
    snr_db: float
    drop_outs: tuple[DropOut, ...] = ()

    @property
    def intact(self) -> bool:
        return not self.drop_outs

    def require_intact(self) -> None:
        """Raises SoundLoopError when anything was lost, damaged or disturbed."""
        require_intact(f"self-test of the loop of {self.endpoint}", self.drop_outs)


def probe(sample_rate: int, seconds: float = PROBE_S) -> Samples:
    """(N,) pseudo-random noise, always the same, at -20 dBFS peak: no two places of it are alike."""
    noise = np.random.default_rng(20).uniform(-PROBE_LEVEL, PROBE_LEVEL, round(seconds * sample_rate))
    return noise.astype(np.float32)


def damages(sent: Samples, heard: Samples, sample_rate: int) -> tuple[DropOut, ...]:
    """Where `heard`, a recording of a bit-identical loop around the playing of `sent`, departs from it.

    Returns () when all of `sent` is in `heard`, unbroken and bit for bit, in digital silence.
    """
    sounding = np.flatnonzero(sent)
    came = np.flatnonzero(heard)
    if not len(sounding):
        return (
            () if not len(came) else (_damage(DropOutKind.DAMAGED, 0, len(came), sample_rate, "sound out of silence"),)
        )
    if not len(came):
        return (_damage(DropOutKind.SILENT, 0, len(sent), sample_rate, "nothing came back"),)
    offset = int(came[0] - sounding[0])
    if (straight := _straight(sent, heard, offset)) is not None and np.array_equal(straight, sent):
        return ()
    return tuple(_walk(sent, heard, sample_rate))


def _straight(sent: Samples, heard: Samples, offset: int) -> Samples | None:
    """The part of `heard` that should be `sent`, with silence before and behind the recording; None: not all there."""
    last = int(np.flatnonzero(sent)[-1])
    if offset + last >= len(heard):
        return None
    end = min(len(heard), offset + len(sent))
    part = heard[max(0, offset) : end]
    return np.concatenate([np.zeros(max(0, -offset), np.float32), part, np.zeros(len(sent) - end + offset, np.float32)])


def _walk(sent: Samples, heard: Samples, sample_rate: int) -> list[DropOut]:
    """Every place where blocks of `sent` are absent from `heard` or do not follow one another."""
    block = max(16, round(BLOCK_S * sample_rate))
    places = _Places(heard)
    found: list[DropOut] = []
    offset: int | None = None
    missing_from: int | None = None
    for start in range(0, len(sent) - block + 1, block):
        piece = sent[start : start + block]
        if not piece.any():
            continue
        at = None if offset is None else start + offset
        if at is None or not _is_at(piece, heard, at):
            at = places.of(piece)
        if at is None:
            missing_from = start if missing_from is None else missing_from
            continue
        jump = 0 if offset is None else at - start - offset
        if missing_from is not None or jump:
            place = start if missing_from is None else missing_from
            lost = 0 if missing_from is None else start - missing_from
            detail = f"{lost} samples damaged or missing, the rest {jump:+d} samples later"
            found.append(_damage(DropOutKind.DAMAGED, place, max(lost, abs(jump)), sample_rate, detail))
        missing_from = None
        offset = at - start
    if missing_from is not None:
        found.append(
            _damage(
                DropOutKind.DAMAGED, missing_from, len(sent) - missing_from, sample_rate, "the rest did not come back"
            )
        )
    return found or [_damage(DropOutKind.DAMAGED, 0, len(sent), sample_rate, "single samples differ")]


def _is_at(piece: Samples, heard: Samples, at: int) -> bool:
    return at >= 0 and at + len(piece) <= len(heard) and bool(np.array_equal(heard[at : at + len(piece)], piece))


class _Places:
    """Finds where a short piece of sound is in a recording, by the rarest of its values."""

    def __init__(self, heard: Samples) -> None:
        self._heard = heard
        self._order = np.argsort(heard, kind="stable")
        self._sorted = heard[self._order]

    def of(self, piece: Samples) -> int | None:
        """The first place of `piece`, bit for bit; None when it is nowhere, or where all its values are too common."""
        sounding = np.flatnonzero(piece)
        firsts = np.searchsorted(self._sorted, piece[sounding], side="left")
        lasts = np.searchsorted(self._sorted, piece[sounding], side="right")
        rarest = int(np.argmin(lasts - firsts))
        for candidate in self._order[firsts[rarest] : min(lasts[rarest], firsts[rarest] + MOST_CANDIDATES)]:
            place = int(candidate) - int(sounding[rarest])
            if _is_at(piece, self._heard, place):
                return place
        return None


def _damage(kind: DropOutKind, start: int, count: int, sample_rate: int, detail: str) -> DropOut:
    return DropOut(kind, start / sample_rate, count / sample_rate, detail)


@dataclass(frozen=True, slots=True)
class Match:
    """How a signal came back through a loop with gain: its place (samples), gain in dB and signal-to-noise in dB."""

    offset: int
    gain_db: float
    snr_db: float


def match(sent: Samples, heard: Samples) -> Match | None:
    """Where and how loud `sent` is in `heard`; None when it is not there or stands alone in silence.

    The loop may have gain and noise; a loop that drops samples shows as a low signal-to-noise ratio.
    """
    if len(heard) < len(sent) or not heard.any():
        return None
    size = 1 << (len(sent) + len(heard) - 1).bit_length()
    spectrum = np.fft.rfft(heard.astype(np.float64), size) * np.conj(np.fft.rfft(sent.astype(np.float64), size))
    correlation = np.fft.irfft(spectrum, size)[: len(heard) - len(sent) + 1]
    offset = int(np.argmax(np.abs(correlation)))
    part = heard[offset : offset + len(sent)].astype(np.float64)
    reference = sent.astype(np.float64)
    gain = float(part @ reference / (reference @ reference))
    if gain == 0:
        return None
    rest = part - gain * reference
    noise = float(rest @ rest)
    snr = math.inf if noise == 0 else 10 * math.log10(gain * gain * float(reference @ reference) / noise)
    return Match(offset, 20 * math.log10(abs(gain)), snr)


def checked(endpoint: str, sent: Samples, played: Playback, heard: Capture, *, exact: bool) -> LoopCheck:
    """The outcome of a self-test in which `sent` was played and `heard` recorded around it.

    An `exact` loop must be bit-identical; any other must give `sent` back 20 dB above whatever else it gives.
    """
    rate = heard.sample_rate
    drops = [*played.drop_outs, *heard.drop_outs]
    damaged = damages(sent, heard.samples, rate)
    found = match(sent, heard.samples)
    if exact:
        drops += damaged
    elif found is None:
        drops.append(_damage(DropOutKind.SILENT, 0, len(sent), rate, "nothing came back"))
    elif found.snr_db < LEAST_SNR_DB:
        detail = f"what came back is only {found.snr_db:.0f} dB above what differs"
        drops.append(_damage(DropOutKind.DAMAGED, 0, len(sent), rate, detail))
    in_order = tuple(sorted(drops, key=lambda drop: drop.start_s))
    if found is None:
        return LoopCheck(endpoint, False, -math.inf, math.nan, -math.inf, in_order)
    delay = heard.start_time + found.offset / rate - played.start_time
    return LoopCheck(endpoint, not damaged, found.gain_db, delay, found.snr_db, in_order)
