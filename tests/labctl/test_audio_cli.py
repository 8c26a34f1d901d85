"""`labctl audio`: exit codes, JSON, plain words."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from audio import read_audio, reference, write_audio


def labctl(*arguments: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "labctl", "audio", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        cwd=cwd,
        env={**os.environ, "COLUMNS": "200"},
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("audio")
    voice = reference.load("male_1")
    late = np.concatenate([np.zeros(4800), voice.samples])
    write_audio(made / "late.wav", late, 48_000)
    write_audio(made / "mute.wav", np.zeros(48_000), 48_000)
    (made / "limits.yaml").write_text("min_mos: 4.0\nmax_delay_ms: 50\n", encoding="utf-8")
    (made / "wrong.yaml").write_text("min_mos: 4.0\nmax_delay: 50\n", encoding="utf-8")
    asks = "'{reference}', '{degraded}', '{rate}']\npattern: 'MOS-LQO=(\\S+)'\nversion: licensed\n"
    (made / "polqa.yaml").write_text(f"command: [echo, MOS-LQO=3.25, {asks}", encoding="utf-8")
    (made / "failing.yaml").write_text(f"command: ['false', {asks}", encoding="utf-8")
    (made / "others.yaml").write_text("others: {polqa: {min: 3.5}}\n", encoding="utf-8")
    return made


def test_two_files_are_scored_with_one_command(folder: Path) -> None:
    done = labctl("score", "male_1", folder / "late.wav", "--json", "--report", folder / "page" / "report.html")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["verdict"] == "passed"
    assert document["mos"] > 4.3
    assert document["delay_ms"] == pytest.approx(100, abs=1)
    assert document["active_speech_ratio"] > 0.8
    assert "late.wav" in (folder / "page" / "report.html").read_text(encoding="utf-8")


def test_limits_given_singly_and_by_file_decide_the_exit_code(folder: Path) -> None:
    assert labctl("score", "male_1", folder / "late.wav", "--min-mos", "4", "--rate", "16000").returncode == 0
    failed = labctl("score", "male_1", folder / "late.wav", "--thresholds", folder / "limits.yaml", "--rate", "16000")
    assert failed.returncode == 1
    assert "FAILED" in failed.stdout
    muted = labctl("score", "male_1", folder / "mute.wav", "--min-mos", "3")
    assert (muted.returncode, "silent" in muted.stdout) == (1, True)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["score", "male_1", "absent.wav"], 2, "references are female_1"),
        (["score", "tenor", "late.wav"], 2, "tenor"),
        (["score", "male_1", "late.wav", "--min-mos", "9"], 2, "--min-mos"),
        (["score", "male_1", "late.wav", "--rate", "44100"], 2, "--rate must be one of"),
        (["score", "male_1", "late.wav", "--thresholds", "wrong.yaml"], 2, "wrong.yaml:2:1"),
        (["score", "male_1", "late.wav", "--with", "mosnet"], 2, "--with: 'mosnet' is none of pesq"),
        (["score", "male_1", "late.wav", "--with", "polqa:absent.yaml"], 2, "absent.yaml:1:1: cannot be read"),
        (["score", "male_1", "late.wav", "--with", "polqa:limits.yaml"], 2, "limits.yaml"),
        (
            ["score", "male_1", "late.wav", "--with", "polqa:failing.yaml"],
            3,
            "polqa: the command false ended with code 1",
        ),
        (["score", "male_1", "late.wav", "--thresholds", "others.yaml"], 2, "polqa, which was not asked"),
        (["score", "male_1", "limits.yaml"], 3, "no WAV, FLAC or OGG"),
        (["score", "mute.wav", "late.wav"], 3, "reference is silent"),
        (["measure", "limits.yaml"], 3, "no WAV, FLAC or OGG"),
    ],
)
def test_what_goes_wrong_is_said_in_a_line(folder: Path, arguments: list[str], code: int, said: str) -> None:
    done = labctl(*arguments, cwd=folder)
    assert done.returncode == code
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_another_programs_score_stands_beside_ours_and_is_judged_only_by_its_name(folder: Path) -> None:
    asked = ("score", "male_1", folder / "late.wav", "--rate", "16000", "--with", f"polqa:{folder / 'polqa.yaml'}")
    shown = labctl(*asked, "--min-mos", "4")
    assert shown.returncode == 0, shown.stderr
    ours, _, others = shown.stdout.partition("other programs")
    assert "polqa" not in ours
    assert others.strip().splitlines()[-1].split() == ["polqa", "3.25", "1", "to", "5", "licensed"]
    gated = labctl(*asked, "--thresholds", folder / "others.yaml", "--json")
    document = json.loads(gated.stdout)
    assert (gated.returncode, document["verdict"]) == (1, "failed")
    assert document["mos"] > 4.3
    assert document["others"] == [{"name": "polqa", "value": 3.25, "scale": [1, 5], "version": "licensed"}]
    assert document["measurements"][-1] == {
        "name": "polqa",
        "value": 3.25,
        "unit": "1",
        "low": 3.5,
        "high": None,
        "verdict": "failed",
    }


def test_references_are_listed_and_written(folder: Path) -> None:
    listed = json.loads(labctl("references", "--json", "--out", folder / "references").stdout)["items"]
    assert [each["name"] for each in listed][:4] == ["female_1", "female_2", "male_1", "male_2"]
    assert listed[0]["active_speech_level_dbov"] == pytest.approx(-26, abs=0.05)
    assert read_audio(folder / "references" / "tone_500.wav").duration_s == 10


def test_one_file_is_measured_and_a_missing_tone_fails(folder: Path) -> None:
    found = labctl("measure", folder / "late.wav", "--json")
    assert json.loads(found.stdout)["level"]["ratio"] > 0.8
    assert found.returncode == 0
    missing = labctl("measure", folder / "late.wav", "--present-hz", "500")
    assert (missing.returncode, "not found" in missing.stdout) == (1, True)


def test_devices_are_listed_and_a_server_that_is_not_there_is_named() -> None:
    done = labctl("devices", "--server", "unix:/nowhere/pulse", "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert all(each["system"] == "portaudio" for each in document["items"])
    assert any("/nowhere/pulse" in problem for problem in document["problems"])


def test_a_list_of_pairs_is_scored_with_progress_and_the_worst_decides(folder: Path) -> None:
    lines = ["name,reference,recording", *[f"call {turn},male_1,late.wav" for turn in range(3)]]
    lines += ["muted,male_1,mute.wav", ",male_1,gone.wav"]
    (folder / "pairs.csv").write_text("\n".join(lines), encoding="utf-8")
    done = labctl("batch", folder / "pairs.csv", "--min-mos", "4", "--rate", "16000", "--reports", folder / "pages")
    assert done.returncode == 3, done.stderr
    assert "3 of 5: " in done.stderr
    table = [line for line in done.stdout.splitlines() if "male_1" in line]
    assert [next(word for word in line.split() if word in ("errored", "failed", "passed")) for line in table] == [
        "errored",
        "failed",
        "passed",
        "passed",
        "passed",
    ]
    assert "gone.wav: there is no such file" in table[0]
    assert "MOS is 1" in table[1]
    assert done.stdout.splitlines()[-1].startswith("3 passed, 1 failed, 1 errored; MOS 1.00 to 4.6")
    assert [page.name for page in (folder / "pages").iterdir()] == ["0004-mute.html"]


def test_a_batch_is_one_document_for_programs_and_a_bad_list_names_its_line(folder: Path) -> None:
    (folder / "one.csv").write_text("recording,reference\nlate.wav,male_1\n", encoding="utf-8")
    done = labctl("batch", folder / "one.csv", "--rate", "16000", "--json")
    assert done.returncode == 0, done.stderr
    [item] = json.loads(done.stdout)["items"]
    assert (item["verdict"], item["name"]) == ("passed", "late.wav")
    assert item["measurements"]["delay"] == pytest.approx(100, abs=1)
    (folder / "bad.csv").write_text("recording,reference\nlate.wav,\n", encoding="utf-8")
    bad = labctl("batch", folder / "bad.csv")
    assert (bad.returncode, "bad.csv:2: reference is empty" in bad.stderr) == (2, True)
