"""A real sshd on loopback, one for all tests of this folder, and another whose link can be cut."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from _sshd import Sshd, sshd
from _wire import Wire, wire

from drivers.ssh import SshHost

WITHIN_S = 60.0  # for liveness only


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with sshd(tmp_path_factory.mktemp("sshd")) as running:
        yield running


@pytest.fixture
def host(server: Sshd) -> Iterator[SshHost]:
    with SshHost.open(server.settings) as opened:
        yield opened


@pytest.fixture(scope="module")
def cuttable(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wire]:
    with wire(tmp_path_factory.mktemp("wire"), silence_s=2.0) as made:
        yield made


@pytest.fixture
def line(cuttable: Wire) -> Iterator[Wire]:
    """The wire, whole again afterwards."""
    cuttable.mend()
    yield cuttable
    cuttable.mend()


def running_with(mark: str) -> list[int]:
    """Process ids whose command line contains `mark`, other than our own."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            state = (path.parent / "stat").read_text(errors="replace").rpartition(") ")[2][0]
            if state not in "ZX" and mark.encode() in path.read_bytes():
                found.append(int(path.parent.name))
    return found


@pytest.fixture
def processes() -> Callable[[str], list[int]]:
    return running_with


@pytest.fixture
def eventually() -> Callable[[Callable[[], object]], None]:
    """Waits until something is so."""

    def wait(condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + WITHIN_S
        while not condition():
            assert time.monotonic() < deadline
            time.sleep(0.02)

    return wait


@pytest.fixture
def odd_names() -> list[str]:
    """Names that shells, tar and checksum files stumble over."""
    return [
        "plain",
        "a b",
        "-rf",
        "new\nline",
        "$(touch hacked)",
        "'; exit 1; '",
        '"',
        "back\\slash",
        "*?[x]",
        "ü\udcff",
        "~",
    ]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "labctl-test", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("mounting a small file system needs root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)
