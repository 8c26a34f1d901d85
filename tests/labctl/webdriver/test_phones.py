"""Phones between sessions: unplugged, logged, clean for the next lease; against a simulated adb server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from _webdriver_target import TrivialTarget

from drivers.documents import DocumentError
from drivers.sim.adb_server import SimulatedAdbServer, SimulatedPhone
from labctl.config import Lab, load_lab
from labctl.webdriver.phones import Phones


@pytest.fixture
def phone() -> SimulatedPhone:
    return SimulatedPhone(
        "77", packages={"org.mail": "letters"}, files={"/sdcard/Download/a": b"a", "/sdcard/keep": b"k"}
    )


@pytest.fixture
def adb(phone: SimulatedPhone) -> Iterator[SimulatedAdbServer]:
    with SimulatedAdbServer(phone) as running:
        yield running


@pytest.fixture
def lab(tmp_path: Path, target: TrivialTarget, adb: SimulatedAdbServer) -> Lab:
    section = {"server": adb.address, "clear": ["org.mail"], "remove": ["/sdcard/Download"]}
    device = {
        "kind": "phone",
        "udid": "77",
        "matches": {"platformName": "Android"},
        "target": {"driver": "url", "url": target.url},
        "adb": section,
    }
    path = tmp_path / "lab.json"
    path.write_text(json.dumps({"lab": "test", "devices": {"pixel": device}}), encoding="utf-8")
    return load_lab(path)


def pixel(http):
    return http.get("/api/v1/devices/pixel").json()


def test_a_phone_is_left_as_it_was_found(begin, http, phone, ended):
    value = begin(platformName="Android")
    phone.packages["org.game"] = "score"
    phone.packages["org.mail"] = "more letters"
    phone.log += [(1.0, "long ago"), (2e10, "the app crashed")]
    http.delete(f"/webdriver/session/{value['sessionId']}")
    assert phone.packages == {"org.mail": ""}
    assert phone.files == {"/sdcard/keep": b"k"}
    run = ended(value["capabilities"]["lab:run"])
    kept = {each["name"]: each["href"] for each in run["artifacts"]}
    assert http.get(kept["phone.log"]).text == "20000000000.000 the app crashed\n"


def test_within_a_lease_of_one_s_own_the_phone_stays_as_it_is_and_is_clean_for_the_next(begin, http, phone):
    lease = http.post("/api/v1/leases", json={"devices": ["pixel"], "duration_s": 60}).json()["id"]
    first = begin(**{"lab:lease": lease})["sessionId"]
    phone.packages["org.game"] = "score"
    http.delete(f"/webdriver/session/{first}")
    second = begin(**{"lab:lease": lease})["sessionId"]
    assert phone.packages["org.game"] == "score"
    http.delete(f"/webdriver/session/{second}")
    http.delete(f"/api/v1/leases/{lease}")
    begin(platformName="Android")
    assert phone.packages == {"org.mail": ""}


def test_a_daemon_that_was_killed_in_a_session_leaves_the_phone_to_the_next_to_clean(begin, daemon, phone):
    begin(platformName="Android")
    phone.packages["org.game"] = "score"
    phones = daemon.webdriver.targets.phones
    after = Phones(phones.configs, daemon.store, phones.folder, phones.on_connection, phones.reach)
    after.begin("pixel", "the lease of another session")
    assert phone.packages == {"org.mail": ""}


def test_a_memory_that_was_spoilt_does_not_keep_a_phone_from_its_next_session(begin, http, daemon):
    folder = daemon.webdriver.targets.phones.folder
    folder.mkdir()
    (folder / "pixel.json").write_text("[]", encoding="utf-8")
    session = begin(platformName="Android")["sessionId"]
    assert http.delete(f"/webdriver/session/{session}").status_code == 200


def test_a_phone_unplugged_in_a_session_ends_it(begin, http, adb, ended, until):
    value = begin(platformName="Android")
    phone = adb.unplug("77")
    run = ended(value["capabilities"]["lab:run"])
    assert run["verdict"] == "errored"
    assert "pixel was lost: the phone 77 is not connected" in run["reason"]
    until(lambda: pixel(http)["state"] == "offline")
    assert http.get(f"/webdriver/session/{value['sessionId']}/url").json()["value"]["error"] == "invalid session id"
    adb.plug(phone)
    until(lambda: pixel(http)["state"] == "good")


def test_the_session_of_an_unplugged_phone_is_quit_at_its_appium_server_which_lives(begin, adb, ended, target):
    value = begin(platformName="Android")
    adb.unplug("77")
    assert ended(value["capabilities"]["lab:run"])["verdict"] == "errored"
    assert target.sessions == set()


def test_a_phone_that_asks_for_trust_is_offline_and_says_so(http, adb, phone, until):
    phone.state = "unauthorized"
    adb.plug(phone)
    until(lambda: pixel(http)["state"] == "offline")
    assert "the phone 77 is unauthorized" in pixel(http)["reason"]


def test_a_phone_that_cannot_be_made_clean_is_suspect(begin, http, phone, until):
    value = begin(platformName="Android")
    del phone.packages["org.mail"]  # `pm clear` of it will fail
    http.delete(f"/webdriver/session/{value['sessionId']}")
    until(lambda: pixel(http)["state"] == "suspect")
    assert "pm clear org.mail: Failed" in pixel(http)["reason"]


def test_the_battery_is_known_to_the_scheduler(daemon, http, until):
    until(lambda: pixel(http)["facts"].get("battery_ratio") == 0.8)
    assert pixel(http)["facts"]["battery_temperature_c"] == 25.1


def test_an_adb_section_needs_the_serial_number(tmp_path):
    path = tmp_path / "lab.yaml"
    path.write_text(
        "lab: x\ndevices:\n  p:\n    kind: phone\n    matches: {platformName: Android}\n    adb: {}\n"
        "    target: {driver: url, url: 'http://127.0.0.1:1'}\n",
        encoding="utf-8",
    )
    with pytest.raises(DocumentError, match="give the udid"):
        load_lab(path)
