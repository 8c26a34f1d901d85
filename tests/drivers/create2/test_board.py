"""The simulated motor board, byte for byte, on a clock that moves only when told to."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.sim.open_interface import Received
from drivers.types import BaseMode, ChargingState

START, SAFE, FULL, POWER, CLEAN, DOCK, OFF = (bytes([opcode]) for opcode in (128, 131, 132, 133, 135, 143, 173))
GROUP_SIZES = {0: 26, 1: 10, 2: 6, 3: 10, 4: 14, 5: 12, 6: 52, 100: 80, 101: 28, 106: 12, 107: 9}
TWO_BYTES = {19, 20, 22, 23, 25, 26, 27, 28, 29, 30, 31, 33, *range(39, 45), *range(46, 52), *range(54, 58)}


def drive(left: int, right: int) -> bytes:
    return struct.pack(">Bhh", 145, right, left)


@pytest.fixture
def bench(make_board):
    return make_board()


def test_off_takes_only_start(bench):
    board, _, _ = bench
    assert board.feed(SAFE + FULL + bytes([142, 35])) == b""
    assert board.mode is BaseMode.OFF
    assert board.feed(START + bytes([142, 35])) == b"\x01"


@pytest.mark.parametrize(
    ("command", "mode"),
    [
        (START, BaseMode.PASSIVE),
        (SAFE, BaseMode.SAFE),
        (FULL, BaseMode.FULL),
        (POWER, BaseMode.PASSIVE),
        (CLEAN, BaseMode.PASSIVE),
        (DOCK, BaseMode.PASSIVE),
        (OFF, BaseMode.OFF),
    ],
)
@pytest.mark.parametrize("before", [START, START + SAFE, START + FULL])
def test_mode_commands_lead_where_the_specification_says(bench, before, command, mode):
    board, body, _ = bench
    board.feed(before + drive(100, 100) + command)
    assert board.mode is mode
    obeys = before != START and mode in (BaseMode.SAFE, BaseMode.FULL)
    assert (body.left_m_s, body.right_m_s) == ((0.1, 0.1) if obeys else (0.0, 0.0))


def test_drive_commands_are_ignored_in_passive_mode(bench):
    board, body, _ = bench
    board.feed(START + drive(100, 100) + bytes([137, 0, 100, 0, 0]) + bytes([146, 0, 100, 0, 100]))
    assert (body.left_m_s, body.right_m_s) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("command", "left", "right"),
    [
        (bytes([145, 0x00, 0xC8, 0xFF, 0x9C]), -0.1, 0.2),
        (struct.pack(">Bhh", 145, 900, -900), -0.5, 0.5),  # the board clips
        (struct.pack(">Bhh", 146, 255, -51), -0.1, 0.5),
        (struct.pack(">Bhh", 137, 200, -32768), 0.2, 0.2),
        (struct.pack(">Bhh", 137, 200, 1), -0.2, 0.2),  # on the spot, counter-clockwise
        (struct.pack(">Bhh", 137, 200, -1), 0.2, -0.2),
        (struct.pack(">Bhh", 137, 200, 235), 0.1, 0.3),  # an arc to the left
    ],
)
def test_each_drive_command_turns_the_wheels(bench, command, left, right):
    board, body, _ = bench
    board.feed(START + SAFE + command)
    assert (body.left_m_s, body.right_m_s) == pytest.approx((left, right))


def test_it_keeps_its_last_speed_for_ever(bench):
    board, body, clock = bench
    board.feed(START + SAFE + drive(100, 100))
    for _ in range(600):
        clock.advance(1.0)
        board.tick(clock.now())
    assert body.reading().left_ticks == pytest.approx(60 / 0.4446e-3, rel=1e-3)


@pytest.mark.parametrize("switch", [{"wheel_drop": True}, {"cliff": True}])
def test_safe_mode_falls_back_to_passive_at_rest_and_full_mode_does_not(make_board, switch):
    for mode, after in ((SAFE, BaseMode.PASSIVE), (FULL, BaseMode.FULL)):
        board, body, clock = make_board()
        board.feed(START + mode + drive(100, 100))
        body.set(**switch)
        clock.advance(0.015)
        board.tick(clock.now())
        assert board.mode is after
        assert body.left_m_s == (0.1 if after is BaseMode.FULL else 0.0)


def test_a_cliff_lets_it_back_straight_off_but_not_turn_tightly(bench):
    board, body, _ = bench
    body.set(cliff=True)
    board.feed(START + SAFE + drive(-100, -100))
    assert board.mode is BaseMode.SAFE
    board.feed(drive(-100, 0))
    assert board.mode is BaseMode.PASSIVE
    assert (body.left_m_s, body.right_m_s) == (0.0, 0.0)


def test_the_charger_plug_ends_safe_mode_and_the_home_base_only_where_asked_for(bench):
    board, body, _ = bench
    body.set(on_dock=True)
    board.feed(START + SAFE)
    assert board.mode is BaseMode.SAFE
    board.faults.home_base_blocks_safe_mode = True
    board.feed(SAFE)
    assert board.mode is BaseMode.PASSIVE
    board.faults.home_base_blocks_safe_mode = False
    board.faults.charger_plugged_in = True
    board.feed(SAFE)
    assert board.mode is BaseMode.PASSIVE
    assert board.feed(bytes([142, 34])) == b"\x03"


def test_safe_mode_ends_charging_and_passive_mode_takes_it_up_again(bench):
    board, body, _ = bench
    body.set(on_dock=True, charging=ChargingState.FULL, current_a=1.2)
    ask = bytes([149, 2, 21, 23])
    assert board.feed(START + ask) == struct.pack(">Bh", 2, 1200)
    assert board.feed(SAFE + ask) == struct.pack(">Bh", 0, -200)
    assert board.feed(START + ask) == struct.pack(">Bh", 2, 1200)


@pytest.mark.parametrize("ending", [SAFE, FULL, POWER, bytes([7])])
def test_a_docking_run_ends_by_another_mode(bench, ending):
    board, body, _ = bench
    board.feed(START + DOCK)
    assert body.docking
    board.feed(drive(0, 0) + START)
    assert body.docking  # neither a drive command nor start ends it
    board.feed(ending)
    assert not body.docking


@given(st.lists(st.integers(1, 40), max_size=60))
def test_commands_may_come_in_any_pieces(make_board, sizes):
    script = (
        START
        + SAFE
        + bytes([140, 0, 2, 60, 10, 62, 10, 139, 1, 2, 3])
        + drive(50, 60)
        + bytes([142, 35, 149, 2, 41, 42])
    )
    board, body, _ = make_board()
    answer = b""
    at = 0
    for size in [*sizes, len(script)]:
        answer += board.feed(script[at : at + size])
        at += size
    assert answer == struct.pack(">Bhh", 2, 60, 50)
    assert (body.left_m_s, body.right_m_s) == (0.05, 0.06)


@given(st.binary(max_size=400))
def test_no_bytes_whatsoever_upset_it(make_board, noise):
    board, _, clock = make_board()
    for value in START + noise:
        board.feed(bytes([value]))
        clock.advance(0.001)
        board.tick(clock.now())
    board.power_cycle()
    assert board.feed(START + bytes([142, 35])) == b"\x01"


def test_every_packet_and_group_has_the_specified_size(bench):
    board, _, _ = bench
    board.feed(START)
    for identifier in range(7, 59):
        assert len(board.feed(bytes([142, identifier]))) == (2 if identifier in TWO_BYTES else 1), identifier
    for identifier, size in GROUP_SIZES.items():
        assert len(board.feed(bytes([142, identifier]))) == size, identifier
    assert board.feed(bytes([142, 59])) == b""


def test_a_group_is_its_packets_one_after_the_other(bench):
    board, body, clock = bench
    body.set(bump_left=True, on_dock=True, ir_omni=161, current_a=-1.5)
    board.feed(START + FULL + drive(100, 120))
    clock.advance(1.0)
    board.feed(drive(0, 0))
    board.feed(bytes([149, 2, 19, 20]))  # these two tell what changed since they were last asked for
    singles = board.feed(bytes([149, 52, *range(7, 59)]))
    assert board.feed(bytes([142, 100])) == singles


def test_distance_and_angle_count_from_when_each_was_last_asked_for(bench):
    board, _, clock = bench
    board.feed(START + FULL + drive(100, 200))
    clock.advance(1.0)
    assert struct.unpack(">h", board.feed(bytes([142, 19]))) == (150,)
    assert struct.unpack(">h", board.feed(bytes([142, 19]))) == (0,)
    assert struct.unpack(">h", board.feed(bytes([142, 20]))) == (24,)  # 100 mm over 235 mm


def test_streams_a_record_every_15_ms_until_paused_or_stopped(bench):
    board, _, clock = bench
    board.feed(START + bytes([148, 2, 29, 13]))
    records = []
    for _ in range(200):  # the specification's own example asks for cliff signal and virtual wall
        clock.advance(0.003)
        records += filter(None, [board.tick(clock.now())])
    assert len(records) == 40
    assert all(record[:3] == bytes([19, 5, 29]) and sum(record) % 256 == 0 for record in records)
    board.feed(bytes([150, 0]))
    clock.advance(0.1)
    assert board.tick(clock.now()) == b""
    board.feed(bytes([150, 1]))
    assert board.tick(clock.now()) != b""
    board.feed(OFF)
    clock.advance(0.1)
    assert board.tick(clock.now()) == b""


def test_faults_of_the_line(bench):
    board, _, clock = bench
    ask = bytes([142, 35])
    board.feed(START)
    board.faults.send_delay_s = 0.2
    assert board.feed(ask) == b""
    clock.advance(0.21)
    assert board.tick(clock.now()) == b"\x01"
    board.faults.send_delay_s = 0.0
    board.faults.receive_delay_s = 0.1
    board.feed(SAFE)
    assert board.mode is BaseMode.PASSIVE
    clock.advance(0.11)
    board.tick(clock.now())
    assert board.mode is BaseMode.SAFE
    board.faults.receive_delay_s = 0.0
    board.faults.silent = True
    assert board.feed(ask) == b""
    board.faults.silent = False
    board.faults.lose_sent = 1.0
    assert board.feed(ask) == b""
    board.faults.lose_sent = 0.0
    board.faults.lose_received = 1.0
    assert board.feed(ask) == b""


def test_faults_of_the_board(bench):
    board, body, clock = bench
    board.feed(START + SAFE + drive(200, 200))
    board.faults.ignore_stop = True
    board.feed(drive(0, 0) + START)
    assert body.left_m_s == 0.2
    board.faults.ignore_stop = False
    board.faults.deaf = True
    board.feed(SAFE)
    assert board.mode is BaseMode.PASSIVE
    board.faults.deaf = False
    board.faults.frozen_encoders = True
    before = board.feed(bytes([142, 43]))
    clock.advance(1.0)
    assert board.feed(bytes([142, 43])) == before
    board.faults.frozen_encoders = False
    assert board.feed(bytes([142, 43])) != before
    board.faults.mode_change_dead_time_s = 0.02
    assert board.feed(START + SAFE + bytes([142, 35])) == b""
    clock.advance(0.021)
    assert board.feed(bytes([142, 35])) == b"\x01"


def test_wrong_checksums_come_as_many_as_asked_for(bench):
    board, _, clock = bench
    board.feed(START + bytes([148, 1, 35]))
    board.faults.corrupt_checksums = 2
    sums = []
    for _ in range(4):
        clock.advance(0.015)
        sums.append(sum(board.tick(clock.now())) % 256 == 0)
    assert sums == [False, False, True, True]


def test_tells_what_the_client_wrote_and_when(bench):
    board, _, clock = bench
    board.feed(START)
    clock.advance(2.5)
    board.feed(drive(0, 0))
    assert list(board.received) == [Received(100.0, START), Received(102.5, drive(0, 0))]


def test_a_power_cycle_turns_it_off_and_zeroes_its_counters(bench):
    board, body, clock = bench
    board.feed(START + FULL + drive(100, 100))
    clock.advance(1.0)
    board.power_cycle()
    assert board.mode is BaseMode.OFF
    assert body.left_m_s == 0.0
    assert board.feed(START + bytes([142, 101]))[:4] == bytes(4)
