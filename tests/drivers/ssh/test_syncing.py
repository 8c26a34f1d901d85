"""Folders in step, both ways: only what changed moves, nothing is lost that was not to be, nothing is half there."""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from _wire import Wire

from drivers.ssh import CopyError, HostUnreachableError, LinkLostError, SshHost
from drivers.ssh import listing as listings
from drivers.ssh.ignoring import Ignore
from drivers.ssh.project import run_project
from drivers.ssh.syncing import Synced, sync_from, sync_to

Sync = Callable[..., Synced]


@pytest.fixture(params=["to", "from"])
def sync(request: pytest.FixtureRequest, host: SshHost) -> Sync:
    """Makes one folder of this machine as the other, by way of the host."""
    if request.param == "to":
        return lambda source, target, **options: sync_to(host, source, str(target), **options)
    return lambda source, target, **options: sync_from(host, str(source), target, **options)


def contents(folder: Path) -> dict[str, object]:
    """Everything in a folder: text of files, aim of links, with modes and times."""
    found: dict[str, object] = {}
    for path in sorted(folder.rglob("*")):
        about, name = path.lstat(), str(path.relative_to(folder))
        mode = stat.S_IMODE(about.st_mode)
        if path.is_symlink():
            found[name] = str(path.readlink())
        elif path.is_dir():
            found[name] = mode
        else:
            found[name] = (path.read_bytes(), mode, about.st_mtime_ns)
    return found


def make(folder: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    folder.mkdir(exist_ok=True)
    return folder


def test_odd_names_links_and_modes_arrive_as_they_are(sync: Sync, tmp_path: Path, odd_names: list[str]) -> None:
    source, target = make(tmp_path / "s", {name: name.encode("utf-8", "replace") for name in odd_names}), tmp_path / "t"
    make(source, {f"folder {name}/{name}": b"x" for name in odd_names if name != "~"})
    (source / "long" / ("n" * 200) / ("m" * 200)).mkdir(parents=True)
    (source / "long" / ("n" * 200) / ("m" * 200) / "file").write_bytes(b"deep")
    (source / "run").write_bytes(b"#!")
    (source / "run").chmod(0o755)
    (source / "secret").mkdir(mode=0o700)
    (source / "to file").symlink_to("run")
    (source / "to nowhere").symlink_to("/no/where\n else")
    (source / "to folder").symlink_to("secret")
    sync(source, target)
    assert contents(target) == contents(source)
    assert not (target / "hacked").exists()


def test_only_what_changed_moves(sync: Sync, tmp_path: Path) -> None:
    source, target = make(tmp_path / "s", {f"{n % 7}/{n}": bytes([n]) * n for n in range(100)}), tmp_path / "t"
    assert sync(source, target) == Synced(100, sum(range(100)), 0, 0)
    assert sync(source, target).nothing
    kept = (target / "3" / "3").stat().st_ino
    (source / "5" / "5").write_bytes(b"changed")
    (source / "6" / "6").chmod(0o600)
    assert sync(source, target) == Synced(1, 7, 0, 99)
    assert contents(target) == contents(source)
    assert (target / "3" / "3").stat().st_ino == kept


def test_a_change_of_the_same_size_in_the_same_second_is_seen(sync: Sync, tmp_path: Path) -> None:
    source, target = make(tmp_path / "s", {"a": b"1"}), tmp_path / "t"
    os.utime(source / "a", ns=(10**18 + 1, 10**18 + 1))
    sync(source, target)
    (source / "a").write_bytes(b"2")
    os.utime(source / "a", ns=(10**18 + 2, 10**18 + 2))
    assert sync(source, target).copied == 1
    assert (target / "a").read_bytes() == b"2"


def test_removals_are_made_on_request_only_and_spare_what_is_left_out(sync: Sync, tmp_path: Path) -> None:
    source = make(tmp_path / "s", {"keep": b"1", "data/new": b"2"})
    target = make(tmp_path / "t", {"gone": b"3", "old/gone\n too": b"4", "data/log.txt": b"5", "logs/log.txt": b"6"})
    rules = Ignore.of(["*.txt"])
    assert sync(source, target, ignore=rules) == Synced(2, 2, 0, 0)
    assert set(contents(target)) >= {"gone", "old/gone\n too"}
    assert sync(source, target, ignore=rules, delete=True).removed == 4
    assert set(contents(target)) == {"keep", "data", "data/new", "data/log.txt", "logs", "logs/log.txt"}


@pytest.mark.parametrize("before", ["file", "folder", "link", "link to folder", "pipe"])
@pytest.mark.parametrize("after", ["file", "folder", "link"])
def test_a_name_may_become_something_else(sync: Sync, tmp_path: Path, before: str, after: str) -> None:
    source, target = make(tmp_path / "s", {}), make(tmp_path / "t", {"elsewhere/file": b"not ours"})
    for folder, kind in ((source, after), (target, before)):
        place = folder / "x"
        match kind:
            case "file":
                place.write_bytes(kind.encode())
            case "folder":
                make(place, {"inside": b"1"})
            case "link":
                place.symlink_to("nowhere")
            case "link to folder":
                place.symlink_to("elsewhere")
            case "pipe":
                os.mkfifo(place)
    sync(source, target)
    assert contents(target) == contents(source) | {
        "elsewhere": 0o755,
        "elsewhere/file": contents(target)["elsewhere/file"],
    }


def test_a_large_file_goes_too(sync: Sync, tmp_path: Path) -> None:
    source, target = make(tmp_path / "s", {"sub/large": os.urandom(17 << 20), "small": b"1"}), tmp_path / "t"
    assert sync(source, target).copied == 2
    assert contents(target) == contents(source)
    assert sync(source, target).nothing


def test_a_large_file_never_goes_where_a_link_of_its_name_leads(
    sync: Sync, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host could have had us make a link to ~/.ssh in one run, and in the next give a file of that name."""
    monkeypatch.setattr("drivers.ssh.syncing._LARGE_BYTES", 1)
    source, target = make(tmp_path / "s", {"authorized_keys": b"evil"}), make(tmp_path / "t", {})
    (tmp_path / "outside").mkdir()
    (target / "authorized_keys").symlink_to(tmp_path / "outside")
    sync(source, target)
    assert not list((tmp_path / "outside").iterdir())
    assert contents(target) == contents(source)


def test_a_full_disk_leaves_the_old_state(host: SshHost, tmp_path: Path, small_disk: Path) -> None:
    source = make(tmp_path / "s", {"a": b"new", "b": os.urandom(4 << 20)})
    target = make(small_disk / "t", {"a": b"old"})
    with pytest.raises(CopyError, match="No space left on device"):
        sync_to(host, source, str(target))
    assert set(contents(target)) == {"a"}
    assert (target / "a").read_bytes() == b"old"
    with pytest.raises(CopyError, match="No space left on device"):
        sync_from(host, str(source), target)
    assert {name: (target / name).read_bytes() for name in contents(target)} == {"a": b"old"}


@pytest.mark.parametrize("direction", ["to", "from"])
def test_a_cut_in_the_middle_leaves_whole_files_only_and_a_second_run_goes_on(
    line: Wire, tmp_path: Path, direction: str
) -> None:
    source = make(tmp_path / "s", {str(n): os.urandom(1 << 20) for n in range(12)})
    target = make(tmp_path / "t", {"0": b"old"})

    def run(host: SshHost, **options: object) -> None:
        if direction == "to":
            sync_to(host, source, str(target), **options)  # type: ignore[arg-type]
        else:
            sync_from(host, str(source), target, **options)  # type: ignore[arg-type]

    def cut(what: str, done: int, total: int) -> None:
        if done > 4 << 20:
            line.cut()

    with SshHost.open(line.settings) as host, pytest.raises((LinkLostError, HostUnreachableError)):
        run(host, on_step=cut)
    for name, found in contents(target).items():
        if isinstance(found, tuple) and not name.startswith(".labctl"):
            assert found[0] in (b"old", (source / name).read_bytes())
    line.mend()
    with SshHost.open(line.settings) as host:
        run(host)
    assert contents(target) == contents(source)


def test_without_gnu_find_the_listing_comes_by_sftp(host: SshHost, tmp_path: Path, odd_names: list[str]) -> None:
    source = make(
        tmp_path / "s", {name: b"x" * len(name) for name in odd_names if "\udcff" not in name} | {"d/e": b"1"}
    )
    (source / "link").symlink_to("d")
    rules = Ignore.of(["a b"])
    found = listings.there(host, str(source), rules)
    by_sftp = listings.by_sftp(host, str(source), rules)
    assert found is not None
    assert found.keys() == by_sftp.keys()
    for path, entry in found.items():
        other = by_sftp[path]
        assert (entry.kind, entry.mode, entry.size, entry.target) == (other.kind, other.mode, other.size, other.target)
        assert entry.mtime_ns // 10**9 == other.mtime_ns // 10**9


def test_a_folder_that_is_not_there(host: SshHost, tmp_path: Path) -> None:
    with pytest.raises(CopyError, match="there is no folder"):
        sync_from(host, f"{tmp_path}/none", tmp_path / "t")
    with pytest.raises(CopyError, match="is no folder"):
        sync_to(host, tmp_path / "none", f"{tmp_path}/t")


def test_a_project_runs_on_the_host_and_its_results_come_back(host: SshHost, tmp_path: Path) -> None:
    project = make(tmp_path / "project", {"test.py": b"", "data.txt": b"41", ".git/HEAD": b"x", "junk/x": b"1"})
    (project / ".gitignore").write_text("junk/\n")
    (project / "test.py").write_text(
        "import os, pathlib, sys\n"
        "print(int(open('data.txt').read()) + 1, os.environ['LEVEL'])\n"
        "print('to stderr', file=sys.stderr)\n"
        "pathlib.Path('results').mkdir(exist_ok=True)\n"
        "pathlib.Path('results/out.csv').write_text('1,2')\n"
        "sys.exit(3)\n"
    )
    folder = f"{tmp_path}/there"
    said: list[bytes] = []
    run = run_project(
        host,
        project,
        ["python3", "test.py"],
        folder=folder,
        env={"LEVEL": "high"},
        on_output=lambda _stream, data: said.append(data),
    )
    assert sorted(b"".join(said).splitlines()) == [b"42 high", b"to stderr"]
    assert run.completed.exit_status == 3
    assert (project / "results" / "out.csv").read_text() == "1,2"
    assert sorted(path.name for path in Path(folder).iterdir()) == [".gitignore", "data.txt", "results", "test.py"]
    assert run.fetched == Synced(1, 3, 0, 0)
    again = run_project(host, project, "true", folder=folder)
    assert (again.uploaded.nothing, again.completed.exit_status) == (True, 0)


def test_rsync_finds_nothing_left_to_do(host: SshHost, tmp_path: Path, odd_names: list[str]) -> None:
    source, target = (
        make(tmp_path / "s", dict.fromkeys(odd_names, b"x") | {"a/b/c": b"1", "empty/.keep": b""}),
        tmp_path / "t",
    )
    (source / "link").symlink_to("a")
    sync_to(host, source, str(target))
    command = ["rsync", "-nrlpc", "--delete", "--itemize-changes", f"{source}/", f"{target}/"]
    assert subprocess.run(command, capture_output=True, check=True).stdout == b""
