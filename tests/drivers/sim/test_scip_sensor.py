"""What the simulated sensor answers to each command, and how it encodes and merges its scans."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.scip.codec import decode_number, decode_ranges, with_check
from drivers.scip.commands import Measurement, parse_info
from drivers.scip.frames import parse_reply
from drivers.sim.scip_sensor import LidarModel, SensorClock, Session, Shot, State, cluster, to_values


@pytest.fixture
def session() -> Session:
    return Session(LidarModel(), SensorClock(started=100.0, reading_s=5.0), lambda now: None)


def shot(stamp: int = 7) -> Shot:
    return Shot(101.0, stamp, np.arange(1081, dtype=np.uint32) + 1000)


def status(session: Session, command: bytes) -> bytes:
    reply = session.answer(command, 101.0, shot())
    assert reply.endswith(b"\n\n")
    return parse_reply(reply[:-1], command + b"\n")[0].status


def test_version_and_parameters_as_key_value_lines(session: Session) -> None:
    version = parse_info(session.answer(b"VV", 101.0, None).split(b"\n")[2:-2], "VV")
    assert version["VEND"] == "Hokuyo Automatic Co., Ltd."
    parameters = parse_info(session.answer(b"PP", 101.0, None).split(b"\n")[2:-2], "PP")
    assert parameters == {
        "MODL": "UTM-30LX-EW",
        "DMIN": "23",
        "DMAX": "60000",
        "ARES": "1440",
        "AMIN": "0",
        "AMAX": "1080",
        "AFRT": "540",
        "SCAN": "2400",
    }


def test_laser_states(session: Session) -> None:
    assert status(session, b"GD0000108001") == b"10"
    assert status(session, b"BM") == b"00"
    assert status(session, b"BM") == b"02"
    assert session.state is State.SINGLE_SCAN
    assert session.answer(b"%ST", 101.0, None) == b"%ST\n00P\n" + with_check(b"003") + b"\n"
    assert status(session, b"GD0000108001") == b"00"
    assert status(session, b"QT") == b"00"
    assert session.answer(b"%ST", 101.0, None) == b"%ST\n00P\n" + with_check(b"000") + b"\n"


def test_time_adjustment(session: Session) -> None:
    assert status(session, b"TM1") == b"04"
    assert status(session, b"TM2") == b"03"
    assert status(session, b"TM0") == b"00"
    assert status(session, b"TM0") == b"02"
    assert status(session, b"TM3") == b"01"
    assert status(session, b"BM") == b"10"  # takes no other command meanwhile
    reply, _ = parse_reply(session.answer(b"TM1", 101.25, None)[:-1], b"TM1\n")
    assert decode_number(reply.lines[0][:-1]) == 6250
    assert status(session, b"TM2") == b"00"
    assert session.state is State.STANDBY


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (b"MDx000108001000", b"01"),
        (b"MD0000x08001000", b"02"),
        (b"MD00001080x1000", b"03"),
        (b"MD0000108101000", b"04"),
        (b"MD0010000901000", b"05"),
        (b"MD0000108001x00", b"06"),
        (b"MD00001080010x0", b"07"),
        (b"MD00001080", b"0C"),
        (b"MD00001080010000", b"0D"),
        (b"XX", b"0E"),
        (b"VV1", b"0E"),
        (b"SS115200", b"03"),
        (b"HS1", b"03"),
        (b"CR00", b"03"),
        (b"QT;seventeen letters", b"0G"),
    ],
)
def test_what_it_cannot_do_it_says(session: Session, command: bytes, expected: bytes) -> None:
    assert status(session, command) == expected
    assert session.state is State.STANDBY


def test_a_counted_measurement_counts_down_and_ends(session: Session) -> None:
    assert status(session, b"MD0000108000103;mine") == b"00"
    echoes = []
    for stamp in range(8):
        for frame in session.take(shot(stamp)):
            reply, _ = parse_reply(frame[:-1], b"MD")
            assert reply.status == b"99"
            echoes.append((decode_number(reply.lines[0][:-1]), reply.echo))
    # Every second scan, three of them, the rest told in the echo.
    assert echoes == [
        (0, b"MD0000108000102;mine"),
        (2, b"MD0000108000101;mine"),
        (4, b"MD0000108000100;mine"),
    ]
    assert session.state is State.STANDBY


def test_the_latest_scan_waits_for_the_first(session: Session) -> None:
    session.answer(b"BM", 101.0, None)
    assert session.answer(b"GS0100020001", 101.0, None) == b""
    (frame,) = session.take(shot())
    reply, _ = parse_reply(frame[:-1], b"GS0100020001\n")
    _, block = reply.take_line()
    assert decode_ranges(block, 2).tolist() == list(range(1100, 1201))
    assert session.take(shot()) == []


@given(st.lists(st.one_of(st.floats(0.006, 60.0), st.just(float("nan"))), min_size=1, max_size=300), st.data())
def test_a_scan_survives_encoding_and_decoding(ranges: list[float], data: st.DataObject) -> None:
    codes = np.array([data.draw(st.integers(0, 5)) if np.isnan(value) else 0 for value in ranges], np.uint8)
    values = to_values(np.array(ranges), codes)
    measurement = Measurement(0, len(ranges) - 1)
    taken = Shot(0.0, 42, values)
    stamp, block = taken.body(measurement, 23).split(b"\n", 1)
    assert decode_number(stamp[:-1]) == 42
    decoded = decode_ranges(block, 3)
    for value, code, number in zip(ranges, codes, decoded, strict=True):
        if np.isnan(value):
            assert number == (code or 1)
        else:
            assert abs(number / 1000 - value) <= 0.000501


def test_a_range_that_would_read_as_an_error_code_is_told_as_too_near() -> None:
    ranges = np.array([0.0, 0.003, 0.0054, 0.006, np.nan, np.nan, 1.0])
    codes = np.array([0, 0, 0, 0, 0, 3, 5], np.uint8)
    assert to_values(ranges, codes).tolist() == [4, 4, 4, 6, 1, 3, 5]


@given(st.lists(st.one_of(st.integers(1, 5), st.integers(23, 60_000)), min_size=1, max_size=60), st.integers(0, 12))
def test_a_cluster_gives_its_nearest_valid_range(values: list[int], size: int) -> None:
    measurement = Measurement(0, len(values) - 1, cluster=size)
    merged = cluster(np.array(values, np.uint32), measurement, 23).tolist()
    step = max(1, size)
    groups = [values[start : start + step] for start in range(0, len(values), step)]
    assert merged == [min([v for v in group if v >= 23] or group) for group in groups]


def test_the_sensor_clock_drifts_wraps_and_jumps() -> None:
    clock = SensorClock(started=1000.0, reading_s=16777.0, drift_ppm=100.0)
    assert clock.stamp(1000.0) == 16_777_000
    assert clock.stamp(1000.3) == (16_777_300 % (1 << 24))
    assert clock.read(11_000.0) == pytest.approx(26_778.0)
    clock.set(2000.0, 0.0)
    assert clock.stamp(2001.5) == 1500
