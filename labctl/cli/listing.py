"""`labctl devices`, `leases`, `jobs` and `robots`: what there is."""

from __future__ import annotations

from typing import Any

from labctl.cli.connecting import connected
from labctl.cli.output import note, print_json, print_table


def show_devices(url: str | None, kind: str | None, *, as_json: bool) -> int:
    """List the devices."""
    with connected(url) as lab:
        items = lab.devices(kind)
    if as_json:
        print_json(items)
        return 0
    columns = ("device", "kind", "state", "labels", "room", "held by", "until")
    print_table(columns, [_device_row(each) for each in items], "the lab has no such devices")
    return 0


def show_leases(url: str | None, *, as_json: bool) -> int:
    """List active leases and waiting requests."""
    with connected(url) as lab:
        items = lab.leases()
    if as_json:
        print_json(items)
        return 0
    rows = [
        (
            each["id"],
            "being prepared" if each["state"] == "active" and not each["ready"] else each["state"],
            each["holder"],
            ", ".join(each["devices"]),
            each["job"],
            each["granted_at"] or each["starts_at"],
            each["expires_at"],
        )
        for each in items
    ]
    columns = ("lease", "state", "holder", "devices", "job", "since", "until")
    print_table(columns, rows, "nobody holds or waits for anything")
    return 0


def release_lease(url: str | None, lease: str, reason: str) -> int:
    """End a lease."""
    with connected(url) as lab:
        ended = lab.request("DELETE", f"/api/v1/leases/{lease}", params={"reason": reason})
    note(f"lease {lease} is {ended['state']}: {ended['end_reason']}")
    return 0


def show_jobs(url: str | None, state: str | None, *, as_json: bool) -> int:
    """List the newest jobs."""
    with connected(url) as lab:
        items = lab.jobs(state)
    if as_json:
        print_json(items)
        return 0
    rows = [
        (
            each["id"],
            each["name"],
            each["owner"],
            each["verdict"] or each["state"],
            each["submitted_at"],
            each["reason"],
        )
        for each in items
    ]
    print_table(("job", "name", "owner", "state", "submitted", "reason"), rows, "there are no such jobs")
    return 0


def show_robots(url: str | None, *, as_json: bool) -> int:
    """List the robots."""
    with connected(url) as lab:
        items = lab.robots()
    if as_json:
        print_json(items)
        return 0
    columns = ("robot", "health", "emergency stop", "motion", "battery", "docked")
    print_table(columns, [_robot_row(each) for each in items], "the lab has no robots")
    return 0


def _device_row(device: dict[str, Any]) -> tuple[object, ...]:
    labels = " ".join(f"{key}={value}" for key, value in device["labels"].items())
    state = device["state"] + (f": {device['reason']}" if device["reason"] else "")
    lease = device["lease"] or {"holder": None, "expires_at": None}
    return (device["name"], device["kind"], state, labels, device["room"], lease["holder"], lease["expires_at"])


def _robot_row(robot: dict[str, Any]) -> tuple[object, ...]:
    health = robot["health"] + (f": {robot['reason']}" if robot["reason"] else "")
    stop = {True: "PRESSED", False: "off", None: "unknown"}[robot["estop"]]
    motion, battery = robot["motion"], robot["battery"]
    moving = None if motion is None else motion["detail"] or f"{motion['linear_m_s']:.2f} m/s"
    if battery is None:
        return (robot["name"], health, stop, moving, None, None)
    charge = f"{battery['ratio']:.0%} {battery['charging']}"
    return (robot["name"], health, stop, moving, charge, "yes" if battery["on_dock"] else "no")
