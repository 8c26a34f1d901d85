"""Steps that handle a phone through a real Appium server: what goes through, and what its fake driver refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from labctl.client import Lab


@pytest.mark.parametrize(
    ("step", "said"),
    [
        ({"uses": "phone.pull", "with": {"path": "/sdcard/x"}}, "unknown method"),
        ({"uses": "phone.logs"}, "it offers: "),
        ({"uses": "phone.record", "with": {"do": "stop"}}, "unknown command"),
    ],
)
def test_what_the_fake_driver_does_not_know_it_says_itself(
    lab: Any, tmp_path: Path, step: dict[str, Any], said: str
) -> None:
    app = tmp_path / "app.xml"
    app.write_text('<app><title>Sums</title><MockButton id="one">one</MockButton></app>', encoding="utf-8")
    asked = {"platformName": "Fake", "appium:app": str(app)}
    steps = [{"uses": "webdriver.open", "with": {"capabilities": asked}}, step]
    job = {"name": "phone", "roles": {"p": {"device": "phone"}}, "lanes": {"p": {"steps": steps}}}
    with Lab(lab.url) as client:
        result = client.run_result(client.run(json.dumps(job))["runs"][-1])
    opened, tried = result["lanes"]["p"]["steps"]
    assert opened["verdict"] == "passed"
    assert tried["verdict"] == "failed"
    assert said in tried["reason"]
