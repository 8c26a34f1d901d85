"""What has to be done for two folders to be alike, and what stays out of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.ssh import CopyError
from drivers.ssh.ignoring import Ignore
from drivers.ssh.listing import Entry, Kind, Listing, parse
from drivers.ssh.planning import plan

NAMES = st.sampled_from([b"a", b"b", b"c\n", b"-d"])


@st.composite
def listings(draw: st.DrawFn) -> Listing:
    """Any folder, two levels deep."""
    found: Listing = {}
    for name in draw(st.sets(NAMES)):
        kind = draw(st.sampled_from([Kind.FILE, Kind.FOLDER, Kind.LINK]))
        found[name] = _entry(draw, name, kind)
        if kind is Kind.FOLDER:
            for inner in draw(st.sets(NAMES)):
                path = name + b"/" + inner
                found[path] = _entry(draw, path, draw(st.sampled_from([Kind.FILE, Kind.LINK])))
    return found


def _entry(draw: st.DrawFn, path: bytes, kind: Kind) -> Entry:
    mode = draw(st.sampled_from([0o600, 0o755]))
    if kind is Kind.FILE:
        return Entry(path, kind, mode, draw(st.integers(0, 2)), draw(st.sampled_from([10**18 + 1, 10**18 + 2])))
    if kind is Kind.LINK:
        return Entry(path, kind, 0o777, target=draw(st.sampled_from([b"x", b"y"])))
    return Entry(path, kind, mode)


def carried_out(target: Listing, source: Listing, delete: bool) -> Listing:
    """The target after the plan, with the checks that a file system would make."""
    made = dict(target)
    todo = plan(source, target, delete=delete)
    for entry in todo.remove:
        assert not any(path.startswith(entry.path + b"/") for path in made)
        del made[entry.path]
    for entry in (*todo.folders, *todo.copy):
        parent = entry.path.rpartition(b"/")[0]
        assert not parent or made[parent].kind is Kind.FOLDER
        assert entry.path not in made or made[entry.path].kind is not Kind.FOLDER
        made[entry.path] = entry
    for entry in todo.modes:
        made[entry.path] = entry
    return made


@given(listings(), listings())
def test_the_plan_makes_them_alike(source: Listing, target: Listing) -> None:
    assert carried_out(target, source, delete=True) == source
    kept = carried_out(target, source, delete=False)
    assert {path: kept[path] for path in source} == source


@given(listings())
def test_of_two_alike_nothing_is_to_do(listing: Listing) -> None:
    assert plan(listing, listing, delete=True).empty


def test_where_a_side_keeps_seconds_only_seconds_count() -> None:
    fine = {b"a": Entry(b"a", Kind.FILE, 0o644, 1, 10**18 + 5)}
    coarse = {b"a": Entry(b"a", Kind.FILE, 0o644, 1, 10**18)}
    assert plan(fine, coarse, delete=True).empty
    assert plan(coarse, fine, delete=True).empty


@pytest.mark.parametrize("path", [b"../x", b"/etc/passwd", b"a/../../x", b"a//b", b"link/x", b"none/x", b"."])
def test_a_host_that_lies_cannot_make_us_write_elsewhere(path: bytes) -> None:
    source = {b"link": Entry(b"link", Kind.LINK, 0o777, target=b"/etc"), path: Entry(path, Kind.FILE, 0o644)}
    with pytest.raises(CopyError, match="listing names"):
        plan(source, {}, delete=False)


def test_what_find_prints_is_read() -> None:
    printed = (
        b"d\t755\t4096\t1700000000.0000000000\ta\tb\0\0"
        b"f\t4755\t12\t1700000000.1234567890\ta\tb/c\nd\0\0"
        b"l\t777\t3\t1700000000.5000000000\te\0x y\0"
        b"p\t644\t0\t1700000000.5000000000\tpipe\0\0"
    )
    assert parse(printed, Ignore.of(())) == {
        b"a\tb": Entry(b"a\tb", Kind.FOLDER, 0o755),
        b"a\tb/c\nd": Entry(b"a\tb/c\nd", Kind.FILE, 0o4755, 12, 1_700_000_000_123_456_789),
        b"e": Entry(b"e", Kind.LINK, 0o777, target=b"x y"),
        b"pipe": Entry(b"pipe", Kind.OTHER, 0o644),
    }
    with pytest.raises(CopyError, match="not understood"):
        parse(b"bash: find: not found\0\0", Ignore.of(()))


@pytest.mark.parametrize(
    ("pattern", "out", "stays"),
    [
        ("*.log", ["a.log", "x/y/b.log"], ["a.log.txt", "log"]),
        ("/build", ["build", "build/x"], ["x/build"]),
        ("cache/", ["cache/x", "a/cache/b"], ["cachex"]),
        ("doc/*.txt", ["doc/a.txt"], ["doc/sub/a.txt", "x/doc/a.txt"]),
        ("**/tmp", ["tmp", "a/b/tmp/c"], ["tmpx"]),
        ("a/**/z", ["a/z", "a/b/c/z"], ["z"]),
        ("a/**", ["a/b", "a/b/c"], ["a", "b/a"]),
        ("file[0-9].c", ["file1.c"], ["filex.c", "file/.c"]),
        ("file[!0-9].c", ["filex.c"], ["file1.c", "file/.c"]),
        ("?at", ["cat", "x/hat"], ["at", "x/at"]),
        (r"\#odd", ["#odd"], ["odd"]),
        (r"a\*b", ["a*b"], ["axb"]),
        ("new\\\nline", ["new\nline"], ["newline"]),
    ],
)
def test_ignore_patterns(pattern: str, out: list[str], stays: list[str]) -> None:
    ignore = Ignore.of([pattern])
    assert [path for path in out if not ignore(path.encode(), False)] == []
    assert [path for path in stays if ignore(path.encode(), False)] == []


def test_the_last_matching_pattern_counts() -> None:
    ignore = Ignore.of(["# a comment", "", "*.txt", "!keep.txt", "never/"])
    assert [ignore(path, False) for path in (b"a.txt", b"keep.txt", b"x/keep.txt", b"never/keep.txt")] == [
        True,
        False,
        False,
        True,
    ]
    assert ignore(b".labctl-sync.x/file", False)
