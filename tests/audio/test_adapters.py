"""Other programs' scores: how they are asked, what they may answer, and that they stay beside ours."""

import importlib
import importlib.util
import json
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from audio import Thresholds, judge, pair_up, read_audio, reference, score
from audio.adapters import OtherScore, OtherScoreError, Pesq, Polqa, PolqaSettings, Visqol, scorers
from audio.recording import Recording
from audio.reference.signals import noise
from audio.report import report_html

RATE = 16_000
PATTERN = r"MOS-LQO: ([0-9.,]+)"


@pytest.fixture(scope="module")
def voice():
    return pair_up(reference.load("female_1"), reference.load("female_1"), RATE).reference


@pytest.fixture(scope="module")
def noisy(voice):
    return voice + noise(len(voice) / RATE, RATE, -50)[: len(voice)]


@pytest.fixture
def polqa(tmp_path):
    """Makes a program of the lab's out of the body of a script; gives the adapter to it."""

    def make(body: str, *arguments: str, **settings: object) -> Polqa:
        program = tmp_path / "polqa"
        program.write_text(f"#!{sys.executable}\nimport json, os, sys, time\n{body}\n", encoding="utf-8")
        program.chmod(0o755)
        command = [str(program), *(arguments or ("{reference}", "{degraded}", "{rate}"))]
        return Polqa(PolqaSettings.model_validate({"command": command, "pattern": PATTERN, **settings}))

    return make


class Fixed:
    """Another program that always says the same."""

    def __init__(self, value: float | None) -> None:
        self.name, self.value = "fixed", value

    def score(self, reference, degraded, sample_rate):
        return OtherScore(self.name, self.value, (1.0, 5.0), "fixed 1")


def test_a_command_gets_both_files_and_the_rate_and_its_number_is_taken(polqa, voice, noisy, tmp_path):
    seen = tmp_path / "seen"
    body = f"""
import shutil
os.mkdir({str(seen)!r})
shutil.copy(sys.argv[1], {str(seen / "r.wav")!r})
shutil.copy(sys.argv[2].removeprefix("--deg="), {str(seen / "d.wav")!r})
json.dump(sys.argv, open({str(seen / "argv")!r}, "w"))
print("POLQA v3\\nMOS-LQO: 3.87")"""
    asked = polqa(
        body, "{reference}", "--deg={degraded}", "{rate} Hz; echo $HOME", version="licensed 3", scale=(1, 4.75)
    )
    assert asked.score(voice, noisy, RATE) == OtherScore("polqa", 3.87, (1, 4.75), "licensed 3")
    arguments = json.loads((seen / "argv").read_text(encoding="utf-8"))
    assert arguments[3:] == ["16000 Hz; echo $HOME"]
    assert not Path(arguments[1]).exists()
    for name, side in (("r.wav", voice), ("d.wav", noisy)):
        given = read_audio(seen / name)
        assert (given.sample_rate, given.channels) == (RATE, 1)
        assert given.samples == pytest.approx(side, abs=1 / 32768)


def test_a_command_gets_its_files_at_the_rate_of_its_licence(polqa, voice):
    body = "import wave\nw = wave.open(sys.argv[2])\nprint('MOS-LQO:', w.getframerate() / 20000, sys.argv[3])"
    assert polqa(body, rate=48_000).score(voice, voice, RATE).value == 2.4


def test_a_command_that_fails_is_told_with_its_words(polqa, voice):
    with pytest.raises(OtherScoreError, match=r"polqa: the command .*ended with code 7 and said: 'no licence found'"):
        polqa("print('MOS-LQO: 4.0'); print('no licence found', file=sys.stderr); sys.exit(7)").score(
            voice, voice, RATE
        )


def test_a_command_that_hangs_is_ended_with_all_that_it_started(polqa, voice, tmp_path):
    numbers = tmp_path / "numbers"
    body = f"child = os.fork()\nif child:\n    open({str(numbers)!r}, 'w').write(str(child))\ntime.sleep(60)"
    begun = time.monotonic()
    with pytest.raises(OtherScoreError, match="took longer than time_limit_s, 4 s"):
        polqa(body, time_limit_s=4).score(voice, voice, RATE)
    assert time.monotonic() - begun < 30
    child = int(numbers.read_text(encoding="utf-8"))
    assert not _runs(child)


def _runs(process: int) -> bool:
    """Whether it still does, a moment later; one that waits to be reaped does not."""
    for _ in range(100):
        try:
            state = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
        except OSError:
            return False
        if state in "ZX":
            return False
        time.sleep(0.05)
    return True


def test_what_a_command_leaves_running_does_not_hold_the_answer_up(polqa, voice):
    body = "if os.fork():\n    print('MOS-LQO: 2.0')\nelse:\n    time.sleep(20)"
    begun = time.monotonic()
    assert polqa(body).score(voice, voice, RATE).value == 2.0
    assert time.monotonic() - begun < 15


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("no score today", "matches nowhere in its answer: 'no score today'"),
        ("", "matches nowhere in its answer: nothing"),
        ("MOS-LQO: 4.1 MOS-LQO: 3.9", "matches 2 times"),
        ("MOS-LQO: 3,98", "'3,98' is no number from 1 to 5"),
        ("MOS-LQO: 45.0", "'45.0' is no number from 1 to 5"),
    ],
)
def test_an_answer_without_one_number_on_the_scale_is_refused(polqa, voice, answer, said):
    with pytest.raises(OtherScoreError, match=said):
        polqa(f"print({answer!r})").score(voice, voice, RATE)


def test_a_command_that_is_not_there_is_named(voice):
    settings = PolqaSettings(command=("/opt/absent/polqa", "{reference}", "{degraded}"), pattern=PATTERN)
    with pytest.raises(OtherScoreError, match="/opt/absent/polqa cannot be started: No such file"):
        Polqa(settings).score(voice, voice, RATE)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "either command or url"),
        ({"command": ["p", "{reference}", "{degraded}"], "url": "http://127.0.0.1/"}, "either command or url"),
        ({"command": ["p", "{reference}"]}, "{degraded} stands in no argument"),
        ({"command": ["p", "{reference}", "{degraded}", "{speed}"]}, "{speed} is none of"),
        ({"command": "p {reference} {degraded}"}, "command"),
        ({"url": "ftp://127.0.0.1/"}, "url"),
        ({"url": "http://127.0.0.1/", "pattern": "MOS"}, "has 0 groups"),
        ({"url": "http://127.0.0.1/", "pattern": "(MOS"}, "no regular expression"),
        ({"url": "http://127.0.0.1/", "scale": [5, 1]}, "least value must be below"),
        ({"url": "http://127.0.0.1/", "time_limit_s": 0}, "time_limit_s"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings, said):
    with pytest.raises(ValidationError) as caught:
        PolqaSettings.model_validate({"pattern": PATTERN, **settings})
    assert said in str(caught.value)


@pytest.fixture
def server():
    """An HTTP server of the lab's; `answer` is what it says to a POST, `asked` what it was sent."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.server.asked.append(self.rfile.read(int(self.headers["Content-Length"])))
            code, body, pause = self.server.answer
            self.send_response(code)
            self.end_headers()
            for byte in body:
                self.wfile.write(bytes([byte]))
                if self.server.over.wait(pause):
                    return

        def log_message(self, *arguments: object) -> None:
            pass

    made = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.asked, made.over = [], threading.Event()
    made.url = f"http://127.0.0.1:{made.server_address[1]}/score"
    thread = threading.Thread(target=made.serve_forever)
    thread.start()
    yield made
    made.over.set()
    made.shutdown()
    made.server_close()
    thread.join()


def test_a_server_gets_both_files_in_a_form(server, voice, noisy):
    server.answer = (200, b'{"MOS-LQO": 3.21}', 0)
    settings = PolqaSettings(url=server.url, pattern=r'"MOS-LQO": ([\d.]+)', name="polqa_lab")
    assert Polqa(settings).score(voice, noisy, RATE) == OtherScore("polqa_lab", 3.21, (1, 5), "unknown")
    (form,) = server.asked
    assert form.count(b"RIFF") == 2
    assert all(part in form for part in (b'name="reference"', b'name="degraded"', b'name="rate"\r\n\r\n16000'))


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((503, b"all licences in use", 0), "answered 503: 'all licences in use'"),
        ((200, b"MOS-LQO: 3.0" * 20, 0.2), "took longer than time_limit_s, 3 s"),
        ((200, b"sorry", 0), "matches nowhere"),
    ],
)
def test_a_server_that_gives_no_score_is_told(server, voice, answer, said):
    server.answer = answer
    with pytest.raises(OtherScoreError, match=said):
        Polqa(PolqaSettings(url=server.url, pattern=PATTERN, time_limit_s=3)).score(voice, voice, RATE)


def test_a_server_that_is_not_there_is_named(voice):
    with pytest.raises(OtherScoreError, match=r"http://127\.0\.0\.1:1/ cannot be asked: ConnectError"):
        Polqa(PolqaSettings(url="http://127.0.0.1:1/", pattern=PATTERN)).score(voice, voice, RATE)


@pytest.mark.parametrize(("make", "module", "extra"), [(Pesq, "pesq", "pesq"), (Visqol, "visqol", "visqol")])
def test_a_package_that_is_missing_is_told_with_its_extra(monkeypatch, make, module, extra):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(OtherScoreError, match=rf"not installed here .*pip install 'labctl\[{extra}\]'"):
        make()


@pytest.mark.skipif(importlib.util.find_spec("pesq") is None, reason="PESQ is not installed (extra pesq)")
def test_pesq_says_what_the_package_says(voice, noisy):
    wide = Pesq().score(voice, noisy, RATE)
    assert (wide.name, wide.value) == ("pesq_wb", importlib.import_module("pesq").pesq(RATE, voice, noisy, "wb"))
    assert 1.1 < wide.value < 4
    assert Pesq().score(voice, voice, RATE).value == pytest.approx(4.64, abs=0.01)
    narrow = Pesq("nb").score(voice, voice, RATE)
    assert (narrow.name, narrow.value) == ("pesq_nb", pytest.approx(4.55, abs=0.01))


@pytest.mark.skipif(importlib.util.find_spec("pesq") is None, reason="PESQ is not installed (extra pesq)")
def test_pesq_is_not_asked_what_it_cannot_tell(voice):
    assert Pesq().score(voice, np.zeros_like(voice), RATE).value is None
    with pytest.raises(OtherScoreError, match="ask for pesq:nb"):
        Pesq().score(voice, voice, 8000)
    with pytest.raises(OtherScoreError, match="at most 30 s, not 35 s"):
        Pesq().score(voice, np.tile(voice, 3), RATE)


@pytest.mark.skipif(
    not all(importlib.util.find_spec(name) for name in ("visqol", "ai_edge_litert")),
    reason="ViSQOL is not installed (extra visqol)",
)
def test_visqol_hears_the_difference_and_leaves_silence_alone(voice, noisy):
    asked = Visqol()
    voice, noisy = voice[: 4 * RATE], noisy[: 4 * RATE]
    clean, heard = (asked.score(voice, side, RATE) for side in (voice, noisy))
    assert 1 < heard.value < clean.value <= 5
    assert clean.value > 4
    assert "lattice" in clean.version
    assert asked.score(voice, np.zeros_like(voice), RATE).value is None


def test_adapters_are_found_by_the_names_people_give(tmp_path):
    settings = tmp_path / "polqa.yaml"
    settings.write_text(f"command: [polqa, '{{reference}}', '{{degraded}}']\npattern: '{PATTERN}'\n", encoding="utf-8")
    (found,) = scorers([f"polqa:{settings}", f"polqa:{settings}"])
    assert found.name == "polqa"
    again = tmp_path / "again.yaml"
    again.write_text(settings.read_text(encoding="utf-8"), encoding="utf-8")
    with pytest.raises(ValueError, match="polqa is asked for twice"):
        scorers([f"polqa:{settings}", f"polqa:{again}"])
    for wrong in ("mosnet", "polqa", "polqa:", "pesq:swb", "visqol:fast"):
        with pytest.raises(ValueError, match=f"'{wrong}' is none of pesq"):
            scorers([wrong])


def test_others_stand_beside_our_score_and_change_nothing(voice, noisy):
    alone, beside = score(voice, noisy, RATE), score(voice, noisy, RATE, others=[Fixed(1.5)])
    assert (beside.mos, beside.track, beside.reasons) == (alone.mos, alone.track, alone.reasons)
    assert alone.to_json()["others"] == []
    assert beside.to_json() == {
        **alone.to_json(),
        "others": [{"name": "fixed", "value": 1.5, "scale": [1.0, 5.0], "version": "fixed 1"}],
    }
    judgement = judge(beside, Thresholds(min_mos=2))
    assert judgement == judge(alone, Thresholds(min_mos=2))
    pair = pair_up(Recording(voice, RATE), Recording(noisy, RATE))
    page = report_html(beside, pair, judgement, ("female_1", "call.wav"))
    assert "<td>fixed</td><td>1.50</td><td>1 to 5</td><td>fixed 1</td>" in page
    assert "Other programs" not in report_html(alone, pair, judgement, ("female_1", "call.wav"))


def test_a_limit_that_names_another_score_judges_it(voice):
    limits = Thresholds.model_validate({"others": {"fixed": {"min": 3.0}}})
    assert judge(score(voice, voice, RATE, others=[Fixed(3.0)]), limits).passed
    (failure,) = judge(score(voice, voice, RATE, others=[Fixed(2.5)]), limits).failures
    assert failure.sentence() == "fixed is 2.5, must be at least 3"
    (failure,) = judge(score(voice, voice, RATE, others=[Fixed(None)]), limits).failures
    assert failure.sentence() == "fixed could not be measured, must be at least 3"
    with pytest.raises(ValueError, match="names fixed, which was not asked"):
        judge(score(voice, voice, RATE), limits)
    for wrong in ({}, {"min": 4, "max": 3}, {"least": 3}):
        with pytest.raises(ValidationError):
            Thresholds.model_validate({"others": {"fixed": wrong}})
