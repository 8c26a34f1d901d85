"""Puts all measurements of a pair together: what was sent, and what arrived."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from audio.align import Alignment, align
from audio.analysis import Analysis, analyse, check_signal
from audio.echo import Echo, measure_echo
from audio.errors import AudioError
from audio.mos import Reason, perceptual
from audio.plain import finite, plain
from audio.rates import resampled
from audio.recording import Array, Recording

if TYPE_CHECKING:
    from audio.adapters import OtherScore, OtherScorer  # an HTTP client hangs on them, which our own score needs not

HIGHEST_RATE = 48_000
_TRACK_STEP_S = 0.1


@dataclass(frozen=True, slots=True, eq=False)
class AudioScore:
    """How well a recording reproduces its reference.

    `mos`: MOS-LQO 1..5 after our own full-reference model (POLQA-style; it is not POLQA). `delay_ms`: median over
    active speech, None where nothing matched. `drift_ppm`: by how much the recording's clock is slower than the
    reference's. `coverage`: share of the reference's active speech that was found. `delay_track`: (time of the
    reference in s, delay in ms or None) every 0.1 s. `track`: (time in s, MOS) about once a second. `recording`,
    `reference`: what each side tells by itself. `echo`: None unless the own side was given. `others`: what other
    programs say where they were asked; nothing of it is in `mos`.
    """

    mos: float
    delay_ms: float | None
    drift_ppm: float | None
    coverage: float
    delay_track: tuple[tuple[float, float | None], ...]
    track: tuple[tuple[float, float], ...]
    reasons: tuple[Reason, ...]
    recording: Analysis
    reference: Analysis
    echo: Echo | None
    sample_rate: int
    alignment: Alignment = field(repr=False)
    others: tuple[OtherScore, ...] = ()

    @property
    def active_speech_ratio(self) -> float:
        """Share of the recording's time with active speech, after P.56."""
        return self.recording.level.ratio

    @property
    def active_speech_level_dbov(self) -> float | None:
        """Of the recording, after P.56; None where no speech is active."""
        return finite(self.recording.level.level_dbov)

    def to_json(self) -> dict[str, Any]:
        """Everything but the alignment, as values of JSON; what is not finite is null."""
        shown: dict[str, Any] = {
            "mos": self.mos,
            "delay_ms": self.delay_ms,
            "drift_ppm": self.drift_ppm,
            "coverage": self.coverage,
            "active_speech_ratio": self.active_speech_ratio,
            "active_speech_level_dbov": self.active_speech_level_dbov,
            "bandwidth_hz": self.recording.bandwidth.high_hz,
            "sample_rate": self.sample_rate,
        }
        for name in ("reasons", "track", "delay_track", "recording", "reference", "echo", "others"):
            shown[name] = plain(getattr(self, name))
        document: dict[str, Any] = plain(shown)
        return document


@dataclass(frozen=True, slots=True, eq=False)
class Pair:
    """Both sides of a score as one channel, (N,) and (M,), at one rate."""

    reference: Array
    degraded: Array
    sample_rate: int


def pair_up(reference: Recording, degraded: Recording, sample_rate: int | None = None) -> Pair:
    """Brings two recordings to one channel and one rate: `sample_rate`, or the reference's, at most 48 kHz.

    At the reference's rate a recording with less bandwidth is heard as such; give 8000 or 16000 to judge what a
    narrow- or wide-band listener would hear.
    """
    rate = sample_rate or min(reference.sample_rate, HIGHEST_RATE)
    return Pair(resampled(reference.mono(), rate), resampled(degraded.mono(), rate), rate)


def score(
    reference: Array,
    degraded: Array,
    sample_rate: int,
    *,
    present_hz: Iterable[float] = (),
    tone_tolerance: float = 0.01,
    own_side: tuple[Array, Array] | None = None,
    others: Iterable[OtherScorer] = (),
) -> AudioScore:
    """Scores `degraded`, (M,), against `reference`, (N,), both in [-1, 1] at `sample_rate` (8 to 48 kHz).

    `present_hz`: tones to look for in `degraded`. `own_side`: what the listener's side said and what came back to it
    at the same time, to look for echo. `others`: other programs to ask as well. Raises AudioError when a signal cannot
    be used, the reference is silent, or a tone cannot be looked for at this rate; a silent recording is scored like any
    other. Raises OtherScoreError when one of `others` gives no usable answer.
    """
    reference, degraded = np.asarray(reference), np.asarray(degraded)
    check_signal(reference, sample_rate, "the reference")
    check_signal(degraded, sample_rate, "the recording")
    sent = analyse(reference, sample_rate)
    if sent.level.ratio == 0:
        raise AudioError("the reference is silent: there is nothing that the recording could reproduce")
    try:
        arrived = analyse(degraded, sample_rate, present_hz, tone_tolerance)
        echo = None if own_side is None else measure_echo(*own_side, sample_rate)
    except AudioError:
        raise
    except ValueError as exc:
        raise AudioError(str(exc)) from None
    alignment = align(reference, degraded, sample_rate)
    heard = perceptual(reference, degraded, sample_rate, alignment)
    return AudioScore(
        mos=float(heard.mos),
        delay_ms=finite(alignment.delay_ms),
        drift_ppm=finite(alignment.drift_ppm),
        coverage=float(alignment.coverage),
        delay_track=_delay_track(alignment, len(reference) / sample_rate),
        track=tuple((float(time), float(value)) for time, value in heard.track),
        reasons=tuple(heard.reasons),
        recording=arrived,
        reference=sent,
        echo=echo,
        sample_rate=sample_rate,
        alignment=alignment,
        others=tuple(each.score(reference, degraded, sample_rate) for each in others),
    )


def _delay_track(alignment: Alignment, duration_s: float) -> tuple[tuple[float, float | None], ...]:
    times = np.arange(0, duration_s, _TRACK_STEP_S)
    lags = alignment.lag(times)
    return tuple((float(time), finite(1000 * float(lag))) for time, lag in zip(times, lags, strict=True))
