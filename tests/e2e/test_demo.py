"""The main job from one command: bench, guard, daemon, course, verdict, report; and nothing left running."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.alone  # four times as fast as real time: it needs the machine
DEMO = [sys.executable, "-m", "labctl", "demo", "--json"]


def processes_about(folder: Path) -> list[str]:
    """Command lines of processes that have to do with a demo in `folder`."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = entry.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(folder) in line:
            found.append(line)
    return found


def test_the_demo_drives_the_course_and_ends_with_one_json_object(tmp_path: Path) -> None:
    ran = subprocess.run([*DEMO, "--out", str(tmp_path)], capture_output=True, text=True, check=False)
    (line,) = ran.stdout.splitlines()
    result = json.loads(line)
    assert (ran.returncode, result["verdict"], result["course"]) == (0, "passed", "standard"), ran.stderr
    assert [each["label"] for each in result["points"]] == ["A", "B", "C", "D", "E", "F"]
    assert result["distance_m"] >= 6
    assert result["docking"]["docked"]
    assert result["consistency"]["outcome"] == "consistent"
    assert Path(result["report"]).read_text(encoding="utf-8").startswith("<!doctype html>")
    kept = {path.name for path in tmp_path.iterdir()}
    assert kept >= {"recording.mcap", "report.html", "lidar.tum", "odometry.tum", "result.json"}
    assert "docked after" in ran.stderr
    assert processes_about(tmp_path) == []

    replay = [sys.executable, "-m", "labctl", "course", "replay", str(tmp_path / "recording.mcap"), "--json"]
    again = subprocess.run([*replay, "--out", str(tmp_path)], capture_output=True, text=True, check=False)
    replayed = json.loads(again.stdout)
    assert (again.returncode, replayed["verdict"]) == (0, "passed")
    assert replayed["points"] == result["points"]


def test_ctrl_c_cancels_the_course_and_leaves_nothing_running(tmp_path: Path) -> None:
    # The tests themselves may have been started so that they ignore it.
    command = ["env", "--default-signal=INT", *DEMO, "--out", str(tmp_path)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as demo:
        assert demo.stderr is not None
        told = ""
        while "leg A-B" not in told:
            told = demo.stderr.readline()
            assert told, "the demo ended before it drove"
        os.killpg(demo.pid, signal.SIGINT)
        out, err = demo.communicate(timeout=60)
    assert "Traceback" not in err
    assert (demo.returncode, json.loads(out)["verdict"]) == (4, "cancelled")
    give_up = time.monotonic() + 10
    while processes_about(tmp_path) and time.monotonic() < give_up:
        time.sleep(0.1)
    assert processes_about(tmp_path) == []
