"""The wheel holds everything that the program reads beside its modules, and nothing of the tests."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("labctl", "drivers", "courses", "audio", "devices")


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """The files in a wheel that is built from the checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    built = subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(ROOT)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if built.returncode and "hatchling" in built.stderr:
        pytest.skip("the build backend, hatchling, cannot be had here")
    assert built.returncode == 0, built.stderr
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_every_file_of_the_packages_is_in_it(names: set[str]) -> None:
    tracked = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "--", *PACKAGES], capture_output=True, text=True, check=False
    )
    if tracked.returncode:
        pytest.skip("this is no checkout")
    present = {name for name in tracked.stdout.splitlines() if (ROOT / name).is_file()}
    assert present - names == set()


def test_what_the_program_reads_is_among_them(names: set[str]) -> None:
    assert {
        "courses/library/standard.yaml",
        "courses/library/calibrations/bench.yaml",
        "drivers/rooms/library/standard.yaml",
        "drivers/guard/sentinel.py",
        "drivers/py.typed",
        "labctl/store/migrations/versions/v0001_first_tables.py",
    } <= names


def test_tests_benchmarks_and_configuration_are_not(names: set[str]) -> None:
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == set(PACKAGES)
