"""`labctl sessions`: WebDriver sessions that are open, and requests for one that wait."""

from __future__ import annotations

from typing import Annotated

import typer

sessions_app = typer.Typer(help="WebDriver sessions: open ones, waiting requests.", invoke_without_command=True)

Json = Annotated[bool, typer.Option("--json", help="One JSON document instead of text.")]
Url = Annotated[str | None, typer.Option("--url", help="The daemon. [env: LABCTL_URL]", show_default=False)]


@sessions_app.callback()
def sessions(context: typer.Context, as_json: Json = False, url: Url = None) -> None:
    """WebDriver sessions that are open, and requests for one that wait, each with the reason."""
    if context.invoked_subcommand is None:
        from labctl.cli.sessions import show_sessions

        raise typer.Exit(show_sessions(url, as_json=as_json))


@sessions_app.command("end")
def sessions_end(
    session: str, reason: Annotated[str, typer.Option(help="Goes into the event log.")] = "", url: Url = None
) -> None:
    """End a session now: keys are let go, the device is free, its run is cancelled."""
    from labctl.cli.sessions import end_session

    raise typer.Exit(end_session(url, session, reason))
