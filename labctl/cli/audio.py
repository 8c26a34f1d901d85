"""`labctl audio`: score two files, measure one, list the references; all without a daemon."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from labctl.cli.exits import FAILED, PASSED, USAGE, ExpectedError
from labctl.cli.output import note, print_json, print_table

if TYPE_CHECKING:
    from audio import AudioScore, Judgement, Recording, Thresholds
    from audio.adapters import OtherScorer

RATES = (8000, 16_000, 24_000, 32_000, 48_000)


def score_files(
    reference: str,
    degraded: Path,
    *,
    thresholds: Path | None,
    given: dict[str, Any],
    rate: int | None,
    beside: list[str],
    report: Path | None,
    as_json: bool,
) -> int:
    """Score `degraded` against `reference`, a file or a packaged name; limits given singly win over the file's.

    `beside`: other programs to ask, as `audio.adapters.scorers` names them.
    """
    if rate is not None and rate not in RATES:
        raise ExpectedError(f"--rate must be one of {', '.join(map(str, RATES))}, not {rate}", USAGE)
    limits = limits_of(thresholds, given)
    others = _others(beside)
    from audio import AudioError, judge, pair_up, score, write_report
    from audio.adapters import OtherScoreError

    try:
        pair = pair_up(_reference(reference), _file(degraded), rate)
        scored = score(
            pair.reference,
            pair.degraded,
            pair.sample_rate,
            present_hz=limits.present_hz,
            tone_tolerance=limits.tone_tolerance,
            others=others,
        )
        judgement = judge(scored, limits)
    except (AudioError, OtherScoreError) as exc:
        raise ExpectedError(str(exc)) from None
    except ValueError as exc:
        raise ExpectedError(str(exc), USAGE) from None
    if report is not None:
        try:
            report.parent.mkdir(parents=True, exist_ok=True)
            write_report(report, scored, pair, judgement, (Path(reference).name, degraded.name))
        except OSError as exc:
            raise ExpectedError(f"cannot write the report {report}: {exc.strerror}") from None
        note(f"report: {report}")
    if as_json:
        print_json(_document(scored, judgement))
    else:
        _print(scored, judgement)
    return PASSED if judgement.passed else FAILED


def measure_file(recording: Path, present_hz: list[float], *, as_json: bool) -> int:
    """Everything that one file tells by itself."""
    from audio import AudioError, analyse
    from audio.plain import plain

    try:
        sound = _file(recording).mono()
        found = analyse(sound.samples, sound.sample_rate, present_hz)
    except AudioError as exc:
        raise ExpectedError(str(exc)) from None
    except ValueError as exc:
        raise ExpectedError(str(exc), USAGE) from None
    if as_json:
        print_json(plain(found))
    else:
        level, amplitude = found.level, found.amplitude
        rows = [
            ("duration", f"{found.duration_s:.2f} s"),
            ("active speech level", f"{level.level_dbov:.1f} dBov"),
            ("active speech ratio", f"{level.ratio:.1%}"),
            ("peak", f"{amplitude.peak_dbov:.1f} dBov"),
            ("power", f"{amplitude.rms_dbov:.1f} dBov"),
            ("noise floor", f"{amplitude.noise_floor_dbov:.1f} dBov"),
            ("band", f"{found.bandwidth.band.value}, up to {found.bandwidth.high_hz:.0f} Hz"),
            ("clipped", f"{amplitude.clipped_ratio:.3%}"),
            ("drop-outs", str(len(amplitude.dropouts))),
        ]
        for tone in found.presence:
            told = "not found"
            if tone.found:
                told = f"{tone.frequency_hz:.1f} Hz, {tone.level_dbov:.1f} dBov, SNR {tone.snr_db:.1f} dB, "
                told += ", ".join(f"{each.start_s:.2f} to {each.end_s:.2f} s" for each in tone.intervals)
            rows.append((f"tone {tone.asked_hz:g} Hz", told))
        print_table(("measurement", "value"), rows, "")
    return PASSED if all(tone.found for tone in found.presence) else FAILED


def list_references(out: Path | None, *, as_json: bool) -> int:
    """The packaged references; with `out`, as files to play."""
    from audio import reference, write_audio

    items: list[dict[str, Any]] = [{"name": name, "what": reference.describe(name)} for name in reference.names()]
    for voice, item in zip(reference.voices(), items, strict=False):
        item |= {
            "duration_s": voice.duration_s,
            "active_speech_level_dbov": voice.active_level_dbov,
            "active_speech_ratio": voice.activity_ratio,
            "sha256_of_samples": voice.sha256_of_samples,
            "sentences": list(voice.sentences),
        }
    if out is not None:
        try:
            out.mkdir(parents=True, exist_ok=True)
            for name in reference.names():
                recording = reference.load(name)
                write_audio(out / f"{name}.wav", recording.samples, recording.sample_rate)
        except OSError as exc:
            raise ExpectedError(f"cannot write to {out}: {exc.strerror}") from None
    if as_json:
        print_json({"items": items, "next": None})
    else:
        rows = [
            (each["name"], each["what"], each.get("duration_s", 10), each.get("active_speech_ratio")) for each in items
        ]
        print_table(("name", "what", "seconds", "active"), rows, "")
    return PASSED


def limits_of(path: Path | None, given: dict[str, Any]) -> Thresholds:
    """The limits of a file, those given singly in their place. Raises ExpectedError for what is no limit."""
    from pydantic import ValidationError

    from audio import Thresholds
    from drivers import documents

    try:
        base = documents.load(path, Thresholds) if path is not None else Thresholds()
        return Thresholds.model_validate({**base.model_dump(exclude_unset=True), **given})
    except documents.DocumentError as exc:
        raise ExpectedError(str(exc), USAGE) from None
    except ValidationError as exc:
        told = "; ".join(
            f"--{'-'.join(str(part) for part in error['loc'][:1]).replace('_', '-')}: {error['msg']}"
            for error in exc.errors()
        )
        raise ExpectedError(told, USAGE) from None


def _others(names: list[str]) -> tuple[OtherScorer, ...]:
    from audio.adapters import OtherScoreError, scorers

    try:
        return scorers(names)
    except OtherScoreError as exc:
        raise ExpectedError(str(exc)) from None
    except ValueError as exc:
        raise ExpectedError(f"--with: {exc}", USAGE) from None


def _reference(name: str) -> Recording:
    from audio import reference

    return reference.load(name) if name in reference.names() and not Path(name).exists() else _file(Path(name))


def _file(path: Path) -> Recording:
    from audio import AudioFileError, read_audio
    from audio.reference import names

    try:
        return read_audio(path)
    except AudioFileError as exc:
        if not path.exists():
            known = ", ".join(names())
            raise ExpectedError(f"{exc}; references are {known}", USAGE) from None
        raise


def _document(scored: AudioScore, judgement: Judgement) -> dict[str, Any]:
    measurements = [
        {
            "name": each.name,
            "value": each.value,
            "unit": each.unit,
            "low": each.low,
            "high": each.high,
            "verdict": None if each.passed is None else "passed" if each.passed else "failed",
        }
        for each in judgement.measurements
    ]
    verdict = "passed" if judgement.passed else "failed"
    return {"verdict": verdict, **scored.to_json(), "measurements": measurements}


def _print(scored: AudioScore, judgement: Judgement) -> None:
    from audio.plain import figure

    print(f"MOS {scored.mos:.2f}")
    for reason in scored.reasons:
        print(f"  {reason.text}")
    rows = []
    for each in judgement.measurements:
        value = (
            "not measurable"
            if each.value is None
            else f"{figure(each.value)}{'' if each.unit == '1' else ' ' + each.unit}"
        )
        bounds = (("≥", each.low), ("≤", each.high))
        limits = [f"{sign} {bound:g}" for sign, bound in bounds if bound is not None]
        rows.append((each.name, value, ", ".join(limits), {None: "", True: "passed", False: "FAILED"}[each.passed]))
    print_table(("measurement", "value", "limit", "verdict"), rows, "")
    if scored.others:
        beside = [
            (
                each.name,
                "no value" if each.value is None else f"{each.value:.2f}",
                f"{each.scale[0]:g} to {each.scale[1]:g}",
                each.version,
            )
            for each in scored.others
        ]
        print_table(("other programs", "value", "scale", "version"), beside, "")


def list_devices(server: str | None, *, as_json: bool) -> int:
    """What the pulse server and PortAudio offer; what could not be asked is said, with what to do."""
    import dataclasses

    from drivers.sound import devices

    found = devices(server)
    if as_json:
        items = [dataclasses.asdict(each) for each in found.devices]
        print_json({"items": items, "next": None, "problems": list(found.problems)})
        return PASSED
    rows = [
        (each.system, each.name, each.inputs, each.outputs, each.sample_rate, "monitor" if each.monitor else each.state)
        for each in found.devices
    ]
    print_table(("system", "name", "in", "out", "Hz", ""), rows, "no sound devices")
    for problem in found.problems:
        note(problem)
    return PASSED
