"""Leases over HTTP beyond taking and giving back: heartbeats, hand-over, reservations, maintenance, why one waits."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from labctl.client import Lab, LabClientError
from labctl.daemon import Daemon
from labctl.store import inventory


@pytest.fixture
def client(url: str) -> Iterator[Lab]:
    with Lab(url) as lab:
        yield lab


def in_s(seconds: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


def test_a_heartbeat_keeps_a_lease_and_its_absence_ends_it(client: Lab, daemon: Daemon) -> None:
    lease = client.request_lease(["alone"], duration_s=3600, heartbeat_s=5)
    beaten = client.beat(lease["id"])
    assert (beaten["ends_at"], beaten["expires_at"] >= lease["expires_at"]) == (lease["ends_at"], True)
    seen = 0
    while client.show_lease(lease["id"])["state"] == "active":
        seen = daemon.store.bell.wait(seen, 0.5)
    assert client.show_lease(lease["id"])["end_reason"] == "its holder was not heard of for 5 s"


def test_a_lease_that_is_handed_over_has_a_new_number(client: Lab) -> None:
    lease = client.request_lease(["alone"])
    over = client.hand_over(lease["id"], "bob")
    assert (over["holder"], over["fencing"] > lease["fencing"]) == ("bob", True)
    with pytest.raises(LabClientError, match="this lease is bob's: give a reason"):
        client.release(lease["id"])
    assert client.release(lease["id"], "bob is on holiday")["end_reason"] == "bob is on holiday"


def test_who_holds_what_since_when_until_when(client: Lab) -> None:
    lease = client.request_lease(["left"], duration_s=60)
    held = {each["name"]: each["lease"] for each in client.devices() if each["lease"]}
    about = {"id": lease["id"], "holder": "local", "job": None, "since": lease["granted_at"]}
    assert held == {name: {**about, "expires_at": lease["expires_at"]} for name in ("hall", "left")}
    assert [(each["holder"], each["devices"]) for each in client.leases()] == [("local", ["hall", "left"])]


def test_a_reservation_begins_by_itself_and_shortens_what_was_there_before(client: Lab, daemon: Daemon) -> None:
    slot = client.request_lease(["alone"], duration_s=60, starts_at=in_s(10))
    assert (slot["state"], slot["devices"]) == ("reserved", ["alone"])
    with pytest.raises(LabClientError, match="alone are held or reserved in that time"):
        client.request_lease(["alone"], starts_at=in_s(30))
    with pytest.raises(LabClientError, match=r"alone is reserved \(for local from 20") as taken:
        client.request_lease(["alone"], duration_s=60)
    assert taken.value.status == 409
    before = client.request_lease(["alone"], duration_s=1)
    assert client.renew(before["id"], 600)["expires_at"] <= slot["starts_at"]
    seen = 0
    while (now := client.show_lease(slot["id"]))["state"] == "reserved":
        seen = daemon.store.bell.wait(seen, 0.5)
    assert (now["state"], now["granted_at"] >= slot["starts_at"]) == ("active", True)
    assert now["fencing"] > before["fencing"]


def test_a_reservation_may_be_taken_back(client: Lab) -> None:
    slot = client.request_lease(["alone"], duration_s=60, starts_at=in_s(100))
    assert client.release(slot["id"])["state"] == "refused"
    assert client.request_lease(["alone"], duration_s=200)["state"] == "active"


def test_a_device_in_maintenance_is_not_granted_until_it_is_returned(client: Lab, daemon: Daemon) -> None:
    lease = client.request_lease(["alone"])
    assert client.maintain("alone", "new wheels")["lease"]["id"] == lease["id"]
    shown = client.maintain("alone", "new wheels", end_lease=True)
    assert (shown["state"], shown["reason"], shown["lease"]) == ("maintenance", "new wheels (local)", None)
    assert "alone is in maintenance" in client.show_lease(lease["id"])["end_reason"]
    daemon.store.write(lambda transaction: inventory.set_device_state(transaction, "alone", "good", ""))
    with pytest.raises(LabClientError, match="alone is maintenance"):
        client.request_lease(["alone"])
    assert client.return_device("alone")["state"] == "good"
    assert client.request_lease(["alone"])["state"] == "active"
    with pytest.raises(LabClientError, match="neither in maintenance nor quarantined"):
        client.return_device("alone")


def test_a_returned_device_that_does_not_answer_is_offline(client: Lab, daemon: Daemon) -> None:
    client.maintain("alone", "new wheels")
    daemon.store.write(lambda transaction: inventory.set_device_state(transaction, "alone", "offline", "no answer"))
    returned = client.return_device("alone")
    assert (returned["state"], returned["reason"]) == ("offline", "no answer")


def test_why_a_request_waits_is_told_with_its_likely_start(client: Lab, daemon: Daemon) -> None:
    held = client.request_lease(["left"], duration_s=300)
    granted: list[dict[str, Any]] = []
    waiting = threading.Thread(target=lambda: granted.append(client.request_lease(["right", "alone"], wait_s=60)))
    waiting.start()
    while not (listed := [each for each in client.leases() if each["state"] == "waiting"]):
        pass
    told = client.show_lease(listed[0]["id"])["waits_for"]
    client.release(held["id"])
    waiting.join(60)
    assert (told["ahead"], told["expected_start"]) == (0, held["expires_at"])
    right, alone = told["roles"]
    assert (right["free"], alone["free"]) == ([], ["alone"])
    obstacle = {key: right["obstacles"][0][key] for key in ("device", "lease", "holder", "until")}
    assert obstacle == {"device": "hall", "lease": held["id"], "holder": "local", "until": held["expires_at"]}
    assert granted[0]["devices"] == ["alone", "hall", "right"]


def test_a_lease_may_leave_the_rooms_to_others(client: Lab) -> None:
    assert client.request_lease(["left"], rooms=False)["devices"] == ["left"]
    assert client.request_lease(["right"])["devices"] == ["hall", "right"]


def test_devices_are_found_by_what_they_can_and_how_they_are(client: Lab, daemon: Daemon) -> None:
    any_scanner = [{"capability": "PoseScanner", "at_least": {"battery_ratio": 0.5}}]
    with pytest.raises(LabClientError, match="its battery_ratio is not known") as lacking:
        client.request_lease(require=any_scanner)
    assert lacking.value.status == 409
    daemon.store.write(lambda transaction: inventory.set_facts(transaction, "right", {"battery_ratio": 0.8}))
    assert client.request_lease(require=any_scanner)["devices"] == ["hall", "right"]
    with pytest.raises(LabClientError, match="it has none that is a device with capability Flight") as never:
        client.request_lease(require=[{"capability": "Flight"}])
    assert never.value.status == 422


def test_the_cap_of_the_lab_file_counts_what_an_owner_holds(client: Lab, daemon: Daemon) -> None:
    def cap(number: int | None) -> None:
        rules = daemon.store.memory.rules.__class__(number)
        daemon.store.write(lambda transaction: setattr(transaction.memory, "rules", rules))

    cap(1)
    with pytest.raises(LabClientError, match="nobody may hold more than 1"):
        client.request_lease(["left", "right"])
    client.request_lease(["left"])
    with pytest.raises(LabClientError) as over:
        client.request_lease(["alone"])
    assert over.value.status == 409
    cap(None)
    assert client.request_lease(["alone"])["state"] == "active"


def test_the_lab_says_which_daemons_form_it(client: Lab) -> None:
    only = client.daemons()[0]
    assert (only["name"], only["alive"], only["this"], only["devices"]) == ("test", True, True, 3)


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({"devices": ["alone"], "starts_at": "2020-01-01T00:00:00Z"}, "starts in the future"),
        ({"devices": ["alone"], "starts_at": "2099-01-01T00:00:00"}, "timezone"),
        ({"require": [{"device": "alone", "kind": "lidar"}]}, "names one exactly"),
        ({"devices": ["a\x00b"]}, "there is no device"),
        ({"devices": ["alone"], "heartbeat_s": 0}, "greater than or equal to 1"),
    ],
)
def test_what_makes_no_sense_is_refused(http: httpx.Client, body: dict[str, Any], told: str) -> None:
    answer = http.post("/api/v1/leases", json=body)
    assert answer.status_code in (404, 422)
    assert told in answer.json()["detail"]


def test_what_the_database_cannot_keep_is_refused(http: httpx.Client) -> None:
    lease = http.post("/api/v1/leases", json={"devices": ["alone"]}).json()
    answer = http.post(f"/api/v1/leases/{lease['id']}/hand-over", json={"to": "a\x00b"})
    assert answer.status_code in (200, 422)


@pytest.mark.parametrize(
    ("starts_at", "duration_s"), [("9999-12-31T23:59:59-12:00", 60), ("9999-12-30T00:00:00Z", 7 * 24 * 3600)]
)
def test_a_reservation_beyond_all_time_is_refused(http: httpx.Client, starts_at: str, duration_s: int) -> None:
    asked = {"devices": ["alone"], "starts_at": starts_at, "duration_s": duration_s}
    assert http.post("/api/v1/leases", json=asked).status_code == 422
    assert http.get("/api/v1/leases").json()["items"] == []


@pytest.mark.parametrize("at", ["9999-12-31T23:59:59-12:00", "0001-01-01T00:00:00+12:00"])
def test_a_time_that_utc_does_not_have_is_refused(http: httpx.Client, at: str) -> None:
    asked = {"principal": "local", "action": "read", "resource": "device:alone", "at": at}
    assert http.get("/api/v1/policies/explain", params=asked).status_code == 422
    assert http.post("/api/v1/leases", json={"devices": ["alone"], "starts_at": at}).status_code == 422
