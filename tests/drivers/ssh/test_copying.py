"""Files to a host and back: whole or not at all, resumed after a cut, whatever they are called."""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
from pathlib import Path

import pytest
from _wire import Wire

from drivers.ssh import CopyError, HostUnreachableError, LinkLostError, SshHost
from drivers.ssh.copying import get, put
from drivers.ssh.host import quoted_path

MEGABYTE = 1 << 20


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("number", range(11))
def test_there_and_back_under_any_name(host: SshHost, tmp_path: Path, odd_names: list[str], number: int) -> None:
    name = odd_names[number]
    source, far, back = tmp_path / name, tmp_path / "far", tmp_path / "back"
    far.mkdir()
    back.mkdir()
    source.write_bytes(os.urandom(70_000))
    source.chmod(0o751)
    os.utime(source, ns=(10**18, 10**18 + 123_456_789))
    assert put(host, source, f"{far}/{name}").sent == 70_000
    get(host, f"{far}/{name}", back)
    for copy in (far / name, back / name):
        assert copy.read_bytes() == source.read_bytes()
        assert (copy.stat().st_mode & 0o7777, copy.stat().st_mtime_ns) == (0o751, 10**18 + 123_456_789)
    assert names(far) == names(back) == [name]


def test_a_name_may_be_as_long_as_can_be(host: SshHost, tmp_path: Path) -> None:
    name = "界" * 85  # 255 bytes
    (tmp_path / "source").write_bytes(b"content")
    put(host, tmp_path / "source", f"{tmp_path}/{name}")
    (tmp_path / "back").mkdir()
    get(host, f"{tmp_path}/{name}", tmp_path / "back")
    assert names(tmp_path / "back") == [name]


@pytest.mark.parametrize("name", ["-", "-rf", "--help/x", "a b", "$(touch hacked)", "~root", "new\nline", "'"])
def test_a_path_is_a_path_for_the_shell_whatever_it_looks_like(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir(parents=True)
    quoted = quoted_path(name)
    script = f"chmod 700 {quoted} && touch {quoted}/here && cd -- {quoted} && [ -e here ] && pwd -P"
    ran = subprocess.run(["sh", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert ran.stdout == f"{(tmp_path / name).resolve()}\n"
    assert not (tmp_path / "hacked").exists()


@pytest.mark.parametrize("size", [0, 1, 65_536, 65_537])
def test_any_size(host: SshHost, tmp_path: Path, size: int) -> None:
    source = tmp_path / "source"
    source.write_bytes(os.urandom(size))
    put(host, source, f"{tmp_path}/there")
    get(host, f"{tmp_path}/there", tmp_path / "back")
    assert (tmp_path / "there").read_bytes() == (tmp_path / "back").read_bytes() == source.read_bytes()


def test_a_file_is_replaced_and_a_link_to_one_too(host: SshHost, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"new")
    (tmp_path / "old").write_bytes(b"old")
    (tmp_path / "link").symlink_to("old")
    put(host, source, f"{tmp_path}/link")
    assert ((tmp_path / "link").read_bytes(), (tmp_path / "old").read_bytes()) == (b"new", b"old")
    assert not (tmp_path / "link").is_symlink()


def test_what_cannot_be_copied_is_named(host: SshHost, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "folder" / "file").mkdir(parents=True)
    for wrong, message in (
        (lambda: put(host, tmp_path, "/tmp"), "is no file"),
        (lambda: put(host, tmp_path / "none", "/tmp"), "cannot be read: No such file"),
        (lambda: put(host, tmp_path / "file", f"{tmp_path}/none/file"), "cannot be written: .*No such file"),
        (lambda: put(host, tmp_path / "file", f"{tmp_path}/folder"), "is a folder"),
        (lambda: get(host, f"{tmp_path}/none", tmp_path), "there is no file .*none on nuc"),
        (lambda: get(host, f"{tmp_path}/folder", tmp_path), "is a folder"),
    ):
        with pytest.raises(CopyError, match=message):
            wrong()
    assert names(tmp_path) == ["file", "folder"]


def test_a_full_disk_on_the_host(host: SshHost, tmp_path: Path, small_disk: Path) -> None:
    source = tmp_path / "large"
    source.write_bytes(os.urandom(4 * MEGABYTE))
    with pytest.raises(CopyError, match="No space left on device"):
        put(host, source, f"{small_disk}/large")
    assert names(small_disk) == []


def test_a_full_disk_here(host: SshHost, tmp_path: Path, small_disk: Path) -> None:
    source = tmp_path / "large"
    source.write_bytes(os.urandom(4 * MEGABYTE))
    with pytest.raises(CopyError, match="No space left on device"):
        get(host, str(source), small_disk / "large")
    assert names(small_disk) == []


class Cutter:
    """Cuts a wire when so many bytes have passed, and mends it when the loss was noticed."""

    def __init__(self, line: Wire, at: int, host: SshHost) -> None:
        self.line, self.at, self.host = line, at, host
        self.cuts = 0

    def __call__(self, done: int, size: int) -> None:
        if done >= self.at and not self.cuts:
            self.cuts += 1
            self.line.cut()
            threading.Thread(target=self._mend, daemon=True).start()

    def _mend(self) -> None:
        while self.host.connected:
            threading.Event().wait(0.05)
        self.line.mend()


@pytest.mark.parametrize("direction", ["put", "get"])
def test_a_copy_goes_on_after_a_silent_cut(line: Wire, tmp_path: Path, direction: str) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(os.urandom(24 * MEGABYTE))
    with SshHost.open(line.settings) as host:
        cutter = Cutter(line, 12 * MEGABYTE, host)
        copied = (
            put(host, source, str(target), on_progress=cutter)
            if direction == "put"
            else get(host, str(source), target, on_progress=cutter)
        )
    assert target.read_bytes() == source.read_bytes()
    assert copied.cuts >= 1
    # What was under way at the cut goes twice; what had arrived does not.
    assert copied.sent < 40 * MEGABYTE
    assert names(tmp_path) == ["source", "target"]


@pytest.mark.parametrize("direction", ["put", "get"])
def test_a_cut_for_good_leaves_nothing_under_the_final_name_and_a_later_copy_goes_on(
    line: Wire, tmp_path: Path, direction: str
) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(os.urandom(64 * MEGABYTE))  # a silent relay holds some of it
    cuts: list[int] = []

    def cut(done: int, size: int) -> None:
        if done > 40 * MEGABYTE and not cuts:  # what reads the file may go on after the wire was mended
            cuts.append(done)
            line.cut()

    def copy(host: SshHost, **options: object) -> int:
        if direction == "put":
            return put(host, source, str(target), **options).sent  # type: ignore[arg-type]
        return get(host, str(source), target, **options).sent  # type: ignore[arg-type]

    with SshHost.open(line.settings) as host, pytest.raises((LinkLostError, HostUnreachableError)):
        copy(host, on_progress=cut, patience=0)
    assert not target.exists()
    line.mend()
    with SshHost.open(line.settings) as host:
        sent = copy(host)
    assert target.read_bytes() == source.read_bytes()
    assert sent < 60 * MEGABYTE


def test_a_damaged_beginning_is_found_and_not_kept(host: SshHost, tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(os.urandom(300_000))
    with contextlib.suppress(CopyError):
        put(host, source, f"{tmp_path}/none/x")
    sha256 = subprocess.run(["sha256sum", str(source)], capture_output=True, check=True).stdout.decode()[:24]
    partial = tmp_path / f".labctl-target.{sha256}.partial"
    partial.write_bytes(bytes(200_000))
    with pytest.raises(CopyError, match="what arrived is not what was sent"):
        put(host, source, str(target))
    assert not partial.exists()
    put(host, source, str(target))
    assert target.read_bytes() == source.read_bytes()
