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
from drivers.clock import Clock
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
_REASONS_TOLD = 5  # the report has them all
FileName = Annotated[str, Field(min_length=1, max_length=200)]


class _Parameters(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class PlayParameters(_Parameters):
    """`reference`: a name of those that ship with the program, a file that an earlier step kept, or an uploaded one.

    `check`: test the loop of the microphone first; a client on it hears that. Unless given: where none is on it.
    `client`: whether a client has to be on it; where none is, the step is errored. Outputs: `began_at`, when the first
    sample of the last turn left, and `ended_at`, in seconds since 1970.
    """

    reference: FileName
    gain_db: Annotated[float, Field(ge=-60, le=20)] = 0.0
    repeat: Annotated[int, Field(ge=1, le=1000)] = 1
    check: bool | None = None
    client: bool = False


class RecordParameters(_Parameters):
    """`name`: what the recording is called; later steps find it by that.

    `check`: test the loop of the speaker first, which what a client plays would disturb. Unless given: where it is
    known that none is on it. `client`: as in `audio.play`. Output: `began_at`, when the first sample was taken, in
    seconds since 1970.
    """

    duration_s: Annotated[float, Field(gt=0, le=1800)]
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,80}\.(wav|flac)$")] = "recording.flac"
    check: bool | None = None
    client: bool = False


class ScoreParameters(_Parameters):
    """`reference` and `recording`: as in `audio.play`; `name` is that of the results.

    `others`: programs to ask as well, whose scores stand beside ours. `played_at` and `recorded_at`: the outputs
    `began_at` of both steps, on one clock: what was recorded before is cut off, and the delay counts from there.
    """

    reference: FileName
    recording: FileName
    thresholds: Thresholds = Thresholds()
    sample_rate: Literal[8000, 16_000, 24_000, 32_000, 48_000] | None = None
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,80}$")] = "score"
    others: tuple[Other, ...] = ()
    played_at: float | None = None
    recorded_at: float | None = None

    @model_validator(mode="after")
    def _others_can_be_judged(self) -> ScoreParameters:
        require_asked(self.thresholds, self.others)
        return self

    @model_validator(mode="after")
    def _times_go_together(self) -> ScoreParameters:
        if (self.played_at is None) != (self.recorded_at is None):
            raise ValueError("played_at and recorded_at go together")
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
        _require_client(context, microphone, parameters.client)
        # Cancelling takes effect between repetitions: a cut inside speech would be heard as a fault of the client.
        for turn in range(1, parameters.repeat + 1):
            if context.cancellation.asked:
                return Outcome(context.cancellation.verdict, context.cancellation.reason)
            played = microphone.play(sound)
            played.require_intact()
            context.emit("progress", {"turn": turn, "of": parameters.repeat})
        began_at = _since_1970(microphone, played.start_time)
        context.output("began_at", began_at)
        context.output("ended_at", began_at + played.frames / played.sample_rate)
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
        _require_client(context, speaker, parameters.client)
        with speaker.record() as tape:
            begun = time.monotonic()
            cancelled = context.cancellation.wait(parameters.duration_s)
            capture = tape.stop()
        context.output("began_at", _since_1970(speaker, capture.start_time))
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
        if parameters.played_at is not None and parameters.recorded_at is not None:
            lead_s = parameters.played_at - parameters.recorded_at
            sources["recording"] = _cut(context, sources["recording"], parameters.recording, lead_s)
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
        if scored.passed:
            return Outcome(Verdict.PASSED, scored.reason)
        why = [str(each["text"]) for each in scored.result["reasons"]]
        return Outcome(Verdict.FAILED, "; ".join([scored.reason, *why[:_REASONS_TOLD]]))


def _checks(end: Microphone | Speaker, asked: bool | None, *, otherwise: bool) -> bool:
    """Whether to test a loop: as asked for; else where no client is on it; `otherwise` where that can't be known."""
    if asked is not None:
        return asked
    if isinstance(end, PulseMicrophone | PulseSpeaker):
        return end.clients() == 0
    return otherwise


def _since_1970(end: Microphone | Speaker, at: float) -> float:
    """A time of a driver's clock, as people and other programs on the machine tell it."""
    clock: Clock | None = getattr(end, "clock", None)
    return time.time() - (clock.now() - at if clock is not None else 0.0)


def _cut(context: StepContext, source: str, name: str, lead_s: float) -> str:
    """A file of the recording without what came before the playing began."""
    if lead_s < 0:
        raise LabFailureError(f"{name} began {-lead_s:.2f} s after what it was to hear: let the recording begin first")
    try:
        recording = read_audio(source)
    except AudioError as exc:
        raise LabFailureError(f"{name} cannot be scored: {exc}") from None
    first = round(lead_s * recording.sample_rate)
    if first >= len(recording.samples):
        raise LabFailureError(f"{name} ended before what it was to hear began, {lead_s:.2f} s after its own beginning")
    path = context.folder / "heard.flac"
    write_audio(path, recording.samples[first:], recording.sample_rate)
    return str(path)


def _require_client(context: StepContext, end: Microphone | Speaker, asked: bool) -> None:
    """Nobody hears what is played where no client is: that says nothing about the client that was meant."""
    if not asked:
        return
    if not isinstance(end, PulseMicrophone | PulseSpeaker):
        raise LabFailureError(
            f"{context.device}: whether a client is on {end.name} cannot be known; leave out `client`"
        )
    if end.clients() == 0:
        raise LabFailureError(
            f"no client is on {end.name}: is {context.device} what the lab file names as the client's sound?"
        )


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
