"""`labctl lease`, `reserve`, `leases`, `devices`, `daemons` with their options; what they do: `labctl.cli.leases`."""

from __future__ import annotations

from typing import Annotated

import typer

leases_app = typer.Typer(help="Leases: who holds what, since when, until when.", invoke_without_command=True)
devices_app = typer.Typer(help="Devices: how they are, who holds them; maintenance.", invoke_without_command=True)

Json = Annotated[bool, typer.Option("--json", help="One JSON document instead of text.")]
Url = Annotated[str | None, typer.Option("--url", help="The daemon. [env: LABCTL_URL]", show_default=False)]
Names = Annotated[list[str] | None, typer.Argument(metavar="DEVICE...", help="Names; or say what it must be.")]
Kind = Annotated[str | None, typer.Option(help="Any of this kind.", show_default=False)]
Labels = Annotated[
    list[str] | None, typer.Option("--label", metavar="KEY=VALUE", help="That has this label.", show_default=False)
]
For = Annotated[str, typer.Option("--for", metavar="TIME", help='Such as "10m", "1h30m", "90s".')]


def lease(
    devices: Names = None,
    *,
    duration: For = "10m",
    kind: Kind = None,
    label: Labels = None,
    wait: Annotated[str, typer.Option(metavar="TIME", help="Wait for so long until it is free.")] = "0s",
    priority: Annotated[int, typer.Option(min=-100, max=100, help="A step is worth a minute of waiting.")] = 0,
    rooms: Annotated[bool, typer.Option(help="Take the devices' rooms too.")] = True,
    hold: Annotated[bool, typer.Option("--hold", help="Keep it until Ctrl-C; free soon if this program dies.")] = False,
    execute: Annotated[
        str | None,
        typer.Option(
            "--exec",
            metavar="COMMAND",
            help="Hold it while a command runs, which finds it in LABCTL_LEASE and LABCTL_DEVICES.",
            show_default=False,
        ),
    ] = None,
    as_json: Json = False,
    url: Url = None,
) -> None:
    """Take devices, all or none. Prints the lease; `labctl leases release` gives them back."""
    from labctl.cli.leases import Wanted, take

    wanted = Wanted(tuple(devices or ()), kind, tuple(label or ()), duration, wait, priority, rooms)
    raise typer.Exit(take(url, wanted, hold=hold, execute=execute, as_json=as_json))


def reserve(
    devices: Names = None,
    *,
    start: Annotated[str, typer.Option("--from", metavar="WHEN", help='ISO 8601 time, or in so long: "+2h".')],
    duration: For = "1h",
    kind: Kind = None,
    label: Labels = None,
    as_json: Json = False,
    url: Url = None,
) -> None:
    """Reserve devices for a time to come; the lease begins by itself then."""
    from labctl.cli.leases import Wanted, reserve_slot

    wanted = Wanted(tuple(devices or ()), kind, tuple(label or ()), duration)
    raise typer.Exit(reserve_slot(url, wanted, start, as_json=as_json))


def daemons(as_json: Json = False, url: Url = None) -> None:
    """The daemons that form the lab."""
    from labctl.cli.leases import show_daemons

    raise typer.Exit(show_daemons(url, as_json=as_json))


@leases_app.callback()
def leases(context: typer.Context, as_json: Json = False, url: Url = None) -> None:
    """Who holds what, since when, until when, for which job."""
    if context.invoked_subcommand is None:
        from labctl.cli.listing import show_leases

        raise typer.Exit(show_leases(url, as_json=as_json))


@leases_app.command("show")
def leases_show(lease: str, as_json: Json = False, url: Url = None) -> None:
    """One lease; of a waiting one, why it waits and when it likely starts."""
    from labctl.cli.leases import show_lease

    raise typer.Exit(show_lease(url, lease, as_json=as_json))


@leases_app.command("release")
def leases_release(
    lease: str,
    reason: Annotated[str, typer.Option(help="Told and kept; needed for somebody else's.")] = "",
    url: Url = None,
) -> None:
    """End a lease, a waiting request or a reservation now."""
    from labctl.cli.listing import release_lease

    raise typer.Exit(release_lease(url, lease, reason))


@leases_app.command("renew")
def leases_renew(lease: str, duration: For = "10m", url: Url = None) -> None:
    """Let a lease last for so long from now."""
    from labctl.cli.leases import renew_lease

    raise typer.Exit(renew_lease(url, lease, duration))


@leases_app.command("hand-over")
def leases_hand_over(
    lease: str, to: Annotated[str, typer.Argument(help="Who holds it from now on.")], url: Url = None
) -> None:
    """Give a lease to somebody else."""
    from labctl.cli.leases import hand_over

    raise typer.Exit(hand_over(url, lease, to))


@devices_app.callback()
def devices(
    context: typer.Context,
    kind: Annotated[str | None, typer.Option(help="Only this kind.", show_default=False)] = None,
    as_json: Json = False,
    url: Url = None,
) -> None:
    """What the lab has, how it is and who holds it."""
    if context.invoked_subcommand is None:
        from labctl.cli.listing import show_devices

        raise typer.Exit(show_devices(url, kind, as_json=as_json))


@devices_app.command("maintain")
def devices_maintain(
    device: str,
    reason: Annotated[str, typer.Option(help="Why; shown to who asks for it.")],
    end_lease: Annotated[bool, typer.Option("--end-lease", help="Take it from who holds it.")] = False,
    url: Url = None,
) -> None:
    """Take a device out of service."""
    from labctl.cli.leases import maintain

    raise typer.Exit(maintain(url, device, reason, end_lease=end_lease))


@devices_app.command("return")
def devices_return(device: str, url: Url = None) -> None:
    """Put a device back into service, from maintenance or quarantine."""
    from labctl.cli.leases import return_device

    raise typer.Exit(return_device(url, device))


def add_to(app: typer.Typer) -> None:
    """Let the program have these commands."""
    app.add_typer(leases_app, name="leases")
    app.add_typer(devices_app, name="devices")
    app.command()(lease)
    app.command()(reserve)
    app.command()(daemons)
