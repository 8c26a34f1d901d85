"""Steps of jobs that handle a phone: over a simulated adb server, and through an Appium session."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from _webdriver_target import TrivialTarget

from drivers.sim.adb_server import SimulatedAdbServer, SimulatedPhone
from labctl.actions.phone_checks import PhoneChecks
from labctl.client import Lab as LabClient
from labctl.config import Lab, load_lab
from labctl.health.checks import Subject


@pytest.fixture
def phone() -> SimulatedPhone:
    return SimulatedPhone(
        "77", packages={"io.appium.settings": "", "org.mail": "letters"}, files={"/sdcard/out": b"12345"}
    )


@pytest.fixture
def adb(phone: SimulatedPhone) -> Iterator[SimulatedAdbServer]:
    with SimulatedAdbServer(phone) as running:
        yield running


@pytest.fixture
def lab(tmp_path: Path, target: TrivialTarget, adb: SimulatedAdbServer) -> Lab:
    shared = {"matches": {"platformName": "Android"}, "target": {"driver": "url", "url": target.url}}
    clean = {"uses": "phone.reset", "with": {"keep_apps": ["io.appium.*"], "remove": ["/sdcard/Download"]}}
    devices = {
        "pixel": {"kind": "phone", "udid": "77", "adb": {"server": adb.address}, **shared, "hooks": {"after": [clean]}},
        "distant": {"kind": "phone", **shared},
    }
    path = tmp_path / "lab.json"
    path.write_text(json.dumps({"lab": "test", "devices": devices}), encoding="utf-8")
    return load_lab(path)


Run = Callable[..., dict[str, Any]]


@pytest.fixture
def run(http: httpx.Client, url: str) -> Iterator[Run]:
    with LabClient(url) as client:

        def run_steps(*steps: dict[str, Any], device: str = "pixel") -> dict[str, Any]:
            job = {"name": "j", "roles": {"p": {"device": device}}, "lanes": {"p": {"steps": list(steps)}}}
            return dict(client.run_result(client.run(json.dumps(job))["runs"][-1]))

        yield run_steps


def step(verb: str, **parameters: Any) -> dict[str, Any]:
    return {"uses": f"phone.{verb}", "with": parameters}


def kept(http: httpx.Client, result: dict[str, Any]) -> dict[str, bytes]:
    return {each["name"]: http.get(each["href"]).content for each in result["artifacts"]}


def test_files_logs_and_recordings_become_artifacts(run: Run, http: httpx.Client, phone: SimulatedPhone) -> None:
    phone.log += [(time.time() - 3600, "an hour ago"), (time.time() - 1, "just now")]
    result = run(
        step("record", do="start", limit_s=60),
        step("pull", path="/sdcard/out"),
        step("push", file="out", to="/sdcard/Download/copy"),
        step("pull", path="/sdcard/Download/copy", name="again"),
        step("logs", last_s=600),
        step("record", do="stop", name="film.mp4"),
    )
    assert result["verdict"] == "passed", result
    files = kept(http, result)
    assert files["out"] == files["again"] == b"12345"
    assert files["phone.log"].endswith(b" just now\n")
    assert b"an hour ago" not in files["phone.log"]
    assert files["film.mp4"].startswith(b"\0\0\0\x18ftyp")
    assert set(phone.files) == {"/sdcard/out"}  # the recording and what was pushed are gone


def test_an_app_is_installed_for_the_job_and_gone_after_it(run: Run, phone: SimulatedPhone) -> None:
    phone.files["/sdcard/app.apk"] = b"org.game"
    result = run(
        step("pull", path="/sdcard/app.apk"), step("install", app="app.apk"), step("reset", clear=["org.game"])
    )
    assert result["verdict"] == "passed", result
    assert "installation" in {each["name"] for each in result["measurements"]}
    assert phone.packages == {"io.appium.settings": ""}


def test_a_phone_that_says_no_fails_the_step_and_one_that_is_gone_is_the_lab_s_failure(
    run: Run, phone: SimulatedPhone, adb: SimulatedAdbServer
) -> None:
    phone.files["/sdcard/bad.apk"] = b"bad"
    refused = run(step("pull", path="/sdcard/bad.apk"), step("install", app="bad.apk"))
    assert refused["verdict"] == "failed"
    assert "INSTALL_PARSE_FAILED_NOT_APK" in json.dumps(refused)
    missing = run(step("pull", path="/sdcard/none"))
    assert missing["verdict"] == "failed"
    assert "No such file" in json.dumps(missing)
    phone.silent = True
    with ThreadPoolExecutor(1) as beside:
        lost = beside.submit(run, step("logs"))
        deadline = time.monotonic() + 30
        while not any("logcat" in each for each in adb.asked):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        adb.unplug("77")
        assert lost.result()["verdict"] == "errored"


def test_a_line_that_must_not_be_in_the_log_fails_the_step(run: Run, phone: SimulatedPhone) -> None:
    phone.log += [(2e10, "E AndroidRuntime: FATAL EXCEPTION: main")]
    result = run(step("logs", forbid=["FATAL EXCEPTION"]))
    assert result["verdict"] == "failed"
    assert "1 forbidden lines in the phone's log, such as: 20000000000.000 E AndroidRuntime" in json.dumps(result)


def test_a_reset_that_is_refused_is_the_lab_s_failure(run: Run) -> None:
    result = run(step("reset", clear=["org.nothing"]))
    assert result["verdict"] == "errored"
    assert "pm clear org.nothing: Failed" in json.dumps(result)


def test_without_adb_and_without_a_session_the_step_says_what_it_needs(run: Run) -> None:
    result = run(step("logs"), device="distant")
    assert result["verdict"] == "errored"
    assert "open one with webdriver.open first" in json.dumps(result)


def test_a_phone_without_adb_is_asked_through_its_session(
    run: Run, http: httpx.Client, until: Callable[[Callable[[], Any]], Any]
) -> None:
    result = run({"uses": "webdriver.open"}, step("pull", path="/sdcard/out"), device="distant")
    assert result["verdict"] == "failed"  # the trivial server knows no files
    assert "the file /sdcard/out not as base64" in result["reason"]
    # The session's record follows its run.
    log = until(lambda: kept(http, http.get(f"/api/v1/runs/{result['id']}").json()).get("distant-commands.jsonl"))
    assert b"/appium/device/pull_file" in log


def test_phone_steps_are_for_paths_that_may_be_removed(http: httpx.Client) -> None:
    job = {
        "name": "j",
        "roles": {"p": {"device": "pixel"}},
        "lanes": {"p": {"steps": [step("reset", remove=["/sdcard/../data/x"])]}},
    }
    answer = http.post("/api/v1/jobs", json=job)
    assert answer.status_code == 422


# Health


class Hosts:
    """A lab whose hosts' tunnels lead to one adb server of this machine."""

    def __init__(self, port: int = 0) -> None:
        self._port = port
        self.open: list[str] = []

    def get(self, name: str) -> Any:
        def forward(remote: str) -> Any:
            self.open.append(f"{name} {remote}")
            return SimpleNamespace(port=self._port, close=self.open.clear)

        return SimpleNamespace(ssh=SimpleNamespace(forward=forward))


def look(lab: Lab, *, preflight: bool = False, hosts: Hosts | None = None) -> dict[str, Any]:
    subject = Subject(lab, "pixel", ThreadPoolExecutor(1), hosts or Hosts())
    checks = PhoneChecks().preflight(subject) if preflight else PhoneChecks().quick(subject)
    return {each.name: each for each in checks}


def test_a_charged_connected_phone_is_well(lab: Lab) -> None:
    found = look(lab, preflight=True)
    assert all(each.well for each in found.values())
    assert (found["battery"].value, found["battery"].fact) == (0.8, "battery_ratio")
    assert found["temperature"].value == 25.1
    assert found["storage"].value == 2**30


def test_a_phone_on_a_host_is_looked_at_through_its_tunnel(lab: Lab, adb: SimulatedAdbServer) -> None:
    pixel = lab.devices["pixel"]
    away = pixel.model_copy(update={"adb": pixel.adb.model_copy(update={"host": "nuc", "server": "127.0.0.1:5037"})})
    hosts = Hosts(int(adb.address.rpartition(":")[2]))
    found = look(lab.model_copy(update={"devices": {"pixel": away}}), preflight=True, hosts=hosts)
    assert {name: each.well for name, each in found.items()} == {
        "connection": True, "battery": True, "temperature": True, "storage": True,
    }  # fmt: skip
    assert hosts.open == []  # the tunnel is closed again
    nobody = look(lab.model_copy(update={"devices": {"pixel": away}}), hosts=Hosts(1))
    assert not nobody["connection"].well


def test_what_is_wrong_with_a_phone_is_said(lab: Lab, adb: SimulatedAdbServer, phone: SimulatedPhone) -> None:
    phone.temperature_tenths = 471
    assert not look(lab)["temperature"].well
    phone.temperature_tenths, phone.free_bytes = 300, 1 << 20
    assert "1 MiB free" in look(lab, preflight=True)["storage"].detail
    phone.state = "unauthorized"
    assert "77 is unauthorized" in look(lab)["connection"].detail
    adb.unplug("77")
    assert "77 is not connected" in look(lab)["connection"].detail
