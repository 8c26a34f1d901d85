"""The jobs of the library, run as a user runs them: `labctl run library:NAME --wait --junit FILE`."""

from __future__ import annotations

import json
from pathlib import Path

import junitparser
import pytest
from typer.testing import CliRunner

from labctl.cli.app import app
from labctl.config import Lab, load_lab
from labctl.jobs import shipped


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    path = tmp_path / "lab.yaml"
    path.write_text(
        "lab: calls\ndevices:\n  alice: {kind: endpoint, simulated: true}\n  bob: {kind: endpoint, simulated: true}\n",
        encoding="utf-8",
    )
    return load_lab(path)


def test_two_parties_call_each_other(url: str, tmp_path: Path) -> None:
    """Alice invites Bob, both publish, both see each other; CI reads the verdict off the exit code and the report."""
    report = tmp_path / "out.xml"
    words = ["run", "library:phone-call", "--wait", "--junit", str(report), "--var", "packets=20", "--json"]
    done = CliRunner().invoke(app, [*words, "--url", url])
    assert done.exit_code == 0, done.output
    job = json.loads(done.stdout)
    (run,) = job["runs"]
    assert (job["verdict"], run["verdict"], sorted(run["lanes"])) == ("passed", "passed", ["alice", "bob"])
    assert min(run["outputs"].values()) >= 20
    taken = {(each["lane"], each["name"]): each for each in run["measurements"]}
    assert taken["alice", "loss"]["value"] == taken["bob", "loss"]["value"] == 0
    assert taken["alice", "loss"]["high"] == 0.02

    suites = {suite.name: [case.name for case in suite] for suite in junitparser.JUnitXml.fromfile(str(report))}
    assert sorted(suites) == ["phone call.alice", "phone call.bob"]
    assert {"Alice invites Bob", "Alice sees Bob", "loss"} <= set(suites["phone call.alice"])
    assert {"Bob accepts", "Bob sees Alice", "loss"} <= set(suites["phone call.bob"])
    assert not any(case.result for suite in junitparser.JUnitXml.fromfile(str(report)) for case in suite)


def test_a_call_whose_limit_breaks_fails_the_build_and_says_where(url: str, tmp_path: Path) -> None:
    strict = tmp_path / "strict.yaml"
    strict.write_text(shipped.text("phone-call").replace("max: 0.02", "min: 0.5"), encoding="utf-8")
    report = tmp_path / "out.xml"
    done = CliRunner().invoke(app, ["run", str(strict), "--junit", str(report), "--var", "packets=20", "--url", url])
    assert done.exit_code == 1, done.output
    assert "loss is 0, outside its limit: at least 0.5" in done.output
    broken = [case.name for suite in junitparser.JUnitXml.fromfile(str(report)) for case in suite if case.result]
    assert {"Alice sees Bob", "Bob sees Alice"} & set(broken)
