"""Changes of speech in time whose true lag is known: delays, jumps, drift, stretching, pauses cut and inserted.

Every function takes a mono signal (N,) and its rate and gives a `Warped`: the changed signal and, for each millisecond
of the original, where that instant went. `Warped.then` chains them, so a drifting call with a jump in a word is
`drift(...).then(jumps, [...])`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.interpolate import CubicSpline
from scipy.signal import resample_poly

TRACK_STEP_S = 0.001


@dataclass(frozen=True)
class Warped:
    """A signal changed in time, and its true lag (K,) in seconds each millisecond of the original; NaN: cut out."""

    samples: np.ndarray
    sample_rate: int
    track: np.ndarray = field(repr=False)

    def lag(self, times_s: np.ndarray) -> np.ndarray:
        """Return the true lag in seconds at times (K,) of the original; NaN where it was cut out or replaced."""
        index = np.clip(np.round(np.asarray(times_s) / TRACK_STEP_S).astype(int), 0, len(self.track) - 1)
        return self.track[index]

    def then(self, change: Callable[..., Warped], *arguments: object, **options: object) -> Warped:
        """Apply a further change to the changed signal; the tracks add up."""
        further = change(self.samples, self.sample_rate, *arguments, **options)
        times = np.arange(len(self.track)) * TRACK_STEP_S
        landed = times + self.track
        total = np.full(len(times), np.nan)
        known = np.isfinite(landed) & (landed >= 0) & (landed < len(self.samples) / self.sample_rate)
        total[known] = self.track[known] + further.lag(landed[known])
        return Warped(further.samples, self.sample_rate, total)


def unchanged(signal: np.ndarray, sample_rate: int) -> Warped:
    """Return the signal itself, lag zero."""
    return Warped(signal, sample_rate, np.zeros(_track_length(signal, sample_rate)))


def delay(signal: np.ndarray, sample_rate: int, seconds: float, tail_s: float = 0.0) -> Warped:
    """Delay by any fraction of a sample; below zero the recording starts late and the beginning is lost."""
    track = np.full(_track_length(signal, sample_rate), float(seconds))
    whole = int(np.floor(seconds * sample_rate + 1e-9))
    fraction = seconds * sample_rate - whole
    if fraction > 1e-6:
        signal = _read(signal, np.arange(len(signal) + 1) - fraction)
    if whole < 0:
        signal = signal[-whole:]
        track[: int(np.ceil(-seconds / TRACK_STEP_S))] = np.nan
    head = np.zeros(max(whole, 0))
    return Warped(np.concatenate([head, signal, np.zeros(round(tail_s * sample_rate))]), sample_rate, track)


def drift(signal: np.ndarray, sample_rate: int, ppm: float) -> Warped:
    """Play with a clock that is slow by `ppm` parts per million: the lag grows by that much."""
    stretch = 1 + ppm * 1e-6
    samples = _read(signal, np.arange(int(len(signal) * stretch)) / stretch)
    times = np.arange(_track_length(signal, sample_rate)) * TRACK_STEP_S
    return Warped(samples, sample_rate, times * ppm * 1e-6)


def jumps(
    signal: np.ndarray, sample_rate: int, changes: Sequence[tuple[float, float]], fill: str = "silence"
) -> Warped:
    """Change the delay at once at the given instants: (time in the original in s, change in s).

    A positive change inserts time (silence, or with fill="repeat" the sound before it once more, as packet loss
    concealment does); a negative one cuts the sound that follows the instant out.
    """
    pieces, track, position, lag = [], np.zeros(_track_length(signal, sample_rate)), 0, 0.0
    for time_s, change_s in sorted(changes):
        cut = round(time_s * sample_rate)
        count = round(abs(change_s) * sample_rate)
        pieces.append(signal[position:cut])
        start = round(cut / sample_rate / TRACK_STEP_S)
        if change_s >= 0:
            pieces.append(_filler(signal, cut, count, sample_rate, fill))
            position = cut
            lag += count / sample_rate
            track[start:] = lag
        else:
            position = cut + count
            lag -= count / sample_rate
            track[start:] = lag
            track[start : round(position / sample_rate / TRACK_STEP_S)] = np.nan
    pieces.append(signal[position:])
    return Warped(np.concatenate(pieces), sample_rate, track)


def stretch(signal: np.ndarray, sample_rate: int, rates: Sequence[tuple[float, float, float]]) -> Warped:
    """Play parts slower or faster at the same pitch: (start s, end s, factor); 1.3 makes a part 30 % longer.

    Waveform-similarity overlap-add (Verhelst and Roelands, ICASSP 1993) with 20 ms windows; parts in between are
    copied sample by sample. The track is that of the pieces really chosen, not of the wish.
    """
    half = round(0.010 * sample_rate)
    search = round(0.006 * sample_rate)
    fade_in = np.sin(0.5 * np.pi * (np.arange(half) + 0.5) / half) ** 2
    padded = np.concatenate([signal, np.zeros(4 * half + search)])
    pieces: list[np.ndarray] = []
    marks: list[tuple[int, int]] = []  # (position in the original, position in the result), at the middle of each piece
    read, wish, written = 0, 0.0, 0
    end_of_signal = len(signal)
    while read < end_of_signal:
        time_s = wish / sample_rate
        factor = next((value for start, end, value in rates if start <= time_s < end), 1.0)
        wish += half / factor
        natural = padded[read : read + half]
        marks.append((read + half // 2, written + half // 2))
        target = round(wish)
        if factor == 1.0 and abs(target - (read + half)) <= search:
            pieces.append(natural)
            wish = float(read + half)
            read += half
        else:
            following = padded[read + half : read + 2 * half]
            first = max(target - search, 0)
            choices = np.lib.stride_tricks.sliding_window_view(padded[first : target + search + half], half)
            similarity = choices @ following / np.sqrt(np.sum(choices**2, axis=1) + 1e-9)
            chosen = first + int(np.argmax(similarity))
            # This piece fades into what leads up to the chosen place.
            lead = padded[chosen - half : chosen] if chosen >= half else np.zeros(half)
            pieces.append(natural * (1 - fade_in) + lead * fade_in)
            read = chosen
        written += half
    original, result = np.array(marks, dtype=float).T
    order = np.argsort(original, kind="stable")
    times = np.arange(_track_length(signal, sample_rate)) * TRACK_STEP_S
    lag = np.interp(times * sample_rate, original[order], (result - original)[order]) / sample_rate
    return Warped(np.concatenate(pieces), sample_rate, lag)


def jitter_buffer(signal: np.ndarray, sample_rate: int, targets: Sequence[tuple[float, float]]) -> Warped:
    """Follow a playout delay as a jitter buffer does: from each (time s, delay s) on, move towards that delay.

    Every 100 ms at most one pitch period (2.5 to 15 ms, the one with the highest autocorrelation) is taken out or
    repeated with a cross-fade, and only where the sound is periodic or quiet.
    """
    step, window = round(0.1 * sample_rate), round(0.02 * sample_rate)
    shortest, longest = round(0.0025 * sample_rate), round(0.015 * sample_rate)
    pieces: list[np.ndarray] = []
    track = np.zeros(_track_length(signal, sample_rate))
    position, lag = 0, 0
    loudest = np.sqrt(np.mean(signal**2))
    while position < len(signal):
        time_s = position / sample_rate
        wished = next((round(value * sample_rate) for start, value in reversed(targets) if time_s >= start), 0)
        block = signal[position : position + window + longest]
        change = 0
        if abs(wished - lag) >= shortest and len(block) == window + longest:
            periods = np.arange(shortest, longest)
            scores = [
                np.dot(block[:window], block[p : p + window])
                / np.sqrt(np.sum(block[:window] ** 2) * np.sum(block[p : p + window] ** 2) + 1e-9)
                for p in periods
            ]
            best = int(np.argmax(scores))
            if scores[best] > 0.7 or np.sqrt(np.mean(block**2)) < 0.05 * loudest:
                change = int(periods[best])
        if change:
            fade = np.linspace(0, 1, change)
            first, second = block[:change], block[change : 2 * change]
            if wished > lag:  # first, then second fading back into first, then second: one period more
                pieces += [first, second * (1 - fade) + first * fade]
                shift = change
                resume = position + change
            else:
                pieces.append(first * (1 - fade) + second * fade)
                shift = -change
                resume = position + 2 * change
            # The change is heard half way through the cross-fade.
            track[round((position + change) / sample_rate / TRACK_STEP_S) :] = (lag + shift) / sample_rate
            lag += shift
            pieces.append(signal[resume : position + step])
        else:
            pieces.append(signal[position : position + step])
        position += step
    return Warped(np.concatenate(pieces), sample_rate, track)


def mute(signal: np.ndarray, sample_rate: int, parts: Sequence[tuple[float, float]]) -> Warped:
    """Silence the given parts (start s, end s); time goes on, the track is NaN there."""
    samples = signal.copy()
    track = np.zeros(_track_length(signal, sample_rate))
    for start, end in parts:
        samples[round(start * sample_rate) : round(end * sample_rate)] = 0
        track[round(start / TRACK_STEP_S) : round(end / TRACK_STEP_S)] = np.nan
    return Warped(samples, sample_rate, track)


def lose_packets(
    signal: np.ndarray, sample_rate: int, share: float, rng: np.random.Generator, conceal: bool = False
) -> Warped:
    """Lose 20 ms packets at random: zeros, or with `conceal` the last 20 ms again, fading."""
    packet = round(0.02 * sample_rate)
    samples = signal.copy()
    last_good = np.zeros(packet)
    gain = 1.0
    for start in range(0, len(signal) - packet, packet):
        part = slice(start, start + packet)
        if rng.random() < share:
            gain *= 0.7
            samples[part] = last_good * gain if conceal else 0.0
        else:
            last_good, gain = signal[part], 1.0
    return Warped(samples, sample_rate, np.zeros(_track_length(signal, sample_rate)))


def pauses(signal: np.ndarray, sample_rate: int, shortest_s: float = 0.15) -> list[tuple[float, float]]:
    """Return where the signal pauses (start s, end s): 40 dB below its loudest 10 ms for at least `shortest_s`."""
    frame = round(0.01 * sample_rate)
    count = len(signal) // frame
    level = np.sqrt(np.mean(signal[: count * frame].reshape(count, frame) ** 2, axis=1))
    quiet = np.concatenate([[False], level < 0.01 * level.max(), [False]])
    edges = np.flatnonzero(np.diff(quiet.astype(int)))
    spans = [(start * 0.01, end * 0.01) for start, end in zip(edges[::2], edges[1::2], strict=True)]
    return [(start, end) for start, end in spans if end - start >= shortest_s]


def _track_length(signal: np.ndarray, sample_rate: int) -> int:
    return int(np.ceil(len(signal) / sample_rate / TRACK_STEP_S)) + 1


def _read(signal: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Return the band-limited signal at fractional positions (K,), in samples: eightfold oversampling and splines."""
    fine = resample_poly(signal, 8, 1, window=("kaiser", 12.0))
    out = np.empty(len(positions))
    block = 1 << 16
    for start in range(0, len(positions), block):
        at = positions[start : start + block] * 8
        first = max(int(at[0]) - 16, 0)
        last = min(int(at[-1]) + 16, len(fine))
        if last - first < 4:
            out[start : start + block] = 0.0
            continue
        values = CubicSpline(np.arange(first, last), fine[first:last])(at)
        out[start : start + block] = np.where((at >= 0) & (at < len(fine)), values, 0.0)
    return out


def _filler(signal: np.ndarray, cut: int, count: int, sample_rate: int, fill: str) -> np.ndarray:
    if fill == "silence":
        return np.zeros(count)
    period = signal[max(cut - round(0.02 * sample_rate), 0) : cut]
    return np.resize(period, count) * np.linspace(1, 0.2, count) if len(period) else np.zeros(count)
