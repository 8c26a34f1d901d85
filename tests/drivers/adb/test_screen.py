"""Recordings of a phone's screen, and the room on it, on a simulated adb server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from drivers.adb import AdbServer, Phone
from drivers.adb.screen import finish_recording, start_recording
from drivers.errors import DeviceError
from drivers.sim.adb_server import SimulatedAdbServer, SimulatedPhone

FILM = "/sdcard/film.mp4"


@pytest.fixture
def simulated() -> SimulatedPhone:
    return SimulatedPhone("A1")


@pytest.fixture
def phone(simulated: SimulatedPhone) -> Iterator[Phone]:
    with SimulatedAdbServer(simulated) as running:
        yield AdbServer.at(running.address).phone("A1")


def test_a_recording_is_fetched_and_gone_from_the_phone(
    phone: Phone, simulated: SimulatedPhone, tmp_path: Path
) -> None:
    start_recording(phone, FILM, 30)
    assert simulated.recording == (FILM, 30.0)
    finish_recording(phone, FILM, tmp_path / "film.mp4")
    assert (tmp_path / "film.mp4").read_bytes().startswith(b"\0\0\0\x18ftypmp42")
    assert (simulated.recording, simulated.files) == (None, {})


def test_what_was_never_begun_cannot_be_fetched(phone: Phone, tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match=r"A1: the recording /sdcard/film.mp4 is empty or not there"):
        finish_recording(phone, FILM, tmp_path / "film.mp4")
    assert not (tmp_path / "film.mp4").exists()


@pytest.mark.parametrize("seconds", [0, 181])
def test_a_recording_has_the_length_that_phones_allow(phone: Phone, seconds: int) -> None:
    with pytest.raises(ValueError, match="from 1 to 180 s"):
        start_recording(phone, FILM, seconds)


def test_the_room_on_the_phone(phone: Phone, simulated: SimulatedPhone) -> None:
    simulated.free_bytes = 123 << 20
    assert phone.free_bytes() == 123 << 20
