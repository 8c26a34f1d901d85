"""A pilot that is lost while a key is held down: the robot stops, whatever was lost, and the reason is told."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from _browsers import BROWSERS
from _lost_pilots import LOSSES, PAGES, PilotedRobot, piloted_robot

pytestmark = [pytest.mark.soak, pytest.mark.timeout(600)]

# What the driving program says of it, where it lives to say something. A machine that is late says so instead.
TOLD = {
    "browser killed": "gone|no input|did not answer",
    "page frozen": "did not answer|odometry on the pilot's page is",
    "session ended": "gone|no input|did not answer",
    "page left": "the page was left|gone|no input",
    "another tab": "the page was left|the page was hidden|the page lost the focus|gone|no input",
}


@pytest.fixture(scope="module", params=PAGES)
def piloted(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PilotedRobot]:
    with piloted_robot(request.param, tmp_path_factory.mktemp("guard")) as robot:
        yield robot


@pytest.mark.parametrize("cause", LOSSES)
@pytest.mark.parametrize("browser", BROWSERS)
def test_the_robot_stops(piloted: PilotedRobot, browser: str, cause: str, tmp_path: Path) -> None:
    halts = piloted.vendor.halts if piloted.vendor is not None else 0
    lost = piloted.lose(cause, "keyboard", browser, tmp_path)
    print(lost)
    assert piloted.robot.truth().linear == 0
    assert lost.status != ""
    if cause in TOLD:
        assert re.search(TOLD[cause], lost.told), lost.told
    if piloted.vendor is not None:
        assert piloted.vendor.halts > halts
