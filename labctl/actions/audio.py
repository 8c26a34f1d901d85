"""The actions `audio.play`, `audio.record` and `audio.score`: speak, listen, and judge what was heard."""

from __future__ import annotations

import json
import time
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from audio import AudioError, read_audio, reference, write_audio
from audio.rates import resampled
from audio.recording import Array
from audio.thresholds import Thresholds
from drivers.protocols import Microphone, Speaker
from drivers.sound import PulseMicrophone, PulseSpeaker
from labctl.config.audio import AudioConfig, Endpoint, SshEndpoint
from labctl.errors import LabFailureError, NotFoundError
from labctl.scoring import AudioJob
from labctl.scoring.model import Other, require_asked
from labctl.scoring.outcome import Refused, Scored
from labctl.scoring.pool import call_by_name
from labctl.steps import Measurement, Outcome, StepContext, Verdict

_SCORED_WITHIN_S = 1800
FileName = Annotated[str, Field(min_length=1, max_length=200)]


class _Parameters(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class PlayParameters(_Parameters):
    """`reference`: a name of those that ship with the program, a file that an earlier step kept, or an uploaded one.

    `check`: test the loop of the microphone first; a client on it hears that. Unless given: where none is on it.
    """

    reference: FileName
    gain_db: Annotated[float, Field(ge=-60, le=20)] = 0.0
    repeat: Annotated[int, Field(ge=1, le=1000)] = 1
    check: bool | None = None


class RecordParameters(_Parameters):
    """`name`: what the recording is called; later steps find it by that.

    `check`: test the loop of the speaker first, which what a client plays would disturb. Unless given: where it is
    known that none is on it.
    """

    duration_s: Annotated[float, Field(gt=0, le=1800)]
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,80}\.(wav|flac)$")] = "recording.flac"
    check: bool | None = None


class ScoreParameters(_Parameters):
    """`reference` and `recording`: as in `audio.play`; `name` is that of the results.

    `others`: programs to ask as well, whose scores stand beside ours.
    """

    reference: FileName
    recording: FileName
    thresholds: Thresholds = Thresholds()
    sample_rate: Literal[8000, 16_000, 24_000, 32_000, 48_000] | None = None
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,80}$")] = "score"
    others: tuple[Other, ...] = ()

    @model_validator(mode="after")
    def _others_can_be_judged(self) -> ScoreParameters:
        require_asked(self.thresholds, self.others)
        return self


class Play:
    """Satisfies `labctl.steps.Action`: speaks into the device's mock microphone."""

    parameters = PlayParameters

    def run(self, context: StepContext, parameters: PlayParameters) -> Outcome:
        """Play to the end. What dropped out on the way is the lab's fault, and the step errored."""
        microphone = _microphone(context)
        if microphone is None:
            raise LabFailureError(f"{context.device} has no microphone to play into; name one in the lab file")
        sound = _sound(context, parameters, microphone.sample_rate)
        if _checks(microphone, parameters.check, otherwise=True):
            microphone.check().require_intact()
        # Cancelling takes effect between repetitions: a cut inside speech would be heard as a fault of the client.
        for turn in range(1, parameters.repeat + 1):
            if context.cancellation.asked:
                return Outcome(context.cancellation.verdict, context.cancellation.reason)
            microphone.play(sound).require_intact()
            context.emit("progress", {"turn": turn, "of": parameters.repeat})
        context.measure([Measurement("played", parameters.repeat * len(sound) / microphone.sample_rate, "s")])
        return Outcome(Verdict.PASSED)


class Record:
    """Satisfies `labctl.steps.Action`: listens to the device's mock speaker."""

    parameters = RecordParameters

    def run(self, context: StepContext, parameters: RecordParameters) -> Outcome:
        """Record for a time; the file is kept in every case, and drop-outs of the lab make the step errored."""
        speaker = _speaker(context)
        if speaker is None:
            raise LabFailureError(f"{context.device} has no speaker to listen to; name one in the lab file")
        if _checks(speaker, parameters.check, otherwise=False):
            speaker.check().require_intact()
        with speaker.record() as tape:
            begun = time.monotonic()
            cancelled = context.cancellation.wait(parameters.duration_s)
            capture = tape.stop()
        path = context.folder / parameters.name
        write_audio(path, np.asarray(capture.samples, dtype=np.float64), capture.sample_rate)
        context.keep(path, parameters.name, f"audio/{path.suffix[1:]}")
        context.measure(
            [
                Measurement("recorded", capture.duration_s, "s"),
                Measurement("drop-outs of the lab", float(len(capture.drop_outs)), "1", high=0.0),
            ]
        )
        if cancelled:
            reason = f"{context.cancellation.reason} after {time.monotonic() - begun:.1f} s"
            return Outcome(context.cancellation.verdict, reason)
        capture.require_intact()
        return Outcome(Verdict.PASSED)


class Score:
    """Satisfies `labctl.steps.Action`: judges a recording in a worker, and keeps the report."""

    parameters = ScoreParameters

    def run(self, context: StepContext, parameters: ScoreParameters) -> Outcome:
        """Score, measure, keep `NAME.html` and `NAME.json`."""
        document = AudioJob.model_validate(
            {
                "pairs": [{"reference": parameters.reference[:100], "recording": parameters.recording[:100]}],
                "thresholds": parameters.thresholds,
                "sample_rate": parameters.sample_rate,
                "others": parameters.others,
            }
        ).model_dump(mode="json")
        names = {"reference": parameters.reference, "recording": parameters.recording}
        sources = {role: _source(context, name) for role, name in names.items()}
        report = context.folder / f"{parameters.name}.html"
        polqa = None if context.lab.polqa is None else str(context.lab.polqa)
        try:
            task = context.workers.submit(
                call_by_name, "labctl.scoring.work:score_pair", sources, names, document, str(report), polqa
            )
            scored: Scored | Refused = task.result(_SCORED_WITHIN_S)
        except Exception as exc:
            raise LabFailureError(f"the recording could not be scored: {type(exc).__name__}: {exc}") from exc
        if isinstance(scored, Refused):
            raise LabFailureError(scored.reason)
        context.keep(report, report.name, "text/html")
        data = context.folder / f"{parameters.name}.json"
        data.write_text(json.dumps(scored.result), encoding="utf-8")
        context.keep(data, data.name, "application/json")
        context.measure([_measurement(each) for each in scored.measurements])
        return Outcome(Verdict.PASSED if scored.passed else Verdict.FAILED, scored.reason)


def _checks(end: Microphone | Speaker, asked: bool | None, *, otherwise: bool) -> bool:
    """Whether to test a loop: as asked for; else where no client is on it; `otherwise` where that can't be known."""
    if asked is not None:
        return asked
    if isinstance(end, PulseMicrophone | PulseSpeaker):
        return end.clients() == 0
    return otherwise


def _measurement(row: dict[str, Any]) -> Measurement:
    verdict = None if row["verdict"] is None else Verdict(row["verdict"])
    return Measurement(row["name"], row["value"], row["unit"], row["low"], row["high"], verdict)


def _microphone(context: StepContext) -> Microphone | None:
    endpoint = _endpoint(context)
    if isinstance(endpoint, SshEndpoint):
        return endpoint.open_microphone(context.hosts.get(endpoint.host).ssh)
    return endpoint.open_microphone()


def _speaker(context: StepContext) -> Speaker | None:
    endpoint = _endpoint(context)
    if isinstance(endpoint, SshEndpoint):
        return endpoint.open_speaker(context.hosts.get(endpoint.host).ssh)
    return endpoint.open_speaker()


def _endpoint(context: StepContext) -> Endpoint:
    device = context.lab.devices[context.device]
    if not isinstance(device, AudioConfig):
        raise LabFailureError(f"this needs a device of kind audio; {context.device} is a {device.kind}")
    return device.endpoint


def _source(context: StepContext, name: str) -> str:
    """Where the workers find a reference or file."""
    if name in reference.names():
        return f"reference:{name}"
    try:
        return str(context.find(name))
    except NotFoundError as exc:
        raise LabFailureError(f"{exc}; references are {', '.join(reference.names())}") from None


def _sound(context: StepContext, parameters: PlayParameters, sample_rate: int) -> Array:
    """What is played, at the microphone's rate."""
    source = _source(context, parameters.reference)
    try:
        recording = reference.load(parameters.reference) if source.startswith("reference:") else read_audio(source)
    except AudioError as exc:
        raise LabFailureError(f"{parameters.reference} cannot be played: {exc}") from None
    sound = resampled(recording.mono(), sample_rate) * 10 ** (parameters.gain_db / 20)
    if (peak := float(np.max(np.abs(sound)))) > 1:
        raise LabFailureError(
            f"{parameters.reference} would be clipped with {parameters.gain_db:g} dB: its peak would be {peak:.2f}"
        )
    return sound
