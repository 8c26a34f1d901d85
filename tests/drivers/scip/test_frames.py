"""Splitting a byte stream into replies: read boundaries do not matter, garbage costs at most what it touched."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.errors import ChecksumError, ProtocolError
from drivers.scip.codec import encode_number, encode_ranges, with_check
from drivers.scip.frames import MAX_FRAME_BYTES, FrameSplitter, Reply, parse_reply

ECHO = b"MD00000100010"


def scan_frame(number: int) -> bytes:
    body = with_check(encode_number(number, 4)) + encode_ranges(np.arange(101) + number, 3)
    return ECHO + b"00\n" + with_check(b"99") + body + b"\n"


STREAM = b"".join(scan_frame(number) for number in range(6))


def feed(stream: bytes, cuts: list[int]) -> list[bytes]:
    splitter = FrameSplitter()
    frames = []
    edges = [0, *sorted(cuts), len(stream)]
    for start, end in pairwise(edges):
        frames += splitter.feed(stream[start:end])
    return frames


@given(st.lists(st.integers(0, len(STREAM)), max_size=40))
def test_frames_are_the_same_whatever_the_read_boundaries(cuts: list[int]) -> None:
    assert feed(STREAM, cuts) == [scan_frame(number)[:-1] for number in range(6)]


def test_byte_by_byte_is_no_different() -> None:
    assert feed(STREAM, list(range(len(STREAM)))) == [scan_frame(number)[:-1] for number in range(6)]


def usable(frames: list[bytes]) -> list[Reply]:
    replies = []
    for frame in frames:
        try:
            replies.append(parse_reply(frame, ECHO)[0])
        except ProtocolError:
            continue
    return replies


@given(st.binary(max_size=200), st.integers(1, 5), st.lists(st.integers(0, len(STREAM)), max_size=10))
def test_garbage_between_frames_loses_none_of_them(garbage: bytes, before: int, cuts: list[int]) -> None:
    frames = [scan_frame(number) for number in range(6)]
    stream = b"".join(frames[:before]) + garbage + b"".join(frames[before:])
    expected = [parse_reply(frame[:-1], ECHO)[0] for frame in frames]
    found = usable(feed(stream, [cut for cut in cuts if cut <= len(stream)]))
    assert [reply for reply in found if reply in expected] == expected


@given(st.integers(0, 5), st.data())
def test_a_frame_cut_off_halfway_costs_only_itself(which: int, data: st.DataObject) -> None:
    frames = [scan_frame(number) for number in range(6)]
    frames[which] = frames[which][: data.draw(st.integers(0, len(frames[which]) - 2))]
    found = usable(feed(b"".join(frames), []))
    whole = [parse_reply(scan_frame(number)[:-1], ECHO)[0] for number in range(6) if number != which]
    assert [reply for reply in found if reply in whole] == whole


def test_endless_noise_is_given_up_and_counted() -> None:
    splitter = FrameSplitter()
    for _ in range(MAX_FRAME_BYTES // 1000 + 1):
        assert splitter.feed(b"x" * 1000) == []
    assert splitter.take_discarded() > MAX_FRAME_BYTES
    assert splitter.take_discarded() == 0
    assert splitter.feed(b"\n\nVV\n00P\n\n")[-1] == b"VV\n00P\n"


def test_a_reply_is_told_apart_into_echo_status_and_lines() -> None:
    reply, garbage = parse_reply(b"noise\nTM1\n00P\n0000@\n", b"TM1\n")
    assert (reply.echo, reply.status, reply.lines) == (b"TM1", b"00", [b"0000@"])
    assert reply.take_line() == (b"0000@", b"")
    assert garbage == len(b"noise\n")


def test_data_that_look_like_an_echo_are_no_echo() -> None:
    reply, garbage = parse_reply(b"TM1\n00P\n00TM1\n", b"TM1\n")
    assert (reply.status, reply.lines, garbage) == (b"00", [b"00TM1"], 0)


def test_the_one_reply_with_a_bare_status() -> None:
    assert parse_reply(b"SCIP2.0\n0\n", b"SCIP2.0\n")[0].status == b"0"


def test_a_damaged_status_is_refused() -> None:
    with pytest.raises(ChecksumError, match="status"):
        parse_reply(b"BM\n00Q\n", b"BM")
    with pytest.raises(ProtocolError, match="without a status"):
        parse_reply(b"BM\n", b"BM")
    with pytest.raises(ProtocolError, match="no reply to 'QT'"):
        parse_reply(b"BM\n00P\n", b"QT")
