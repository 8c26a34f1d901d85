"""The commands of `labctl audio` and their options; what they do stands in `labctl.cli.audio`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

audio_app = typer.Typer(help="Audio: score recordings, list references.", no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="One JSON document instead of text.")]
Present = Annotated[
    list[float] | None,
    typer.Option("--present-hz", help="A tone that must be there; may be repeated.", show_default=False),
]
LimitsFile = Annotated[Path | None, typer.Option("--thresholds", help="YAML file of limits.", show_default=False)]
LeastMos = Annotated[float | None, typer.Option("--min-mos", help="Lowest MOS, 1 to 5.", show_default=False)]
LongestDelay = Annotated[float | None, typer.Option("--max-delay-ms", help="Longest delay.", show_default=False)]
LeastSpeech = Annotated[
    float | None,
    typer.Option("--min-active-speech-ratio", help="Least share of active speech, 0 to 1.", show_default=False),
]
LeastCoverage = Annotated[
    float | None,
    typer.Option("--min-coverage", help="Least share of the speech that arrived, 0 to 1.", show_default=False),
]
Rate = Annotated[
    int | None,
    typer.Option("--rate", help="Score at 8000, 16000 or 48000 Hz, not at the reference's.", show_default=False),
]


@audio_app.command("score")
def audio_score(
    reference: Annotated[str, typer.Argument(help="What was played: a file, or the name of a reference.")],
    degraded: Annotated[Path, typer.Argument(help="What was recorded: a WAV, FLAC or OGG file.")],
    *,
    as_json: Json = False,
    report: Annotated[
        Path | None, typer.Option("--report", help="Write an HTML page to look at.", show_default=False)
    ] = None,
    thresholds: LimitsFile = None,
    min_mos: LeastMos = None,
    max_delay_ms: LongestDelay = None,
    min_active_speech_ratio: LeastSpeech = None,
    min_coverage: LeastCoverage = None,
    present_hz: Present = None,
    rate: Rate = None,
    beside: Annotated[
        list[str] | None,
        typer.Option(
            "--with",
            help="Another program's score to show beside ours: pesq, pesq:nb, visqol or polqa:FILE; may be repeated.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Tell how well a recording reproduces its reference; needs no daemon. Exit codes as of `labctl run`."""
    from labctl.cli.audio import score_files

    given = _given(
        min_mos=min_mos,
        max_delay_ms=max_delay_ms,
        min_active_speech_ratio=min_active_speech_ratio,
        min_coverage=min_coverage,
        present_hz=present_hz,
    )
    raise typer.Exit(
        score_files(
            reference,
            degraded,
            thresholds=thresholds,
            given=given,
            rate=rate,
            beside=beside or [],
            report=report,
            as_json=as_json,
        )
    )


@audio_app.command("batch")
def audio_batch(
    pairs: Annotated[Path, typer.Argument(help="CSV with the columns reference and recording, name if you like.")],
    *,
    as_json: Json = False,
    reports: Annotated[
        Path | None, typer.Option("--reports", help="Folder for a page on each pair that fails.", show_default=False)
    ] = None,
    thresholds: LimitsFile = None,
    min_mos: LeastMos = None,
    max_delay_ms: LongestDelay = None,
    min_active_speech_ratio: LeastSpeech = None,
    min_coverage: LeastCoverage = None,
    present_hz: Present = None,
    rate: Rate = None,
    jobs: Annotated[
        int | None, typer.Option("--jobs", min=1, max=256, help="How many at a time; half the processors unless given.")
    ] = None,
) -> None:
    """Score hundreds of pairs side by side; the worst verdict decides the exit code, as of `labctl run`."""
    from labctl.cli.audio_batch import score_batch

    given = _given(
        min_mos=min_mos,
        max_delay_ms=max_delay_ms,
        min_active_speech_ratio=min_active_speech_ratio,
        min_coverage=min_coverage,
        present_hz=present_hz,
    )
    raise typer.Exit(
        score_batch(pairs, thresholds=thresholds, given=given, rate=rate, reports=reports, jobs=jobs, as_json=as_json)
    )


def _given(**limits: float | list[float] | None) -> dict[str, Any]:
    """The limits that were set: they win over those of a file."""
    return {name: value for name, value in limits.items() if value is not None}


@audio_app.command("measure")
def audio_measure(
    recording: Annotated[Path, typer.Argument(help="A WAV, FLAC or OGG file.")],
    present_hz: Present = None,
    as_json: Json = False,
) -> None:
    """Measure a recording by itself: level, activity, tones, band, drop-outs. Exit 1: a tone is missing."""
    from labctl.cli.audio import measure_file

    raise typer.Exit(measure_file(recording, present_hz or [], as_json=as_json))


@audio_app.command("references")
def audio_references(
    out: Annotated[
        Path | None, typer.Option("--out", help="Write them as WAV into this folder.", show_default=False)
    ] = None,
    as_json: Json = False,
) -> None:
    """The references that ship with the program."""
    from labctl.cli.audio import list_references

    raise typer.Exit(list_references(out, as_json=as_json))


@audio_app.command("devices")
def audio_devices(
    server: Annotated[
        str | None, typer.Option(help="Address of a pulse server; your own unless given.", show_default=False)
    ] = None,
    as_json: Json = False,
) -> None:
    """The sound devices of this machine: microphones to play into, speakers to listen to."""
    from labctl.cli.audio import list_devices

    raise typer.Exit(list_devices(server, as_json=as_json))
