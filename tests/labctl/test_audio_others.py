"""Other programs' scores in jobs of the audio service: beside ours, and errored where a program is missing."""

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from drivers.documents import DocumentError
from labctl.actions.audio import ScoreParameters
from labctl.config import load_lab
from labctl.scoring import AudioPool
from labctl.scoring.outcome import Refused, Scored
from labctl.scoring.work import score_pair

SOURCES = {"reference": "reference:male_1", "recording": "reference:male_1"}
NAMES = {"reference": "male_1", "recording": "male_1"}


def job(*others: str, **limits: Any) -> dict[str, Any]:
    pair = {"reference": "male_1", "recording": "male_1"}
    return {"pairs": [pair], "sample_rate": 16_000, "others": others, "thresholds": {"others": limits}}


@pytest.mark.skipif(
    not all(importlib.util.find_spec(name) for name in ("pesq", "visqol", "ai_edge_litert")),
    reason="PESQ and ViSQOL are not installed (extras pesq and visqol)",
)
def test_a_process_of_the_service_asks_the_programs_of_the_job() -> None:
    pool = AudioPool(1)
    try:
        document = job("pesq", "visqol", pesq_wb={"min": 4.7})
        found = pool.run("labctl.scoring.work:score_pair", SOURCES, NAMES, document, None)
    finally:
        pool.close()
    assert isinstance(found, Scored)
    assert (found.passed, found.reason) == (False, "pesq_wb is 4.644, must be at least 4.7")
    assert [each["name"] for each in found.result["others"]] == ["pesq_wb", "visqol"]
    assert [each["name"] for each in found.measurements][-1] == "pesq_wb"


def test_a_program_that_is_missing_is_told_and_no_failure_of_the_recording(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pesq", None)
    found = score_pair(SOURCES, NAMES, job("pesq"), None)
    assert isinstance(found, Refused)
    assert "pip install 'labctl[pesq]'" in found.reason


def test_a_step_with_a_limit_on_what_is_not_asked_is_refused() -> None:
    step = {"reference": "male_1", "recording": "call.flac", "thresholds": {"others": {"pesq_wb": {"min": 3}}}}
    with pytest.raises(ValidationError, match="names pesq_wb"):
        ScoreParameters.model_validate(step)
    assert ScoreParameters.model_validate({**step, "others": ["pesq"]}).others == ("pesq",)


POLQA = """
command: [{python}, -c, "import sys; print('MOS-LQO:', 4.25)", "{{reference}}", "{{degraded}}"]
pattern: 'MOS-LQO:\\s*([0-9.]+)'
name: p863
"""


def test_the_labs_own_polqa_stands_beside_our_score_and_may_have_a_limit(tmp_path: Path) -> None:
    settings = tmp_path / "polqa.yaml"
    settings.write_text(POLQA.format(python=sys.executable), encoding="utf-8")
    found = score_pair(SOURCES, NAMES, job("polqa", polqa={"min": 4.5}), None, str(settings))
    assert isinstance(found, Scored)
    assert (found.passed, found.reason) == (False, "polqa is 4.25, must be at least 4.5")
    assert found.result["others"][0]["name"] == "polqa"


def test_polqa_in_a_lab_that_has_none_is_refused_with_what_to_do() -> None:
    found = score_pair(SOURCES, NAMES, job("polqa"), None)
    assert isinstance(found, Refused)
    assert "name the settings in the lab file" in found.reason


def test_the_lab_file_names_the_polqa_and_its_settings_are_checked(tmp_path: Path) -> None:
    lab = tmp_path / "lab.yaml"
    lab.write_text("lab: test\npolqa: polqa.yaml\ndevices:\n  r: {kind: room}\n", encoding="utf-8")
    (tmp_path / "polqa.yaml").write_text(POLQA.format(python=sys.executable), encoding="utf-8")
    assert load_lab(lab).polqa == tmp_path / "polqa.yaml"
    (tmp_path / "polqa.yaml").write_text("command: [polqa]\npattern: x\n", encoding="utf-8")
    with pytest.raises(DocumentError, match=r"polqa\.yaml:2:.*0 groups"):
        load_lab(lab)
