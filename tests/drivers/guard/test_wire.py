"""Frames of the guard's protocol."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.errors import ProtocolError
from drivers.guard import wire
from drivers.guard.session import Lateness
from drivers.guard.wire import FrameReader, Kind, parse_message
from drivers.types import BaseMode, BaseState, ChargingState, MotionStatus, Pose, Scan, StopReason, Twist


@given(st.lists(st.tuples(st.sampled_from(list(Kind)), st.binary(max_size=50)), max_size=6), st.integers(1, 40))
def test_frames_come_whole_whatever_the_read_boundaries(frames: list[tuple[Kind, bytes]], step: int) -> None:
    data = b"".join(wire.frame(kind, payload) for kind, payload in frames)
    reader = FrameReader()
    got = [frame for start in range(0, len(data), step) for frame in reader.feed(data[start : start + step])]
    assert got == frames


def test_foreign_bytes_and_overlong_frames_are_refused() -> None:
    with pytest.raises(ProtocolError, match="unknown kind"):
        FrameReader().feed(b"GET / HTTP/1.1\r\n")
    with pytest.raises(ProtocolError, match="at most 100"):
        FrameReader(100).feed(wire.frame(Kind.JSON, bytes(101)))


@given(st.lists(st.floats(0.02, 60) | st.just(float("nan")), min_size=1, max_size=50))
def test_a_scan_comes_through_unchanged(ranges: list[float]) -> None:
    count = len(ranges)
    codes = np.arange(count, dtype=np.uint8) % 6
    scan = Scan(np.array(ranges), np.linspace(-2.0, 2.0, count), codes, 1.5, 0.25, 0.001, 7, 0.025)
    ((kind, payload),) = FrameReader().feed(wire.pack_scan(scan))
    got = wire.unpack_scan(payload)
    assert kind is Kind.SCAN
    np.testing.assert_array_equal(got.ranges, scan.ranges)
    np.testing.assert_array_equal(got.angles, scan.angles)
    np.testing.assert_array_equal(got.error_codes, codes)
    assert (got.time, got.sensor_time, got.time_error, got.sequence, got.turn_s) == (1.5, 0.25, 0.001, 7, 0.025)


def test_a_cut_scan_is_refused() -> None:
    with pytest.raises(ProtocolError, match="beams"):
        wire.unpack_scan(wire.pack_scan(Scan(np.ones(3), np.ones(3), np.zeros(3, np.uint8), 0.0, 0.0))[5:-1])


def test_states_statuses_and_poses_come_through_unchanged() -> None:
    state = BaseState(
        1.0, 2, 3, BaseMode.SAFE, True, ChargingState.TRICKLE, 0.5, 1.0, 15.0, bump_left=True, odometry_breaks=2
    )
    status = MotionStatus(1.0, False, True, False, StopReason.BUMPER, "x", Twist(0.1, 0.2), Twist(0.0, 0.0), 4)
    pose = Pose(1.0, 2.0, 3.0, np.diag([1.0, 2.0, 3.0]), "map", 9.0)
    sent = wire.message(
        {"state": wire.pack_state(state), "status": wire.pack_status(status), "p": wire.pack_pose(pose)}
    )
    told = wire.parse_message(sent[5:])
    assert wire.unpack_state(told["state"]) == state
    assert wire.unpack_status(told["status"]) == status
    got = wire.unpack_pose(told["p"])
    assert got.xyh == pose.xyh
    assert got.time == 9.0
    np.testing.assert_array_equal(got.covariance, pose.covariance)


def test_messages_that_waited_in_a_stalled_tunnel_count_as_old_as_they_are() -> None:
    lateness = Lateness()
    assert lateness.issued(sent=1000.0, arrived=5.0) == pytest.approx(5.0)  # another machine's clock
    assert lateness.issued(sent=1000.1, arrived=5.101) == pytest.approx(5.1, abs=1e-4)
    # Sent 50 ms apart, arrived together after 700 ms.
    assert lateness.issued(sent=1000.15, arrived=5.9) == pytest.approx(5.15, abs=1e-3)
    assert lateness.issued(sent=1000.20, arrived=5.9) == pytest.approx(5.2, abs=1e-3)


@pytest.mark.parametrize("payload", [b"[" * 60_000, b'{"a":' * 10_000, b"\xff", b"", b"7", b"null"])
def test_what_is_no_message_is_refused(payload: bytes) -> None:
    with pytest.raises(ProtocolError):
        parse_message(payload)
