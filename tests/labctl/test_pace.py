"""How fast the demonstration runs: four times real time where the machine has cores to spare, slower where not."""

from __future__ import annotations

import os

import pytest

from labctl.cli.pace import free_cores, pace_for


@pytest.mark.parametrize(("cores", "scale"), [(0.1, 1.0), (0.5, 1.1), (1.0, 2.2), (1.9, 4.0), (64.0, 4.0)])
def test_the_pace_goes_with_the_cores_that_are_free(cores: float, scale: float) -> None:
    assert pace_for(cores) == scale


def test_free_cores_are_counted_in_what_this_process_gets() -> None:
    assert 0 < free_cores(0.05) <= len(os.sched_getaffinity(0)) + 0.1
