"""What the processes of the audio service do: score a pair, draw the report.

Nothing of the daemon is touched here, and the daemon imports none of it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from audio import AudioError, Recording, judge, pair_up, read_audio, reference, score, write_report
from audio.adapters import OtherScoreError, Polqa, PolqaSettings, scorers
from drivers import documents
from labctl.scoring.inspecting import within, worded
from labctl.scoring.model import NO_POLQA, AudioJob
from labctl.scoring.outcome import Refused, Scored

_SCORED_WITHIN_S = 1200


def score_pair(
    sources: dict[str, str],
    names: dict[str, str],
    document: dict[str, Any],
    report: str | None,
    polqa: str | None = None,
) -> Scored | Refused:
    """Score one pair of the job `document`.

    `sources`: for each role the path of a file, or `reference:NAME` for one that ships with the program. `names`: what
    people call them. `report`: where to write the page, if one is wanted. `polqa`: the settings of the lab's own.
    """
    try:
        with within(_SCORED_WITHIN_S):
            return _score(sources, names, AudioJob.model_validate(document), report, polqa)
    except (AudioError, OtherScoreError, ValueError, TimeoutError, MemoryError) as exc:
        return Refused(worded(exc, {sources[role]: names[role] for role in sources}))


def _score(
    sources: dict[str, str], names: dict[str, str], job: AudioJob, report: str | None, polqa: str | None
) -> Scored:
    others = scorers(each for each in job.others if each != "polqa")
    if "polqa" in job.others:
        others += (_polqa(polqa),)
    recordings = {role: _load(source) for role, source in sources.items()}
    pair = pair_up(recordings["reference"], recordings["recording"], job.sample_rate)
    limits = job.thresholds
    own_side = None
    if "own_said" in recordings:
        own = pair_up(recordings["own_said"], recordings["own_heard"], pair.sample_rate)
        own_side = (own.reference, own.degraded)
    scored = score(
        pair.reference,
        pair.degraded,
        pair.sample_rate,
        present_hz=limits.present_hz,
        tone_tolerance=limits.tone_tolerance,
        own_side=own_side,
        others=others,
    )
    judgement = judge(scored, limits)
    drawn = report is not None and (job.report == "all" or not judgement.passed)
    if drawn and report is not None:
        Path(report).parent.mkdir(parents=True, exist_ok=True)
        write_report(report, scored, pair, judgement, (names["reference"], names["recording"]))
    measurements = tuple(
        {
            "name": each.name,
            "value": each.value,
            "unit": each.unit,
            "low": each.low,
            "high": each.high,
            "verdict": None if each.passed is None else "passed" if each.passed else "failed",
        }
        for each in judgement.measurements
    )
    reason = "; ".join(each.sentence() for each in judgement.failures)
    return Scored(judgement.passed, reason, measurements, scored.to_json(), drawn)


def _polqa(settings: str | None) -> Polqa:
    if settings is None:
        raise ValueError(NO_POLQA)
    # Limits of jobs name it so, whatever else the lab calls it.
    return Polqa(documents.load(settings, PolqaSettings).model_copy(update={"name": "polqa"}))


def _load(source: str) -> Recording:
    kind, _, name = source.partition(":")
    return reference.load(name) if kind == "reference" else read_audio(source)
