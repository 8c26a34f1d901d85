"""The command line: exit codes, plain words instead of tracebacks, and what it must not import."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from labctl.cli.daemon_child import daemon_child
from labctl.cli.exits import ExpectedError
from labctl.cli.progress import progress_line
from labctl.cli.watching import describe
from labctl.client import Lab, LabClientError

LAB = "lab: test\ndevices:\n  hall: {kind: room}\n  eye: {kind: lidar, url: 'tcp://127.0.0.1:1', room: hall}\n"
# A course on a device that is no robot: the lab's fault, and quickly so.
JOB = """
name: a course without a robot
roles: {robot: {device: eye}}
lanes: {robot: {steps: [{uses: drive.course, with: {course: standard}}]}}
"""


def labctl(
    *arguments: str, url: str = "http://127.0.0.1:1", cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "labctl", *arguments],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        cwd=cwd,
        env={**os.environ, "LABCTL_URL": url, "COLUMNS": "200"},
    )


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> object:
    """A daemon of its own process."""
    folder = tmp_path_factory.mktemp("lab")
    (folder / "lab.yaml").write_text(LAB, encoding="utf-8")
    with daemon_child(folder / "lab.yaml", folder / "data", folder / "daemon.log") as daemon:
        yield daemon.url


def test_help_imports_nothing_heavy() -> None:
    told = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "labctl", "--help"], capture_output=True, text=True, check=True
    )
    imported = {line.rpartition("|")[2].strip() for line in told.stderr.splitlines()}
    assert "labctl.cli.app" in imported
    assert not imported & {"numpy", "pydantic", "sqlalchemy", "fastapi", "httpx", "scipy", "drivers", "courses", "yaml"}
    for command in (
        "demo",
        "serve",
        "run",
        "devices",
        "leases",
        "jobs",
        "robots",
        "course",
        "lidar",
        "watch",
        "doctor",
    ):
        assert command in told.stdout


def test_the_client_works_where_folders_of_the_user_hide_our_packages(tmp_path: Path) -> None:
    for name in ("drivers", "courses"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise RuntimeError('not mine')\n", encoding="utf-8")
    code = "from labctl.client import Lab; import sys; Lab('http://127.0.0.1:1'); print('httpx' in sys.modules)"
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )  # fmt: skip
    assert (ran.stdout, ran.returncode) == ("False\n", 0)
    (tmp_path / "drivers" / "__init__.py").write_text("", encoding="utf-8")
    served = subprocess.run(
        [sys.executable, "-m", "labctl", "serve", "--lab", "lab.yaml"], capture_output=True, text=True, check=False,
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )  # fmt: skip
    assert served.returncode == 3
    assert "a folder of that name comes first in the search path" in served.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["--version"], 0, "labctl "),
        (["nonsense"], 2, "No such command"),
        (["devices"], 3, "start one with `labctl serve --lab FILE`"),
        (["serve", "--lab", "gone.yaml"], 2, "gone.yaml:1:1: cannot be read"),
        (["serve", "--lab", "lab.yaml", "--host", "0.0.0.0"], 2, "not listening on 0.0.0.0"),
        (["serve", "--lab", "lab.yaml", "--host", "nowhere"], 2, "is no address"),
        (["serve", "--lab", "lab.yaml", "--database", "mysql://192.0.2.1/x"], 2, "give sqlite:/// or postgresql://"),
        (["serve", "--lab", "lab.yaml", "--data", "lab.yaml"], 2, "cannot use the data folder"),
        (["run", "gone.yaml"], 2, "gone.yaml: cannot be read"),
        (["course", "run", "gone.yaml"], 2, "gone.yaml:1:1: cannot be read"),
        (["course", "replay", "gone.log"], 2, "gone.log"),
        (["course", "replay", "lab.yaml"], 2, "lab.yaml"),
        (["lidar", "scan", "tcp://127.0.0.1:1"], 3, "127.0.0.1"),
        (["lidar", "scan", "bogus"], 2, "'bogus' is no address of a LiDAR"),
        (["devices", "--url", "nonsense"], 2, "'nonsense' is no address of a daemon"),
        (["robots", "reset", "r"], 2, "--reason"),
    ],
)
def test_what_goes_wrong_is_said_plainly(tmp_path: Path, arguments: list[str], code: int, told: str) -> None:
    (tmp_path / "lab.yaml").write_text(LAB, encoding="utf-8")
    ran = labctl(*arguments, cwd=tmp_path)
    assert (ran.returncode, "Traceback" in ran.stderr) == (code, False), ran.stderr
    assert told in ran.stdout + ran.stderr


def test_a_port_that_is_in_use_is_told_before_anything_starts(tmp_path: Path) -> None:
    (tmp_path / "lab.yaml").write_text(LAB, encoding="utf-8")
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        ran = labctl("serve", "--lab", "lab.yaml", "--port", port, cwd=tmp_path)
    assert ran.returncode == 2
    assert f"cannot listen on 127.0.0.1 port {port}" in ran.stderr
    assert "choose another --port" in ran.stderr
    assert not (tmp_path / "labctl-data").exists()


def test_a_lab_file_that_is_no_mapping_is_said_plainly(tmp_path: Path) -> None:
    (tmp_path / "lab.yaml").write_text("- robot-1\n", encoding="utf-8")
    ran = labctl("serve", "--lab", "lab.yaml", cwd=tmp_path)
    assert ran.returncode == 2
    assert "lab.yaml:1:1: must be a mapping of keys to values (artifacts, devices, lab" in ran.stderr


def test_lists_are_tables_or_json(url: str) -> None:
    table = labctl("devices", url=url)
    assert "eye" in table.stdout
    assert "hall" in table.stdout
    listed = json.loads(labctl("devices", "--json", url=url).stdout)
    assert [(each["name"], each["kind"]) for each in listed] == [("eye", "lidar"), ("hall", "room")]
    for command in ("leases", "robots"):
        assert json.loads(labctl(command, "--json", url=url).stdout) == []


def test_a_job_that_errors_exits_with_3_and_writes_junit(url: str, tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text(JOB, encoding="utf-8")
    ran = labctl("run", "job.yaml", "--wait", "--json", "--junit", "out.xml", url=url, cwd=tmp_path)
    document = json.loads(ran.stdout)
    assert (ran.returncode, document["verdict"]) == (3, "errored")
    assert document["reason"] == "drive.course needs a robot; eye is a lidar"
    suite = ElementTree.parse(tmp_path / "out.xml").getroot()
    assert (suite.get("tests"), suite.get("errors"), suite.get("failures")) == ("1", "1", "0")
    shown = labctl("jobs", "show", document["id"], url=url)
    assert "ERRORED: a course without a robot" in shown.stdout


def test_a_wrong_job_is_a_usage_error_with_line_and_column(url: str, tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text(JOB.replace("roles", "rolls"), encoding="utf-8")
    ran = labctl("run", "job.yaml", url=url, cwd=tmp_path)
    assert ran.returncode == 2
    assert "job.yaml:3:1: at rolls unknown key; did you mean 'roles'?" in ran.stderr


def test_what_can_never_be_granted_is_refused_at_once(url: str) -> None:
    ran = labctl("course", "run", "standard", url=url)
    assert ran.returncode == 2
    assert "the lab has no devices that could fill this" in ran.stderr


def test_the_client_holds_a_lease_and_renews_it(url: str) -> None:
    with Lab(url) as lab:
        with lab.lease(["eye"], duration_s=1) as lease:
            first = lease.expires_at
            assert lease.devices == ["eye", "hall"]
            with pytest.raises(LabClientError, match="is held by local until") as refused:
                lab.lease(["hall"])
            assert refused.value.status == 409
            after = lab.latest_event()
            while lease.expires_at == first:
                assert lease.lost is None
                labctl_wait(lab, after)
        assert lab.leases() == []


def labctl_wait(lab: Lab, after: int) -> None:
    """Let a little time go by: a renewal makes no event."""
    lab.request("GET", "/api/v1/events", params={"after": after, "wait_s": 0.2})


def test_a_second_daemon_on_the_same_data_is_refused(tmp_path: Path) -> None:
    (tmp_path / "lab.yaml").write_text(LAB, encoding="utf-8")
    with daemon_child(tmp_path / "lab.yaml", tmp_path / "data", tmp_path / "first.log"):
        second = daemon_child(tmp_path / "lab.yaml", tmp_path / "data", tmp_path / "second.log")
        with pytest.raises(ExpectedError, match="is in use by the daemon with process id"):
            second.__enter__()


def test_doctor_looks_at_machine_and_lab_file(tmp_path: Path) -> None:
    (tmp_path / "lab.yaml").write_text("lab: a\ndevices: {}", encoding="utf-8")
    ran = labctl("doctor", "--json", "--lab", "lab.yaml", cwd=tmp_path)
    findings = {each["what"]: each for each in json.loads(ran.stdout)["findings"]}
    assert ran.returncode == 3
    assert findings["own packages"]["ok"]
    assert not findings["lab file"]["ok"]
    assert "lab.yaml:2:1: at devices" in findings["lab file"]["detail"]


def test_events_read_as_lines() -> None:
    event = {"time": "t", "sequence": 7, "device": None, "run": "r", "job": "j", "lease": None}
    finished = {**event, "kind": "job.finished", "data": {"verdict": "passed", "reason": ""}}
    assert describe(finished) == "t      7 job.finished     r verdict=passed"
    assert progress_line(finished) == "verdict: passed"
    assert progress_line({**event, "kind": "step.finished", "data": {"verdict": "passed"}}) is None
