"""The commands about hosts and their options; what they do stands in `labctl.cli.hosts` and `labctl.cli.terminal`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

hosts_app = typer.Typer(help="Hosts: commands, files, consoles, power, health.", invoke_without_command=True)

Json = Annotated[bool, typer.Option("--json", help="One JSON document instead of text.")]
Url = Annotated[str | None, typer.Option("--url", help="The daemon. [env: LABCTL_URL]", show_default=False)]
Name = Annotated[str, typer.Argument(metavar="HOST", help="A host of the lab file.")]
Words = Annotated[
    list[str], typer.Argument(metavar="COMMAND", help="After --. One word is a line for the shell, several are not.")
]
Force = Annotated[bool, typer.Option("--despite-lease", help="Also while somebody else holds the host.")]
Timeout = Annotated[
    float | None, typer.Option("--timeout", min=0.001, help="Kill it after so many seconds.", show_default=False)
]
Delete = Annotated[bool, typer.Option("--delete", help="Remove what only the target has.")]
Back = Annotated[bool, typer.Option("--from-host", help="The other way round: HOST's folder comes here.")]
Ignore = Annotated[
    list[str] | None, typer.Option("--ignore", help="Leave this out, a pattern as in .gitignore.", show_default=False)
]


@hosts_app.callback()
def hosts(context: typer.Context, as_json: Json = False, url: Url = None) -> None:
    """The hosts and their connections."""
    if context.invoked_subcommand is None:
        hosts_list(as_json, url)


@hosts_app.command("list")
def hosts_list(as_json: Json = False, url: Url = None) -> None:
    """The hosts and their connections."""
    from labctl.cli.hosts import list_hosts

    raise typer.Exit(list_hosts(url, as_json=as_json))


@hosts_app.command("status")
def hosts_status(name: Name, as_json: Json = False, url: Url = None) -> None:
    """One host: connection, forwards, consoles. Exit 1 when it is down."""
    from labctl.cli.hosts import show_status

    raise typer.Exit(show_status(url, name, as_json=as_json))


@hosts_app.command("health")
def hosts_health(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[HOST]...", help="All unless given.", show_default=False)
    ] = None,
    as_json: Json = False,
    url: Url = None,
) -> None:
    """Ask all hosts at once: disk, load, memory, temperature, clock, packages, units. Exit 1 when one is not well."""
    from labctl.cli.hosts import show_health

    raise typer.Exit(show_health(url, names or [], as_json=as_json))


@hosts_app.command("exec")
def hosts_exec(
    name: Annotated[str, typer.Argument(metavar="HOST[,HOST]...", help="Hosts of the lab file, or: all")],
    command: Words,
    timeout: Timeout = None,
    despite_lease: Force = False,
    url: Url = None,
) -> None:
    """Run a command; the exit status is its own. Ctrl-C ends it there, with all that it started."""
    from labctl.cli.hosts import execute

    line = command[0] if len(command) == 1 else command
    raise typer.Exit(execute(url, name.split(","), line, timeout, despite_lease=despite_lease))


@hosts_app.command("run")
def hosts_run(
    name: Name,
    command: Words,
    *,
    project: Annotated[Path, typer.Option("--project", help="The folder to upload.")] = Path(),
    folder: Annotated[str, typer.Option("--folder", help="Where it goes on the host.", show_default=False)] = "",
    results: Annotated[str, typer.Option("--results", help="Its folder that is fetched afterwards.")] = "results",
    timeout: Timeout = None,
    despite_lease: Force = False,
    url: Url = None,
) -> None:
    """Upload this folder, run a command in it there, fetch its results. Leaves out what .labctlignore names."""
    from labctl.cli.hosts import run_project

    raise typer.Exit(
        run_project(
            url,
            name,
            command,
            project,
            folder=folder,
            results=results,
            timeout_s=timeout,
            despite_lease=despite_lease,
        )
    )


@hosts_app.command("shell")
def hosts_shell(name: Name, despite_lease: Force = False, url: Url = None) -> None:
    """A login shell in this terminal."""
    from labctl.cli.terminal import open_shell

    raise typer.Exit(open_shell(url, name, despite_lease=despite_lease))


@hosts_app.command("console")
def hosts_console(
    name: Name,
    console: Annotated[str | None, typer.Argument(help="Which, where it has several.", show_default=False)] = None,
    log: Annotated[int, typer.Option("--log", min=0, help="Print the last bytes of its log instead.")] = 0,
    despite_lease: Force = False,
    url: Url = None,
) -> None:
    """A serial console in this terminal, until Ctrl-]. What it says is logged all the time."""
    from labctl.cli.exits import USAGE, ExpectedError
    from labctl.cli.terminal import attach_console, print_console_log

    if log and console is None:
        raise ExpectedError(f"say which console: labctl hosts console {name} CONSOLE --log {log}", USAGE)
    if log and console is not None:
        raise typer.Exit(print_console_log(url, name, console, log))
    raise typer.Exit(attach_console(url, name, console, despite_lease=despite_lease))


@hosts_app.command("get")
def hosts_get(
    name: Name,
    source: Annotated[str, typer.Argument(help="A file of the host.")],
    target: Annotated[Path, typer.Argument(help="Here.")] = Path(),
    despite_lease: Force = False,
    url: Url = None,
) -> None:
    """Copy a file from a host; after a cut the same command goes on where it was."""
    from labctl.cli.hosts import copy_file

    raise typer.Exit(copy_file(url, name, source, str(target), outward=False, despite_lease=despite_lease))


@hosts_app.command("put")
def hosts_put(
    name: Name,
    source: Annotated[Path, typer.Argument(help="A file here.")],
    target: Annotated[str, typer.Argument(help="On the host; ~/ is the account's home.")],
    despite_lease: Force = False,
    url: Url = None,
) -> None:
    """Copy a file to a host; after a cut the same command goes on where it was."""
    from labctl.cli.hosts import copy_file

    raise typer.Exit(copy_file(url, name, str(source), target, outward=True, despite_lease=despite_lease))


@hosts_app.command("sync")
def hosts_sync(
    name: Name,
    source: Annotated[str, typer.Argument(help="A folder here; with --from-host one of the host.")],
    target: Annotated[str, typer.Argument(help="A folder of the host; with --from-host one here.")],
    *,
    delete: Delete = False,
    from_host: Back = False,
    ignore: Ignore = None,
    despite_lease: Force = False,
    url: Url = None,
) -> None:
    """Keep a folder in step: only what changed moves, removals on request."""
    from labctl.cli.hosts import sync_folder

    raise typer.Exit(
        sync_folder(
            url,
            name,
            source,
            target,
            outward=not from_host,
            delete=delete,
            ignore=ignore or [],
            despite_lease=despite_lease,
        )
    )


@hosts_app.command("forward")
def hosts_forward(
    name: Name,
    remote: Annotated[str, typer.Argument(help="A port of the host, or address:port as the host sees it.")],
    local: Annotated[int, typer.Option("--local", min=0, max=65535, help="Local port; 0 takes a free one.")] = 0,
    despite_lease: Force = False,
    url: Url = None,
) -> None:
    """A local port that leads through a host, until Ctrl-C; printed first."""
    from labctl.cli.terminal import forward

    raise typer.Exit(forward(url, name, remote, local, despite_lease=despite_lease))


@hosts_app.command("trust")
def hosts_trust(
    name: Name,
    fingerprint: Annotated[
        str | None, typer.Option("--fingerprint", help="SHA256:..., as compared at the host.", show_default=False)
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Another key was trusted before.")] = False,
    url: Url = None,
) -> None:
    """Trust a host's key from now on, after it was compared at the host itself."""
    from labctl.cli.hosts import trust

    raise typer.Exit(trust(url, name, fingerprint, replace=replace))


@hosts_app.command("reboot")
def hosts_reboot(
    name: Name,
    timeout: Annotated[float, typer.Option("--timeout", min=1, max=3600, help="Seconds until it must be back.")] = 300,
    despite_lease: Force = False,
    url: Url = None,
) -> None:
    """Restart a host and wait until another boot of it answers."""
    from labctl.cli.hosts import restart

    raise typer.Exit(restart(url, name, timeout, despite_lease=despite_lease))


@hosts_app.command("power")
def hosts_power(
    name: Name,
    what: Annotated[str, typer.Argument(help="show, on, off or cycle.")] = "show",
    *,
    pause: Annotated[float, typer.Option("--pause", min=0, max=600, help="Seconds off, of a cycle.")] = 3.0,
    despite_lease: Force = False,
    as_json: Json = False,
    url: Url = None,
) -> None:
    """Switch a host's power, or show it."""
    from labctl.cli.exits import USAGE, ExpectedError
    from labctl.cli.hosts import switch_power

    if what not in ("show", "on", "off", "cycle"):
        raise ExpectedError(f"{what!r} is nothing a power switch does; say show, on, off or cycle", USAGE)
    raise typer.Exit(switch_power(url, name, what, pause, as_json=as_json, despite_lease=despite_lease))
