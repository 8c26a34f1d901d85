"""Phones through an Appium session: the commands that go out, and what comes of the answers."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest

from devices.phones import AppiumTools, PhoneTools
from devices.webdriver import WebDriverError


class Session:
    """A session that answers from a table and remembers what it was asked."""

    def __init__(self, **answers: Any) -> None:
        self.answers = answers
        self.asked: list[tuple[str, str, Any]] = []

    def __call__(self, method: str, path: str, body: dict[str, Any] | None) -> Any:
        self.asked.append((method, path, body))
        return self.answers.get(path.rsplit("/", 1)[-1])


def test_apps_and_files_are_appium_s_own_commands(tmp_path: Path) -> None:
    session = Session(pull_file=base64.b64encode(b"\0content").decode())
    tools: PhoneTools = AppiumTools(session)
    source = tmp_path / "photo.jpg"
    source.write_bytes(b"\xff\xd8")
    tools.install(tmp_path / "app.apk")
    tools.uninstall("org.mail")
    tools.clear("org.mail")
    tools.push(source, "/sdcard/DCIM/photo.jpg")
    tools.pull("/sdcard/out.bin", tmp_path / "out.bin")
    tools.remove("/sdcard/out.bin")
    assert (tmp_path / "out.bin").read_bytes() == b"\0content"
    app = {"appId": "org.mail", "bundleId": "org.mail"}
    assert session.asked == [
        ("POST", "/appium/device/install_app", {"appPath": str(tmp_path / "app.apk")}),
        ("POST", "/appium/device/remove_app", app),
        ("POST", "/execute/sync", {"script": "mobile: clearApp", "args": [app]}),
        ("POST", "/appium/device/push_file", {"path": "/sdcard/DCIM/photo.jpg", "data": "/9g="}),
        ("POST", "/appium/device/pull_file", {"path": "/sdcard/out.bin"}),
        ("POST", "/execute/sync", {"script": "mobile: deleteFile", "args": [{"remotePath": "/sdcard/out.bin"}]}),
    ]


def test_a_recording_is_kept_as_it_comes(tmp_path: Path) -> None:
    session = Session(stop_recording_screen=base64.b64encode(b"ftypmp42").decode())
    tools = AppiumTools(session)
    tools.start_recording(90)
    tools.finish_recording(tmp_path / "screen.mp4")
    assert (tmp_path / "screen.mp4").read_bytes() == b"ftypmp42"
    options = {"timeLimit": "90", "forceRestart": True}
    assert session.asked[0] == ("POST", "/appium/start_recording_screen", {"options": options})


@pytest.mark.parametrize("kind", ["logcat", "syslog"])
def test_the_device_s_log_is_found_by_what_the_driver_calls_it(kind: str) -> None:
    entries = [
        {"timestamp": 1000, "level": "ALL", "message": "old"},
        {"timestamp": 2500, "level": "ALL", "message": "new"},
    ]
    session = Session(types=["server", kind], log=entries)
    assert AppiumTools(session).log(None) == "1.000 old\n2.500 new\n"
    assert AppiumTools(session).log(2.0) == "2.500 new\n"
    assert session.asked[1] == ("POST", "/se/log", {"type": kind})


def test_a_driver_without_a_device_log_says_what_it_has() -> None:
    with pytest.raises(WebDriverError, match="it offers: \\['server'\\]") as refused:
        AppiumTools(Session(types=["server"])).log(None)
    assert refused.value.code == "unsupported operation"


@pytest.mark.parametrize("answer", [None, "not base64!", 7])
def test_rubbish_instead_of_a_file_is_an_error(tmp_path: Path, answer: Any) -> None:
    with pytest.raises(WebDriverError, match=r"the file /sdcard/x not as base64"):
        AppiumTools(Session(pull_file=answer)).pull("/sdcard/x", tmp_path / "x")
    assert not (tmp_path / "x").exists()
