"""The commands about who one is and who may do what, and their options; what they do stands in `labctl.cli.access`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

tokens_app = typer.Typer(help="API tokens of people, pipelines and devices.", no_args_is_help=True)
policy_app = typer.Typer(help="Policies: who may do what.", no_args_is_help=True)
audit_app = typer.Typer(help="The audit log: what was decided.", no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="One JSON document instead of text.")]
Url = Annotated[str | None, typer.Option("--url", help="The daemon. [env: LABCTL_URL]", show_default=False)]
Files = Annotated[list[Path], typer.Argument(help="Policy files, or folders of them.")]


@tokens_app.command("create")
def tokens_create(
    principal: Annotated[str, typer.Argument(help="Whose it is: a name such as anna or nightly-build.")],
    *,
    kind: Annotated[str, typer.Option(help="person, ci or device.")] = "person",
    administrator: Annotated[
        bool, typer.Option("--administrator", help="May do all that no policy denies. The first one must be.")
    ] = False,
    expires: Annotated[str, typer.Option(help="How long it works: 90d, 12h ..., or never.")] = "90d",
    note: Annotated[str, typer.Option(help="What it is for.")] = "",
    data: Annotated[
        Path | None,
        typer.Option(help="Data folder of a daemon that is not running, to make one there.", show_default=False),
    ] = None,
    database: Annotated[str | None, typer.Option(help="As of `labctl serve`; with --data.", show_default=False)] = None,
    as_json: Json = False,
    url: Url = None,
) -> None:
    """Issue a token. Its text goes to standard output, this once."""
    from labctl.cli.access import create_token, duration
    from labctl.cli.exits import USAGE, ExpectedError

    if kind not in ("person", "ci", "device"):
        raise ExpectedError(f"{kind!r} is no kind of principal; they are person, ci, device", USAGE)
    wanted = {
        "principal": principal,
        "kind": kind,
        "administrator": administrator,
        "duration_s": duration(expires),
        "note": note,
    }
    raise typer.Exit(create_token(url, wanted, data, database, as_json=as_json))


@tokens_app.command("list")
def tokens_list(
    principal: Annotated[str | None, typer.Option(help="Only those of this one.", show_default=False)] = None,
    as_json: Json = False,
    url: Url = None,
) -> None:
    """The tokens, without their secrets."""
    from labctl.cli.access import list_tokens

    raise typer.Exit(list_tokens(url, principal, as_json=as_json))


@tokens_app.command("rotate")
def tokens_rotate(
    token: Annotated[str, typer.Argument(help="Its id, the 12 characters after labctl_.")],
    overlap: Annotated[str, typer.Option(help="How long the old one still works: 24h, 0 ...")] = "24h",
    as_json: Json = False,
    url: Url = None,
) -> None:
    """Put a new token in the place of one, which goes on working for a while."""
    from labctl.cli.access import duration, rotate_token

    overlap_s = 0.0 if overlap == "0" else duration(overlap) or 0.0
    raise typer.Exit(rotate_token(url, token, overlap_s, as_json=as_json))


@tokens_app.command("revoke")
def tokens_revoke(token: Annotated[str, typer.Argument(help="Its id.")], url: Url = None) -> None:
    """Let a token work no more."""
    from labctl.cli.access import revoke_token

    raise typer.Exit(revoke_token(url, token))


@policy_app.command("explain")
def policy_explain(
    user: Annotated[str, typer.Argument(help="NAME or KIND:NAME, such as anna or ci:nightly.")],
    action: Annotated[str, typer.Argument(help="Such as leases.release or read.")],
    resource: Annotated[str, typer.Argument(help="KIND:NAME, such as device:robot-1.")],
    *,
    owner: Annotated[str | None, typer.Option(help="To whom the resource belongs.", show_default=False)] = None,
    label: Annotated[
        list[str] | None, typer.Option(help="KEY=VALUE of the resource; those of the device unless given.")
    ] = None,
    at: Annotated[str | None, typer.Option(help="When, as ISO 8601 with zone; now unless given.")] = None,
    file: Annotated[
        list[Path] | None, typer.Option(help="Ask these policy files instead of the daemon.", show_default=False)
    ] = None,
    as_json: Json = False,
    url: Url = None,
) -> None:
    """Whether somebody may, and the statement that decides, with file and line. Exit 0 allowed, 1 denied."""
    from labctl.cli.access import explain_decision

    question = {"principal": user, "action": action, "resource": resource, "owner": owner, "at": at}
    raise typer.Exit(explain_decision(url, file or [], question, label or [], as_json=as_json))


@policy_app.command("check")
def policy_check(files: Files, as_json: Json = False) -> None:
    """Say what is wrong with policy files, with file, line and column; needs no daemon."""
    from labctl.cli.access import check_policies

    raise typer.Exit(check_policies(files, as_json=as_json))


@policy_app.command("show")
def policy_show(as_json: Json = False, url: Url = None) -> None:
    """The statements in force."""
    from labctl.cli.access import show_policies

    raise typer.Exit(show_policies(url, as_json=as_json))


@policy_app.command("reload")
def policy_reload(as_json: Json = False, url: Url = None) -> None:
    """Let the daemon read its policy files again; with an error in one, the old ones stay in force."""
    from labctl.cli.access import reload_policies

    raise typer.Exit(reload_policies(url, as_json=as_json))


@audit_app.command("list")
def audit_list(
    *,
    principal: Annotated[str | None, typer.Option(help="KIND:NAME", show_default=False)] = None,
    action: Annotated[str | None, typer.Option(show_default=False)] = None,
    denied: Annotated[bool, typer.Option("--denied", help="Only what was denied.")] = False,
    count: Annotated[int, typer.Option(min=1, max=1000, help="How many.")] = 50,
    as_json: Json = False,
    url: Url = None,
) -> None:
    """The newest decisions; leave to read is not written down."""
    from labctl.cli.access import list_audit

    filters = {"principal": principal, "action": action, "allowed": False if denied else None}
    raise typer.Exit(list_audit(url, filters, count, as_json=as_json))


@audit_app.command("verify")
def audit_verify(
    known: Annotated[str | None, typer.Option(help="A head that was noted down earlier.", show_default=False)] = None,
    as_json: Json = False,
    url: Url = None,
) -> None:
    """Whether the audit log is whole. Exit 1 when a row was changed, left out or put in."""
    from labctl.cli.access import verify_audit

    raise typer.Exit(verify_audit(url, known, as_json=as_json))


def add_to(app: typer.Typer) -> None:
    """Put these commands into the program."""
    for name, sub in (("tokens", tokens_app), ("policy", policy_app), ("audit", audit_app)):
        app.add_typer(sub, name=name)

    @app.command()
    def login(
        ca: Annotated[
            Path | None, typer.Option(help="The certificate authority of its https.", show_default=False)
        ] = None,
        url: Url = None,
    ) -> None:
        """Keep a token for a daemon in your own configuration; asks for it, or reads it from standard input."""
        from labctl.cli.access import log_in

        raise typer.Exit(log_in(url, ca))

    @app.command()
    def logout(url: Url = None) -> None:
        """Forget the token for a daemon."""
        from labctl.cli.access import log_out

        raise typer.Exit(log_out(url))

    @app.command()
    def whoami(as_json: Json = False, url: Url = None) -> None:
        """Whom the daemon takes you for."""
        from labctl.cli.access import who_am_i

        raise typer.Exit(who_am_i(url, as_json=as_json))
