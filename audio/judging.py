"""Holds a score to limits: each measured value with what it had to keep."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from audio.plain import figure
from audio.scoring import AudioScore
from audio.thresholds import Thresholds


@dataclass(frozen=True, slots=True)
class Judged:
    """A measured value with its limits. `passed` is None where no limit was set; a value that could not be taken
    (None) fails its limit."""

    name: str
    value: float | None
    unit: str
    low: float | None = None
    high: float | None = None

    @property
    def passed(self) -> bool | None:
        if self.low is None and self.high is None:
            return None
        if self.value is None:
            return False
        return (self.low is None or self.value >= self.low) and (self.high is None or self.value <= self.high)

    def _limits(self) -> tuple[tuple[str, float | None], tuple[str, float | None]]:
        return ("at least", self.low), ("at most", self.high)

    def sentence(self) -> str:
        """For people: the value and the limit that it breaks or keeps."""
        limits = [f"{word} {limit:g}" for word, limit in self._limits() if limit is not None]
        unit = "" if self.unit == "1" else f" {self.unit}"
        value = "could not be measured" if self.value is None else f"is {figure(self.value)}{unit}"
        return f"{self.name} {value}" + (f", must be {' and '.join(limits)}{unit}" if limits else "")


@dataclass(frozen=True, slots=True)
class Judgement:
    """All measured values, judged."""

    measurements: tuple[Judged, ...]

    @property
    def passed(self) -> bool:
        return not self.failures

    @property
    def failures(self) -> tuple[Judged, ...]:
        return tuple(each for each in self.measurements if each.passed is False)


def judge(score: AudioScore, thresholds: Thresholds) -> Judgement:
    """Holds `score` to `thresholds`. Raises ValueError when a limit asks for what the score has not looked at."""
    if thresholds.min_echo_return_loss_db is not None and score.echo is None:
        raise ValueError("min_echo_return_loss_db needs what the own side said and heard; give both, or drop the limit")
    return Judgement(tuple(_measurements(score, thresholds)))


def _measurements(score: AudioScore, limits: Thresholds) -> Iterator[Judged]:
    recording = score.recording
    yield Judged("MOS", score.mos, "1", low=limits.min_mos)
    yield Judged("delay", score.delay_ms, "ms", high=limits.max_delay_ms)
    drift, most = score.drift_ppm, limits.max_drift_ppm
    yield Judged("drift", drift, "ppm", None if most is None else -most, most)
    yield Judged("coverage", score.coverage, "1", low=limits.min_coverage)
    yield Judged("active speech ratio", score.active_speech_ratio, "1", low=limits.min_active_speech_ratio)
    yield Judged(
        "active speech level",
        score.active_speech_level_dbov,
        "dBov",
        limits.min_active_speech_level_dbov,
        limits.max_active_speech_level_dbov,
    )
    yield Judged("bandwidth", recording.bandwidth.high_hz, "Hz", low=limits.min_bandwidth_hz)
    yield Judged("clipped ratio", recording.amplitude.clipped_ratio, "1", high=limits.max_clipped_ratio)
    yield Judged("drop-outs", len(recording.amplitude.dropouts), "1", high=limits.max_dropouts)
    if score.echo is not None:
        loss = score.echo.return_loss_db if score.echo.present else score.echo.detectable_db
        yield Judged("echo return loss", loss, "dB", low=limits.min_echo_return_loss_db)
    for asked in limits.present_hz:
        found = next((tone for tone in recording.presence if tone.asked_hz == asked), None)
        if found is None:
            raise ValueError(f"{asked:g} Hz was not looked for; score with present_hz of the thresholds")
        yield Judged(f"tone {asked:g} Hz", float(found.found), "1", low=1.0)
    # Other programs' scores are no measurements of ours: they are judged only where a limit names them.
    said = {other.name: other for other in score.others}
    for name, limit in limits.others.items():
        if name not in said:
            asked_for = ", ".join(said) or "none"
            raise ValueError(f"a limit names {name}, which was not asked; other scores asked for: {asked_for}")
        yield Judged(name, said[name].value, "1", limit.min, limit.max)
