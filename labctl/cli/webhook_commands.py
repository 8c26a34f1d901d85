"""`labctl webhooks` with its options; what it does stands in `labctl.cli.webhooks`."""

from __future__ import annotations

from typing import Annotated

import typer

webhooks_app = typer.Typer(
    help="Webhooks: other servers that are told of events; how each was told.", invoke_without_command=True
)

Json = Annotated[bool, typer.Option("--json", help="One JSON document instead of text.")]
Url = Annotated[str | None, typer.Option("--url", help="The daemon. [env: LABCTL_URL]", show_default=False)]


@webhooks_app.callback()
def webhooks(context: typer.Context, as_json: Json = False, url: Url = None) -> None:
    """All webhooks, how many events each was told of, and what went wrong last."""
    if context.invoked_subcommand is None:
        from labctl.cli.webhooks import list_webhooks

        raise typer.Exit(list_webhooks(url, as_json=as_json))


@webhooks_app.command("add")
def webhooks_add(
    address: Annotated[str, typer.Argument(metavar="ADDRESS", help="Where events are posted: https://...")],
    *,
    kind: Annotated[
        list[str] | None,
        typer.Option(help='Of events, such as "job.finished", "device.*" or "*".', show_default="job.finished"),
    ] = None,
    job: Annotated[str | None, typer.Option(help="Only those of this job.", show_default=False)] = None,
    as_json: Json = False,
    url: Url = None,
) -> None:
    """Tell a server of events from now on. The secret that signs them goes to standard output, this once."""
    from labctl.cli.webhooks import add_webhook

    raise typer.Exit(add_webhook(url, address, kind or [], job, as_json=as_json))


@webhooks_app.command("remove")
def webhooks_remove(webhook: str, url: Url = None) -> None:
    """Tell it nothing any more."""
    from labctl.cli.webhooks import remove_webhook

    raise typer.Exit(remove_webhook(url, webhook))


@webhooks_app.command("test")
def webhooks_test(webhook: str, as_json: Json = False, url: Url = None) -> None:
    """Send it an event of the kind webhook.test: exit 0 when it is taken, 3 when not."""
    from labctl.cli.webhooks import test_webhook

    raise typer.Exit(test_webhook(url, webhook, as_json=as_json))


@webhooks_app.command("deliveries")
def webhooks_deliveries(
    webhook: str,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="So many at most.")] = 50,
    as_json: Json = False,
    url: Url = None,
) -> None:
    """The newest events for it, and what became of each."""
    from labctl.cli.webhooks import list_deliveries

    raise typer.Exit(list_deliveries(url, webhook, limit, as_json=as_json))


@webhooks_app.command("retry")
def webhooks_retry(
    webhook: str,
    event: Annotated[
        int | None, typer.Argument(help="Send this one, whatever became of it.", show_default=False)
    ] = None,
    as_json: Json = False,
    url: Url = None,
) -> None:
    """Try what was not taken again now; or send one event again: exit 0 when it is taken, 3 when not."""
    from labctl.cli.webhooks import retry_webhook

    raise typer.Exit(retry_webhook(url, webhook, event, as_json=as_json))
