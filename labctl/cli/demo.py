"""`labctl demo`: a simulated robot on real wires, a daemon, the standard course, a verdict with a report."""

from __future__ import annotations

import json
import shutil
import signal
from importlib import resources
from pathlib import Path
from types import FrameType
from typing import Any

from labctl.cli.awaiting import run_to_the_end
from labctl.cli.connecting import connected
from labctl.cli.courses import collect, course_job, report
from labctl.cli.daemon_child import daemon_child
from labctl.cli.exits import OF_VERDICT, ExpectedError
from labctl.cli.installation import check_top_level_packages
from labctl.cli.output import note
from labctl.cli.pace import fitting_pace

COURSE = "standard"
ROOM = "standard"
ROBOT = "robot-1"


def run_demo(out: Path, time_scale: float | None, seed: int, *, as_json: bool) -> int:
    """Run it all and end it all. Files go to `out`; what an earlier demo left there is replaced.

    `time_scale`: None takes what this machine has the cores for.
    """
    check_top_level_packages()
    from drivers.errors import DeviceError
    from drivers.sim import Bench

    signal.signal(signal.SIGTERM, _interrupt)
    work = out / "lab"
    try:
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        time_scale = fitting_pace() if time_scale is None else time_scale
        note(f"starting a simulated robot in the room {ROOM}, {time_scale:g} times as fast as real time")
        with Bench(ROOM, time_scale, seed) as bench:
            lab_file = work / "lab.yaml"
            robot = bench.robots[0]
            calibration = work / "robot-1.yaml"
            calibration.write_text(bench_calibration(), encoding="utf-8")
            text = lab_file_text(robot.base_url, robot.lidar_url, time_scale, calibration.name)
            lab_file.write_text(text, encoding="utf-8")
            note("starting the lab's daemon")
            with daemon_child(lab_file, work / "data", work / "daemon.log") as daemon, connected(daemon.url) as lab:
                job = json.dumps(course_job(COURSE, ROBOT))
                finished = run_to_the_end(lab, lambda: lab.submit(job, source="demo"))
                result = collect(lab, finished, out)
    except DeviceError as exc:
        raise ExpectedError(str(exc)) from None
    except OSError as exc:
        raise ExpectedError(f"cannot write to {out}: {exc}") from None
    report(finished, result, as_json=as_json)
    return OF_VERDICT[finished["verdict"]]


def bench_calibration() -> str:
    """The calibration of the bench's robot that ships with the program."""
    return (resources.files("courses") / "library" / "calibrations" / "bench.yaml").read_text(encoding="utf-8")


def lab_file_text(base_url: str, lidar_url: str, time_scale: float, calibration: str | None = None) -> str:
    """A lab of one simulated robot in one room."""
    robot: dict[str, Any] = {
        "kind": "robot",
        "room": "corridor",
        "labels": {"model": "create2"},
        "simulated": True,
        "time_scale": time_scale,
        "base": {"driver": "create2", "url": base_url},
        "lidar": {"driver": "scip", "url": lidar_url, "rules": {"mount_x_m": 0.1}},
    }
    if calibration is not None:
        robot["calibration"] = calibration
    lab = {"lab": "demo", "devices": {"corridor": {"kind": "room", "map": ROOM}, ROBOT: robot}}
    return json.dumps(lab, indent=2) + "\n"


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
