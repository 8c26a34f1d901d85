"""`labctl lease`, `reserve`, `leases`, `devices` and `daemons` against a real daemon."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import Any

import pytest
from typer.testing import CliRunner

from labctl.cli.app import app
from labctl.cli.exits import ExpectedError
from labctl.client import Lab, LabClientError, Lease
from labctl.connection import Connection


@pytest.fixture(params=["sqlite"])
def database_url(request: pytest.FixtureRequest, tmp_path: object) -> str:
    """What the commands do does not depend on the database."""
    return f"sqlite:///{tmp_path}/lab.db"


def labctl(url: str, *arguments: str) -> str:
    done = CliRunner().invoke(app, [*arguments, "--url", url])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.stdout


def test_devices_are_taken_shown_prolonged_handed_over_and_given_back(url: str) -> None:
    lease = labctl(url, "lease", "left", "--for", "1h30m").split()[0]
    assert "hall, left" in labctl(url, "leases")
    assert json.loads(labctl(url, "leases", "show", lease, "--json"))["duration_s"] == 5400
    labctl(url, "leases", "renew", lease, "--for", "2h")
    labctl(url, "leases", "hand-over", lease, "bob")
    assert "bob" in labctl(url, "devices")
    with pytest.raises(ExpectedError, match="give a reason"):
        labctl(url, "leases", "release", lease)
    labctl(url, "leases", "release", lease, "--reason", "needed for the release")
    assert "nobody holds or waits" in labctl(url, "leases")


def test_any_device_of_a_kind_with_a_label_is_taken(url: str) -> None:
    taken = json.loads(labctl(url, "lease", "--kind", "lidar", "--label", "side=right", "--no-rooms", "--json"))
    assert taken["devices"] == ["right"]


def test_a_command_runs_while_the_lease_is_held(url: str) -> None:
    code = "import os, sys; sys.exit(0 if os.environ['LABCTL_DEVICES'] == 'alone' else 5)"
    labctl(url, "lease", "alone", "--exec", f'{sys.executable} -c "{code}"')
    with Lab(url) as lab:
        assert lab.leases() == []


TOLD = "import signal as s, sys; s.signal(s.SIGTERM, lambda *_: sys.exit(7)); print('here', flush=True); s.pause()"


def test_a_command_that_is_told_to_end_ends_with_its_lease(url: str) -> None:
    command = [sys.executable, "-m", "labctl", "lease", "alone", "--url", url]
    command += ["--exec", f'{sys.executable} -c "{TOLD}"']
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as run, Lab(url) as lab:
        assert run.stdout is not None
        while "here" not in run.stdout.readline():
            pass
        run.terminate()
        assert run.wait(60) == 7
        assert lab.leases() == []


def test_a_lease_that_is_held_is_given_back_when_told_to_end(url: str) -> None:
    command = [sys.executable, "-m", "labctl", "lease", "alone", "--url", url, "--hold"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as run, Lab(url) as lab:
        assert run.stderr is not None
        while "held until" not in run.stderr.readline():
            pass
        run.terminate()
        assert run.wait(60) == 0
        assert lab.leases() == []


class AwayLab(Connection):
    """A lab that answers nobody, or says that its database is away."""

    def __init__(self, *statuses: int) -> None:
        super().__init__("http://127.0.0.1:9")
        self.statuses = list(statuses)

    def request(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        status = self.statuses.pop(0) if self.statuses else 0
        if status == 200:
            return {"expires_at": "later"}
        raise LabClientError("nobody there", status)


GRANTED = {"id": "1", "fencing": 1, "devices": [], "expires_at": "soon"}


@pytest.mark.parametrize(
    ("answers", "lost"),
    [((), "it was over before it could be renewed: nobody there"), ((503, 0, 409), "nobody there")],
    ids=["no answer", "refused in the end"],
)
def test_who_holds_a_lease_hears_that_it_is_over_though_nobody_answers(answers: tuple[int, ...], lost: str) -> None:
    lease = Lease(AwayLab(*answers), GRANTED, 2.0)
    lease._renewing.join(60)
    assert lease.lost == lost


def test_a_lease_outlives_a_daemon_that_is_away_for_a_moment() -> None:
    lease = Lease(AwayLab(503, 0, 200), GRANTED, 6.0)
    while lease.expires_at == "soon" and lease.lost is None:
        time.sleep(0.01)
    assert (lease.expires_at, lease.lost) == ("later", None)
    lease._over.set()
    lease._renewing.join()


def test_a_time_to_come_is_reserved(url: str) -> None:
    told = labctl(url, "reserve", "alone", "--from", "+2h", "--for", "30m")
    assert "alone from 20" in told
    assert "reserved" in labctl(url, "leases")


def test_devices_go_out_of_service_and_back(url: str) -> None:
    labctl(url, "devices", "maintain", "alone", "--reason", "new wheels")
    assert "maintenance: new wheels (local)" in labctl(url, "devices")
    labctl(url, "devices", "return", "alone")
    assert "maintenance" not in labctl(url, "devices")
    assert json.loads(labctl(url, "daemons", "--json"))[0]["alive"] is True


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["lease"], "give names of devices, or --kind"),
        (["lease", "alone", "--kind", "lidar"], "give names of devices, or --kind"),
        (["lease", "--label", "side"], "write KEY=VALUE"),
        (["lease", "alone", "--for", "long"], "is no length of time"),
        (["reserve", "alone", "--from", "tomorrow"], "is no time"),
        (["lease", "nowhere"], "there is no device 'nowhere'"),
    ],
)
def test_what_is_wrong_is_said_plainly(url: str, arguments: list[str], told: str) -> None:
    with pytest.raises(ExpectedError, match=told) as refused:
        labctl(url, *arguments)
    assert refused.value.code == 2
