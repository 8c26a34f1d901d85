"""What a session leaves: the command log, pictures of failures, the film strip, the console, uploads and downloads."""

from __future__ import annotations

import base64
import io
import json
import threading
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from _webdriver_target import answer
from PIL import Image

from devices.recording import Recorder, film

FAILURE = answer({"error": "no such element", "message": "nowhere", "stacktrace": ""}, 404)


def png(colour: str, size: tuple[int, int] = (1000, 500)) -> str:
    out = io.BytesIO()
    Image.new("RGB", size, colour).save(out, "PNG")
    return base64.b64encode(out.getvalue()).decode()


def kept(running, until):
    """The files that the session left."""
    until(lambda: running.shelf.concluded)
    return running.shelf.root / "kept"


def log_of(running, until):
    lines = (kept(running, until) / "commands.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def test_every_command_is_logged_with_its_timing(begin, http, running, target, until):
    target.scripted["POST /element"] = FAILURE
    session = begin(browserName="trivial")["sessionId"]
    http.get(f"/session/{session}/title")
    http.post(f"/session/{session}/element", json={"using": "css selector", "value": "#x"})
    http.delete(f"/session/{session}")
    log = log_of(running, until)
    assert [each.get("event") or f"{each['method']} {each['path']} {each['status']}" for each in log] == [
        "session begun",
        "GET /title 200",
        "POST /element 404",
        "failure pictured",
        "session ended",
    ]
    assert log[0]["requested"] == [{"browserName": "trivial"}]
    assert log[2]["request"] == {"using": "css selector", "value": "#x"}
    assert log[2]["response"]["error"] == "no such element"
    assert 0 < log[2]["target_ms"] <= log[2]["total_ms"]
    assert log[-1]["verdict"] == "passed"


def test_typed_text_is_masked_on_request(begin, http, running, target, until):
    secret = "correct horse"
    target.scripted["GET /element/1/property/value"] = answer(secret)
    session = begin(**{"lab:record": {"mask": True}})["sessionId"]
    keys = [{"type": "keyDown", "value": each} for each in secret]
    http.post(f"/session/{session}/element/1/value", json={"text": secret, "value": list(secret)})
    http.post(f"/session/{session}/actions", json={"actions": [{"type": "key", "id": "k", "actions": keys}]})
    http.post(f"/session/{session}/execute/sync", json={"script": "x", "args": [{"password": secret}]})
    http.post(f"/session/{session}/element/1/value", content=secret)
    http.get(f"/session/{session}/element/1/property/value")
    http.delete(f"/session/{session}")
    text = (kept(running, until) / "commands.jsonl").read_text(encoding="utf-8")
    log = log_of(running, until)
    assert secret not in text
    assert log[1]["request"] == {"text": "***", "value": ["***"] * len(secret)}
    assert log[2]["request"]["actions"][0]["actions"][0] == {"type": "keyDown", "value": "***"}
    assert log[5]["response"] == "***"


@pytest.mark.parametrize(
    "typing",
    [
        ("/alert/text", {"text": "correct horse"}),
        ("/chromium/send_command_and_get_result", {"cmd": "Input.insertText", "params": {"text": "correct horse"}}),
    ],
)
def test_what_is_typed_into_a_prompt_or_by_the_devtools_is_masked_too(begin, http, running, until, typing):
    path, body = typing
    session = begin(**{"lab:record": {"mask": True}})["sessionId"]
    assert http.post(f"/session/{session}{path}", json=body).status_code == 200
    http.delete(f"/session/{session}")
    assert "correct horse" not in (kept(running, until) / "commands.jsonl").read_text(encoding="utf-8")


def test_without_recording_nothing_is_kept(begin, http, running, target, until):
    target.scripted["POST /element"] = FAILURE
    session = begin(**{"lab:record": False})["sessionId"]
    http.post(f"/session/{session}/element", json={})
    http.delete(f"/session/{session}")
    assert until(lambda: running.shelf.concluded)[0][2] == []
    assert "GET /session/*/screenshot" not in target.commands()


class TestPicturesOfFailures:
    @pytest.fixture(autouse=True)
    def _pictures(self, target):
        target.scripted["POST /element"] = FAILURE
        target.scripted["GET /screenshot"] = answer(png("red"))

    def test_one_is_taken_when_the_session_rests(self, begin, http, target, until):
        session = begin()["sessionId"]
        http.post(f"/session/{session}/element", json={})
        until(lambda: target.commands()[-1] == "GET /session/*/screenshot")

    def test_one_is_taken_before_a_quit_that_follows_at_once(self, begin, http, running, target, until):
        session = begin()["sessionId"]
        http.post(f"/session/{session}/element", json={})
        http.delete(f"/session/{session}")
        assert target.commands()[-2:] == ["GET /session/*/screenshot", "DELETE /session/*"]
        picture = kept(running, until) / "failure-01.png"
        with Image.open(picture) as opened:
            assert opened.size == (1000, 500)

    def test_who_polls_is_pictured_once(self, begin, http, running, target, until):
        session = begin()["sessionId"]
        for _ in range(20):
            http.post(f"/session/{session}/element", json={})
        http.delete(f"/session/{session}")
        until(lambda: running.shelf.concluded)
        # Where this machine is so slow that the session seemed to rest in between, there may be another.
        assert 1 <= target.commands().count("GET /session/*/screenshot") <= 3

    def test_a_lookup_that_succeeds_leaves_none(self, begin, http, running, until):
        session = begin()["sessionId"]
        http.get(f"/session/{session}/title")
        http.delete(f"/session/{session}")
        assert until(lambda: running.shelf.concluded)[0][2] == ["commands.jsonl"]


def test_a_film_strip_is_kept_on_request(begin, http, running, target, until):
    session = begin(**{"lab:record": {"film": 10}})["sessionId"]
    for number, colour in enumerate(("red", "green", "blue"), start=1):
        target.scripted["GET /screenshot"] = answer(png(colour))
        http.get(f"/session/{session}/title")
        until(lambda number=number: target.commands().count("GET /session/*/screenshot") >= number)
    http.delete(f"/session/{session}")
    with Image.open(kept(running, until) / "film.webp") as film:
        assert (film.format, film.n_frames, film.size) == ("WEBP", 3, (800, 400))


def test_a_film_in_the_making_keeps_no_other_session_from_its_end(tmp_path, monkeypatch):
    going = threading.Event()
    monkeypatch.setattr(film, "assemble", lambda _frames, file: going.wait(30) and file.touch())
    with ThreadPoolExecutor(1) as workers:
        recorder = Recorder(workers)
        filmed, other = (tmp_path / name for name in ("filmed", "other"))
        for folder in (filmed, other):
            folder.mkdir()
        first, second = recorder.open(filmed), recorder.open(other)
        first.note(0.0, "something")
        first.frame(0.0, json.dumps({"value": "aGVyZQ=="}).encode())
        second.note(0.0, "something")
        in_the_making, ended = first.finish(), second.finish()
        first.note(1.0, "a websocket closed")
        assert [each.name for each in ended.result(10)] == ["commands.jsonl"]
        assert not in_the_making.done()
        going.set()
        assert [each.name for each in in_the_making.result(10)] == ["commands.jsonl", "film.webp"]
        recorder.close()


def test_the_console_is_kept_on_request(begin, http, running, target, until):
    entry = {"level": "SEVERE", "message": "boom"}
    target.scripted["POST /se/log"] = answer([entry])
    session = begin(**{"lab:record": {"console": True}})["sessionId"]
    http.delete(f"/session/{session}")
    console = json.loads((kept(running, until) / "console.json").read_text(encoding="utf-8"))
    assert console == {"value": [entry]}
    created = next(each for each in target.requests if each.path == "/session")
    asked = json.loads(created.body)["capabilities"]["alwaysMatch"]
    assert asked == {"goog:loggingPrefs": {"browser": "ALL"}}


def packed(*files: tuple[str, bytes]) -> str:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in files:
            archive.writestr(name, content)
    return base64.b64encode(out.getvalue()).decode()


def test_an_upload_lands_where_the_browser_can_read_it(begin, http, running, target):
    session = begin()["sessionId"]
    paths = [
        http.post(f"/session/{session}/se/file", json={"file": packed((name, content))}).json()["value"]
        for name, content in (("cv.txt", b"one"), ("../../cv.txt", b"two"))
    ]
    assert [Path(path).read_bytes() for path in paths] == [b"one", b"two"]
    assert all(path.startswith(str(running.shelf.root)) and path.endswith("/cv.txt") for path in paths)
    assert "POST /session/*/se/file" not in target.commands()


@pytest.mark.parametrize("upload", [{"file": "!"}, {}, {"file": packed()}, {"file": packed(("a", b""), ("b", b""))}])
def test_an_upload_that_is_none(begin, http, upload):
    response = http.post(f"/session/{begin()['sessionId']}/se/file", json=upload)
    assert (response.status_code, response.json()["value"]["error"]) == (400, "invalid argument")


def test_an_upload_that_was_spoilt_on_its_way_is_refused(begin, http):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.txt", "sixty times the same word, " * 60)
    spoilt = bytearray(packed.getvalue())
    spoilt[35:40] = b"\xff" * 5  # behind the header of 30 bytes and the name
    body = {"file": base64.b64encode(spoilt).decode()}
    response = http.post(f"/session/{begin()['sessionId']}/se/file", json=body)
    assert response.json()["value"]["error"] == "invalid argument"


def test_downloads_are_listed_fetched_and_cleared(begin, http, shelf, target):
    shelf.offers["left"] = {"browserName": "chrome"}
    value = begin(**{"browserName": "chrome", "se:downloadsEnabled": True, "goog:chromeOptions": {"args": ["-x"]}})
    assert value["capabilities"]["se:downloadsEnabled"] is True
    session = value["sessionId"]
    folder = target_folder(target)
    (folder / "report.pdf").write_bytes(b"pdf" * 1000)
    (folder / "half.zip.crdownload").write_bytes(b"")
    assert http.get(f"/session/{session}/se/files").json() == {"value": {"names": ["report.pdf"]}}
    got = http.post(f"/session/{session}/se/files", json={"name": "report.pdf"}).json()["value"]
    with zipfile.ZipFile(io.BytesIO(base64.b64decode(got["contents"]))) as archive:
        assert archive.read(got["filename"]) == b"pdf" * 1000
    missing = http.post(f"/session/{session}/se/files", json={"name": "../commands.jsonl"})
    assert missing.json()["value"]["error"] == "invalid argument"
    assert http.delete(f"/session/{session}/se/files").json() == {"value": None}
    assert http.get(f"/session/{session}/se/files").json() == {"value": {"names": []}}


def target_folder(target):
    created = next(each for each in target.requests if each.path == "/session")
    asked = json.loads(created.body)["capabilities"]["alwaysMatch"]
    return Path(asked["goog:chromeOptions"]["prefs"]["download.default_directory"])
