"""The commands `labctl run` and `labctl jobs` with their options; what they do stands in `labctl.cli.jobs`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

jobs_app = typer.Typer(help="Jobs: what was asked for and what came of it.", invoke_without_command=True)

Json = Annotated[bool, typer.Option("--json", help="One JSON document instead of text.")]
Url = Annotated[str | None, typer.Option("--url", help="The daemon. [env: LABCTL_URL]", show_default=False)]
File = Annotated[str, typer.Argument(metavar="JOB", help="A job file, YAML or JSON, or library:NAME.")]
Variables = Annotated[
    list[str] | None,
    typer.Option("--var", metavar="NAME=VALUE", help="What one of its vars is instead.", show_default=False),
]
Reason = Annotated[str, typer.Option(help="Goes into the event log.")]
Junit = Annotated[
    Path | None, typer.Option("--junit", help="Write a JUnit XML file; implies --wait.", show_default=False)
]


def run(
    job: File,
    *,
    wait: Annotated[bool, typer.Option("--wait", help="Show progress and wait for the verdict.")] = False,
    junit: Junit = None,
    var: Variables = None,
    key: Annotated[
        str | None,
        typer.Option("--idempotency-key", help="The same key again queues nothing more.", show_default=False),
    ] = None,
    as_json: Json = False,
    url: Url = None,
) -> None:
    """Submit a job. With --wait: exit 0 passed, 1 failed, 2 usage, 3 errored, 4 cancelled."""
    from labctl.cli.jobs import Wanted, run_job

    wanted = Wanted(job, tuple(var or ()), key)
    raise typer.Exit(run_job(url, wanted, wait=wait or junit is not None, junit=junit, as_json=as_json))


@jobs_app.callback()
def jobs(
    context: typer.Context,
    state: Annotated[str | None, typer.Option(help="queued, running or finished.", show_default=False)] = None,
    as_json: Json = False,
    url: Url = None,
) -> None:
    """The newest jobs."""
    if context.invoked_subcommand is None:
        from labctl.cli.listing import show_jobs

        raise typer.Exit(show_jobs(url, state, as_json=as_json))


@jobs_app.command("show")
def jobs_show(job: str, as_json: Json = False, url: Url = None) -> None:
    """One job, its lanes, measurements and artifacts."""
    from labctl.cli.jobs import show_job

    raise typer.Exit(show_job(url, job, as_json=as_json))


@jobs_app.command("why")
def jobs_why(job: str, as_json: Json = False, url: Url = None) -> None:
    """Why a job waits, or why it ended as it did: exit 0."""
    from labctl.cli.jobs import explain_job

    raise typer.Exit(explain_job(url, job, as_json=as_json))


@jobs_app.command("wait")
def jobs_wait(job: str, junit: Junit = None, as_json: Json = False, url: Url = None) -> None:
    """Show a job's progress until its verdict; exit codes as of `labctl run`. Ctrl-C leaves the job alone."""
    from labctl.cli.jobs import await_job

    raise typer.Exit(await_job(url, job, junit, as_json=as_json))


@jobs_app.command("cancel")
def jobs_cancel(job: str, reason: Reason = "", url: Url = None) -> None:
    """End a job; its teardown is done."""
    from labctl.cli.jobs import cancel_job

    raise typer.Exit(cancel_job(url, job, reason))


@jobs_app.command("rerun")
def jobs_rerun(
    job: str,
    *,
    wait: Annotated[bool, typer.Option("--wait", help="Show progress and wait for the verdict.")] = False,
    junit: Junit = None,
    as_json: Json = False,
    url: Url = None,
) -> None:
    """Queue a finished job anew, as it was."""
    from labctl.cli.jobs import rerun_job

    raise typer.Exit(rerun_job(url, job, wait=wait or junit is not None, junit=junit, as_json=as_json))


@jobs_app.command("check")
def jobs_check(job: File, var: Variables = None, as_json: Json = False, url: Url = None) -> None:
    """Say all that is wrong with a job file, and what it would run; queues nothing."""
    from labctl.cli.jobs import Wanted, check_job

    raise typer.Exit(check_job(url, Wanted(job, tuple(var or ()), None), as_json=as_json))


@jobs_app.command("library")
def jobs_library(
    name: Annotated[str | None, typer.Argument(help="Print this one.", show_default=False)] = None,
    as_json: Json = False,
) -> None:
    """The jobs that ship with the program; with a name, that job's file, to start from."""
    from labctl.cli.jobs import show_library

    raise typer.Exit(show_library(name, as_json=as_json))


@jobs_app.command("notify")
def jobs_notify(
    run: Annotated[str, typer.Argument(help="A run, or the job whose last run it is.")],
    signal: str,
    payload: Annotated[str | None, typer.Option(help="JSON that goes with it.", show_default=False)] = None,
    url: Url = None,
) -> None:
    """Say something to all lanes and programs of a run that wait for it."""
    from labctl.cli.jobs import notify_run

    raise typer.Exit(notify_run(url, run, signal, payload))
