"""The picture of a score, as SVG: both sides on the reference's time axis, MOS, delay and level over time."""

from __future__ import annotations

import io
import math

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from audio.align import SegmentKind
from audio.recording import Array
from audio.scoring import AudioScore, Pair

INK, MUTED, FAINT = "#1c2733", "#66727f", "#dfe4ea"
SENT, ARRIVED, GOOD, BAD, NEUTRAL = "#1f6feb", "#e07b00", "#1a7f37", "#cf222e", "#8c959f"
_WIDTH_IN = 9.2
_COLUMNS, _ROWS = 1100, 220  # of a spectrogram: more than the page shows
_RANGE_DB = 75.0
_LEVEL_STEP_S = 0.05
_LOWEST_DBOV = -90.0
_OFFSET_FLOOR = 1e-9
_UNREMARKABLE = 0.5  # a reason that covers more of the time than this is no event on the time axis


def overview_svg(score: AudioScore, pair: Pair) -> str:
    """Five panels over one time axis, that of the reference: two spectrograms, MOS, delay and level."""
    rate = score.sample_rate
    reference, arrived = pair.reference, np.asarray(score.alignment.warp(pair.degraded), dtype=np.float64)
    figure = Figure(figsize=(_WIDTH_IN, 9.6), layout="constrained")
    panels = figure.subplots(5, 1, sharex=True, gridspec_kw={"height_ratios": [2.3, 2.3, 1.25, 1.25, 1.25]})
    top = _highest(score)
    pictures = [_spectrogram(side, rate, top) for side in (reference, arrived)]
    brightest = max(picture.max() for picture in pictures)
    duration = len(reference) / rate
    for axes, picture, title in zip(panels, pictures, ("Reference", "Recording, moved onto its time"), strict=False):
        shown = axes.imshow(
            picture,
            origin="lower",
            aspect="auto",
            extent=(0, duration, 0, top / 1000),
            cmap="magma",
            vmin=brightest - _RANGE_DB,
            vmax=brightest,
            interpolation="bilinear",
        )
        _dress(axes, title, "frequency / kHz")
    figure.colorbar(shown, ax=list(panels[:2]), label="dB", pad=0.01, fraction=0.03, aspect=40).outline.set_visible(
        False
    )
    _missing(panels[1], score)
    _mos(panels[2], score, duration)
    _delay(panels[3], score)
    _level(panels[4], score, reference, arrived)
    for axes in panels[2:]:
        _reasons(axes, score, duration)
    panels[-1].set_xlabel("time of the reference / s")
    panels[-1].set_xlim(0, duration)
    return _svg(figure)


def spectrum_svg(score: AudioScore, pair: Pair) -> str:
    """Long-term spectra of both sides, in thirds of an octave."""
    figure = Figure(figsize=(_WIDTH_IN, 2.7), layout="constrained")
    axes = figure.add_subplot()
    for side, colour, name in ((pair.reference, SENT, "reference"), (pair.degraded, ARRIVED, "recording")):
        centres, levels = _third_octaves(side, score.sample_rate)
        axes.semilogx(centres, levels, color=colour, linewidth=1.8, marker="o", markersize=3, label=name)
    edge = score.recording.bandwidth.high_hz
    if edge > 0:
        axes.axvline(edge, color=ARRIVED, linewidth=1, linestyle=(0, (4, 3)))
        axes.annotate(
            f"{score.recording.bandwidth.band.value}, {edge / 1000:.1f} kHz",
            (edge, 1),
            xycoords=("data", "axes fraction"),
            xytext=(-5, -4),
            textcoords="offset points",
            ha="right",
            va="top",
            fontsize=9,
            color=ARRIVED,
        )
    axes.xaxis.set_major_formatter(
        FuncFormatter(lambda hertz, _: f"{hertz / 1000:g}k" if hertz >= 1000 else f"{hertz:g}")
    )
    axes.xaxis.set_minor_formatter(FuncFormatter(lambda *_: ""))
    _dress(axes, "Long-term spectrum, in thirds of an octave", "level / dBov")
    axes.set_xlabel("frequency / Hz")
    axes.grid(color=FAINT, linewidth=0.6)
    axes.legend(loc="lower left", frameon=False, fontsize=9)
    return _svg(figure)


def _highest(score: AudioScore) -> float:
    """Up to where there is something to see, hertz."""
    widest = max(score.reference.bandwidth.high_hz, score.recording.bandwidth.high_hz, 3400.0)
    return min(1.15 * widest, score.sample_rate / 2)


def _spectrogram(signal: Array, rate: int, top_hz: float) -> Array:
    """(rows, columns) levels in dB up to `top_hz`; of several frames that share a column, their mean power."""
    length = 1 << max(round(math.log2(0.025 * rate)), 6)
    hop = max(length // 4, math.ceil(len(signal) / (4 * _COLUMNS)))
    padded = np.pad(signal, (length // 2, length))
    views = np.lib.stride_tricks.sliding_window_view(padded, length)[: len(signal) : hop]
    rows = min(math.ceil(top_hz / rate * length) + 1, length // 2 + 1)
    window = np.hanning(length)
    power = np.concatenate(
        [np.abs(np.fft.rfft(views[at : at + 512] * window, axis=1)[:, :rows]) ** 2 for at in range(0, len(views), 512)]
    )
    power = _averaged(_averaged(power, _COLUMNS, 0), _ROWS, 1)
    return np.asarray(10 * np.log10(power.T / np.sum(window) ** 2 + 1e-12))


def _averaged(power: Array, most: int, axis: int) -> Array:
    count = power.shape[axis]
    if count <= most:
        return power
    starts = np.linspace(0, count, most, endpoint=False).astype(int)
    sizes = np.diff(np.append(starts, count))
    summed = np.add.reduceat(power, starts, axis=axis)
    mean: Array = summed / (sizes[:, None] if axis == 0 else sizes[None, :])
    return mean


def _missing(axes: Axes, score: AudioScore) -> None:
    for segment in score.alignment.segments:
        if segment.kind is SegmentKind.MISSING:
            axes.axvspan(segment.start_s, segment.end_s, facecolor="none", edgecolor="white", hatch="///", linewidth=0)


def _mos(axes: Axes, score: AudioScore, duration: float) -> None:
    if score.track:
        times, values = np.array(score.track).T
        # A value stands for the time around it: from the middle between its neighbours to the next.
        edges = np.concatenate(([0.0], (times[1:] + times[:-1]) / 2, [duration]))
        steps = np.append(values, values[-1])
        axes.step(edges, steps, where="post", color=INK, linewidth=1.6)
        axes.fill_between(edges, 1, steps, step="post", color=SENT, alpha=0.15, linewidth=0)
    axes.axhline(score.mos, color=SENT, linewidth=1, linestyle=(0, (4, 3)))
    axes.set_ylim(1, 5)
    axes.set_yticks(range(1, 6))
    axes.grid(axis="y", color=FAINT, linewidth=0.6)
    _dress(axes, f"MOS-LQO over time (whole: {score.mos:.2f})", "MOS")


def _delay(axes: Axes, score: AudioScore) -> None:
    times = np.array([time for time, _ in score.delay_track])
    delays = np.array([math.nan if delay is None else delay for _, delay in score.delay_track])
    known = np.isfinite(delays)
    if known.any():
        axes.plot(times, delays, color=ARRIVED, linewidth=1.8)
        low, high = float(delays[known].min()), float(delays[known].max())
        room = max(0.15 * (high - low), 2.0)
        axes.set_ylim(low - room, high + room)
        axes.ticklabel_format(axis="y", useOffset=False)
    else:
        axes.text(0.5, 0.5, "nothing matched", transform=axes.transAxes, ha="center", va="center", color=MUTED)
        axes.set_yticks([])
    axes.grid(axis="y", color=FAINT, linewidth=0.6)
    _dress(axes, "Delay", "delay / ms")


def _level(axes: Axes, score: AudioScore, reference: Array, arrived: Array) -> None:
    for side, colour, name in ((reference, SENT, "reference"), (arrived, ARRIVED, "recording")):
        size = max(round(_LEVEL_STEP_S * score.sample_rate), 1)
        frames = side[: len(side) // size * size].reshape(-1, size)
        levels = 10 * np.log10(np.mean(frames**2, axis=1) + _OFFSET_FLOOR)
        axes.plot(
            (np.arange(len(levels)) + 0.5) * size / score.sample_rate, levels, color=colour, linewidth=1, label=name
        )
    axes.set_ylim(_LOWEST_DBOV, 0)
    axes.set_yticks([-80, -60, -40, -20, 0])
    axes.grid(axis="y", color=FAINT, linewidth=0.6)
    _dress(axes, "Level, 50 ms", "level / dBov")
    axes.legend(loc="lower right", bbox_to_anchor=(1, 0.98), ncols=2, frameon=False, fontsize=9, borderaxespad=0)


def _reasons(axes: Axes, score: AudioScore, duration: float) -> None:
    """Shade what was wrong at a certain time."""
    for reason in score.reasons:
        start, end = reason.start_s, reason.end_s
        if start is None or end is None or end - start > _UNREMARKABLE * duration:
            continue
        axes.axvspan(start, max(end, start + 0.002 * duration), color=BAD, alpha=0.14, linewidth=0)


def _third_octaves(signal: Array, rate: int) -> tuple[Array, Array]:
    size = 1 << 13
    frames = signal[: max(len(signal) // size, 1) * size]
    frames = np.pad(frames, (0, -len(frames) % size)).reshape(-1, size)
    power = np.mean(np.abs(np.fft.rfft(frames * np.hanning(size), axis=1)) ** 2, axis=0) / (0.375 * size**2 / 2)
    hertz = np.fft.rfftfreq(size, 1 / rate)
    centres = 1000 * 2.0 ** (np.arange(-12, 14) / 3)
    centres = centres[centres * 2 ** (1 / 6) < rate / 2]
    bands = [(hertz >= centre * 2 ** (-1 / 6)) & (hertz < centre * 2 ** (1 / 6)) for centre in centres]
    levels = [10 * math.log10(float(power[band].sum()) + 1e-12) for band in bands]
    return centres, np.array(levels)


def _dress(axes: Axes, title: str, label: str) -> None:
    axes.set_title(title, loc="left", fontsize=10, color=INK)
    axes.set_ylabel(label)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(NEUTRAL)
    axes.tick_params(colors=MUTED, labelsize=9)
    axes.xaxis.label.set_color(MUTED)
    axes.yaxis.label.set_color(MUTED)
    axes.set_axisbelow(True)


def _svg(figure: Figure) -> str:
    """The figure as an SVG document whose text stays text."""
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "audio", "font.family": "sans-serif"}):
        out = io.StringIO()
        FigureCanvasSVG(figure).print_svg(out, metadata={"Date": None, "Creator": None})  # type: ignore[no-untyped-call]  # matplotlib left it out
    return out.getvalue()
