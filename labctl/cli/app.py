"""The commands and their options; what they do stands in the other modules, imported when a command runs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from labctl.cli import access_commands, lease_commands
from labctl.cli.audio_commands import audio_app
from labctl.cli.exits import USAGE
from labctl.cli.host_commands import hosts_app
from labctl.cli.job_commands import jobs_app, run
from labctl.cli.session_commands import sessions_app
from labctl.cli.webhook_commands import webhooks_app

app = typer.Typer(
    name="labctl",
    help="Runs a hardware-in-the-loop device lab.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # drawing the help with rich doubles what --help costs
    context_settings={"help_option_names": ["-h", "--help"]},
)
robots_app = typer.Typer(help="Robots: how they are, emergency stop.", invoke_without_command=True)
course_app = typer.Typer(help="Driving courses.", no_args_is_help=True)
lidar_app = typer.Typer(help="LiDARs.", no_args_is_help=True)
for name, sub in (
    ("robots", robots_app),
    ("hosts", hosts_app),
    ("course", course_app),
    ("lidar", lidar_app),
    ("jobs", jobs_app),
    ("sessions", sessions_app),
    ("audio", audio_app),
    ("webhooks", webhooks_app),
):
    app.add_typer(sub, name=name)

access_commands.add_to(app)
lease_commands.add_to(app)

Json = Annotated[bool, typer.Option("--json", help="One JSON document instead of text.")]
Url = Annotated[str | None, typer.Option("--url", help="The daemon. [env: LABCTL_URL]", show_default=False)]
Out = Annotated[Path | None, typer.Option("--out", help="Folder for the results.", show_default=False)]


@app.command()
def demo(
    as_json: Json = False,
    out: Annotated[Path, typer.Option("--out", help="Folder for the results.")] = Path("out/demo"),
    time_scale: Annotated[
        float | None,
        typer.Option(
            min=0.1,
            max=10,
            show_default=False,
            help="How much faster than real time; unless given 4, on a busy machine less.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the simulated noise and slip.")] = 0,
) -> None:
    """Drive the standard course on a simulated robot, and judge it."""
    from labctl.cli.demo import run_demo

    raise typer.Exit(run_demo(out, time_scale, seed, as_json=as_json))


@app.command()
def serve(
    *,
    lab: Annotated[Path, typer.Option("--lab", help="The lab file.")],
    host: Annotated[str, typer.Option(help="Address to listen on; beyond loopback with TLS or a proxy.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8470,
    data: Annotated[Path, typer.Option(help="Folder of the lab's state.")] = Path("labctl-data"),
    database: Annotated[
        str | None, typer.Option(help="sqlite:/// or postgresql:// URL; DATA/lab.db unless given.", show_default=False)
    ] = None,
    tls_cert: Annotated[
        Path | None, typer.Option(help="Certificate with its chain, PEM: answer https.", show_default=False)
    ] = None,
    tls_key: Annotated[Path | None, typer.Option(help="The certificate's key, PEM.", show_default=False)] = None,
    behind_proxy: Annotated[
        bool, typer.Option("--behind-proxy", help="A proxy does TLS; all requests need a token.")
    ] = False,
    advertise: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Where others reach it, if not where it listens.", show_default=False),
    ] = None,
    parent: Annotated[
        int | None, typer.Option(metavar="PID", help="End when this parent process is gone.", show_default=False)
    ] = None,
) -> None:
    """Run the lab's daemon."""
    from labctl.cli.serving import run_daemon_process

    protection = (tls_cert, tls_key, behind_proxy)
    raise typer.Exit(
        run_daemon_process(lab, host, port, data, database, parent=parent, protection=protection, advertise=advertise)
    )


app.command()(run)


@robots_app.callback()
def robots(context: typer.Context, as_json: Json = False, url: Url = None) -> None:
    """How the robots are."""
    if context.invoked_subcommand is None:
        from labctl.cli.listing import show_robots

        raise typer.Exit(show_robots(url, as_json=as_json))


@robots_app.command("estop")
def robots_estop(name: str, reason: Annotated[str, typer.Option(help="Why.")] = "", url: Url = None) -> None:
    """Emergency stop: the robot stops now and stays stopped until it is reset."""
    from labctl.cli.robots import emergency_stop

    raise typer.Exit(emergency_stop(url, name, reason))


@robots_app.command("reset")
def robots_reset(
    name: str,
    reason: Annotated[str, typer.Option(help="Why it is safe to move again.")],
    person: Annotated[str | None, typer.Option(help="Who stands at the robot; you unless given.")] = None,
    url: Url = None,
) -> None:
    """Take an emergency stop off, standing at the robot's side."""
    from labctl.cli.robots import reset_emergency_stop

    raise typer.Exit(reset_emergency_stop(url, name, person, reason))


@robots_app.command("preflight")
def robots_preflight(name: str, as_json: Json = False, url: Url = None) -> None:
    """Look at everything: battery, emergency stop, LiDAR age, clock offset, pose. Exit 0 well, 3 not."""
    from labctl.cli.robots import preflight

    raise typer.Exit(preflight(url, name, as_json=as_json))


@robots_app.command("acknowledge")
def robots_acknowledge(
    name: str,
    reason: Annotated[str, typer.Option(help="Why it may be used again.")],
    person: Annotated[str | None, typer.Option(help="Who says so; you unless given.")] = None,
    url: Url = None,
) -> None:
    """Take a robot out of quarantine, after a preflight that passed."""
    from labctl.cli.robots import acknowledge

    raise typer.Exit(acknowledge(url, name, person, reason))


@robots_app.command("return")
def robots_return(name: str, reason: Annotated[str, typer.Option(help="Why.")], url: Url = None) -> None:
    """Drive a robot that is withheld slowly to its dock, as long as you hold a key."""
    from labctl.cli.returning import return_to_dock

    raise typer.Exit(return_to_dock(url, name, reason))


@course_app.command("run")
def course_run(
    course: Annotated[str, typer.Argument(help="Name of a course that ships with the program, or a course file.")],
    robot: Annotated[str | None, typer.Option(help="Which robot; any free one unless given.")] = None,
    out: Out = None,
    as_json: Json = False,
    url: Url = None,
) -> None:
    """Take a robot of the lab round a course; exit codes as of `labctl run`."""
    from labctl.cli.courses import run_on_robot

    raise typer.Exit(run_on_robot(url, course, robot, out, as_json=as_json))


@course_app.command("replay")
def course_replay(
    log: Annotated[Path, typer.Argument(help="A recording of a course (.mcap), or a CARMEN log, also gzipped.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for the report.")] = Path("out/replay"),
    as_json: Json = False,
) -> None:
    """Judge a recorded drive; needs no daemon. Exit codes as of `labctl run`."""
    from labctl.cli.courses import replay_log

    raise typer.Exit(replay_log(log, out, as_json=as_json))


@course_app.command("calibrate")
def course_calibrate(
    recordings: Annotated[list[Path], typer.Argument(help="Recordings (.mcap) of the calibration course, 10 or more.")],
    out: Annotated[Path, typer.Option("--out", help="The calibration file to write.")] = Path("calibration.yaml"),
    range_bias_mm: Annotated[
        float, typer.Option(min=0, max=500, help="Standard uncertainty of the LiDAR's common range error.")
    ] = 0.0,
    as_json: Json = False,
) -> None:
    """Estimate a robot's wheels, LiDAR mount and slip from recorded courses; needs no daemon."""
    from labctl.cli.calibrating import calibrate_robot

    raise typer.Exit(calibrate_robot(recordings, out, range_bias_mm, as_json=as_json))


@course_app.command("list")
def course_list(as_json: Json = False) -> None:
    """The courses that ship with the program."""
    from labctl.cli.courses import list_courses

    raise typer.Exit(list_courses(as_json=as_json))


@lidar_app.command("scan")
def lidar_scan(
    address: Annotated[str, typer.Argument(metavar="URL", help="tcp://host:10940 or serial:///dev/ttyACM0")],
    count: Annotated[int, typer.Option(min=1, max=100_000, help="How many scans.")] = 1,
    as_json: Json = False,
) -> None:
    """Take scans from a Hokuyo LiDAR; needs no daemon."""
    from labctl.cli.lidar import scan

    raise typer.Exit(scan(address, count, as_json=as_json))


@app.command()
def watch(
    after: Annotated[
        int | None, typer.Option(min=0, help="Begin after this event; with the next one unless given.")
    ] = None,
    as_json: Json = False,
    url: Url = None,
) -> None:
    """Show events as they happen, until Ctrl-C."""
    from labctl.cli.watching import watch_events

    raise typer.Exit(watch_events(url, after, as_json=as_json))


@app.command()
def doctor(
    lab: Annotated[Path | None, typer.Option("--lab", help="A lab file to check as well.", show_default=False)] = None,
    as_json: Json = False,
) -> None:
    """Say what is missing on this machine, and the command that mends it."""
    from labctl.cli.doctor import examine

    raise typer.Exit(examine(lab, as_json=as_json))


def _version(wanted: bool) -> None:
    if wanted:
        from labctl import __version__

        print(f"labctl {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    _version_: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Runs a hardware-in-the-loop device lab."""


def run_cli() -> int:
    """Run the command line; returns the exit code."""
    from labctl.cli.exits import INTERRUPTED, ExpectedError

    try:
        app()
    except SystemExit as exc:
        return exc.code if isinstance(exc.code, int) else USAGE
    except ExpectedError as exc:
        print(f"labctl: {exc}", file=sys.stderr)
        return exc.code
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        return 0
    return 0
