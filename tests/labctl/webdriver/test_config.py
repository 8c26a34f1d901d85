"""Phones, browsers and desktops in the lab file."""

from __future__ import annotations

from pathlib import Path

import pytest

from drivers.documents import DocumentError
from labctl.config import load_lab

GRID = "kind: browser, labels: {hall: a}, matches: {browserName: chrome}, target: {driver: url, url: 'http://192.0.2.1:4444'}"


def lab(tmp_path: Path, **devices: str) -> Path:
    file = tmp_path / "lab.yaml"
    lines = [f"  {name.replace('_', '-')}: {{{device}}}" for name, device in devices.items()]
    file.write_text("\n".join(["lab: test", "devices:", *lines]), encoding="utf-8")
    return file


def test_what_carries_several_sessions_is_several_devices(tmp_path):
    devices = load_lab(lab(tmp_path, grid=f"{GRID}, count: 3", desk="kind: desktop, target: {driver: desktop}")).devices
    assert list(devices) == ["grid-1", "grid-2", "grid-3", "desk"]
    assert devices["grid-3"].labels == {"hall": "a"}
    assert devices["grid-1"].target == devices["grid-2"].target


def test_the_name_of_a_session_s_device_may_not_be_another_s(tmp_path):
    with pytest.raises(DocumentError, match=r"lab.yaml:3:\d+: .*'grid-2' is one already"):
        load_lab(lab(tmp_path, grid=f"{GRID}, count: 2", grid_2=GRID))


@pytest.mark.parametrize(
    ("device", "told"),
    [
        (f"{GRID}, count: 0", "greater than or equal to 1"),
        (
            "kind: phone, udid: x, matches: {platformName: A}, target: {driver: appium}, count: 2",
            "a phone of a serial number is one",
        ),
    ],
)
def test_a_count_that_cannot_be_is_refused(tmp_path, device, told):
    with pytest.raises(DocumentError, match=told):
        load_lab(lab(tmp_path, device=device))
