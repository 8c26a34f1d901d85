"""The stream parser: whatever happens to the bytes, only whole and undamaged records come out."""

import struct

from hypothesis import given
from hypothesis import strategies as st

from drivers.create2.codec import PAYLOAD_LENGTH, START_STREAM
from drivers.create2.stream import FRAME_LENGTH, StreamParser
from drivers.types import BaseMode, ChargingState

WIDTHS = {43: "h", 44: "h", 22: "H", 23: "h", 25: "H", 26: "H"}


def record(left: int = 0, right: int = 0, **packets: int) -> bytes:
    """A streamed record as the specification builds it."""
    values = {43: left, 44: right, 35: 2, 22: 15000, 25: 2600, 26: 2696}
    values |= {int(name[1:]): value for name, value in packets.items()}
    payload = b""
    for identifier in START_STREAM[2:]:
        payload += bytes([identifier]) + struct.pack(">" + WIDTHS.get(identifier, "B"), values.get(identifier, 0))
    frame = bytes([19, len(payload)]) + payload
    return frame + bytes([-sum(frame) % 256])


counts = st.integers(-32768, 32767)
records = st.builds(record, counts, counts, _23=st.integers(-32768, 32767), _17=st.integers(0, 255))
# Garbage that holds what looks like the beginning of a record.
garbage = st.lists(st.sampled_from([b"\x13", bytes([19, PAYLOAD_LENGTH]), b"\x00", b"\xff"]), max_size=30).map(b"".join)


def test_every_sensor_is_read_from_its_packet():
    parser = StreamParser()
    [sensors] = parser.feed(record(-5, 7, _7=0b0110, _10=1, _34=2, _21=2, _23=-1234, _35=1, _17=172, _52=164, _53=168))
    assert (sensors.encoder_left, sensors.encoder_right) == (-5, 7)
    assert (sensors.bump_left, sensors.bump_right) == (True, False)
    assert (sensors.wheel_drop_left, sensors.wheel_drop_right, sensors.wheel_drop) == (False, True, True)
    assert sensors.cliff_front_left
    assert sensors.cliff
    assert (sensors.home_base, sensors.internal_charger) == (True, False)
    assert sensors.charging is ChargingState.FULL
    assert sensors.current_a == -1.234
    assert sensors.voltage_v == 15.0
    assert (sensors.charge_mah, sensors.capacity_mah) == (2600, 2696)
    assert sensors.mode is BaseMode.PASSIVE
    assert (sensors.infrared_omni, sensors.infrared_left, sensors.infrared_right) == (172, 164, 168)


@given(st.lists(records, max_size=6), st.randoms(use_true_random=False))
def test_read_boundaries_do_not_matter(frames, chance):
    parser = StreamParser()
    stream = b"".join(frames)
    out = []
    while stream:
        size = chance.randint(1, 2 * FRAME_LENGTH)
        out += parser.feed(stream[:size])
        stream = stream[size:]
    assert len(out) == len(frames) == parser.frames
    assert (parser.damaged, parser.skipped) == (0, 0)


@given(garbage, records, st.integers(1, 200))
def test_a_good_record_is_found_behind_any_garbage(noise, frame, size):
    # Garbage may claim the bytes of one record's length; the second good record behind it is always whole.
    stream = noise + frame + frame
    parser = StreamParser()
    out = [each for at in range(0, len(stream), size) for each in parser.feed(stream[at : at + size])]
    assert out
    assert out[-1].encoder_left == struct.unpack(">h", frame[3:5])[0]


@given(st.lists(records, min_size=3, max_size=6), st.data())
def test_a_lost_byte_costs_its_own_record_and_no_other(frames, data):
    stream = b"".join(frames)
    lost = data.draw(st.integers(0, len(stream) - 1))
    parser = StreamParser()
    out = parser.feed(stream[:lost] + stream[lost + 1 :])
    counted = [struct.unpack(">hxh", frame[3:8]) for frame in frames]
    # A lost byte that equals its neighbour across the border may be charged to either record.
    owner = lost // FRAME_LENGTH
    blamed = [counted[:index] + counted[index + 1 :] for index in range(max(0, owner - 1), owner + 2)]
    assert [(each.encoder_left, each.encoder_right) for each in out] in blamed


@given(st.lists(records, min_size=1, max_size=4), st.data())
def test_no_record_with_a_wrong_checksum_is_delivered(frames, data):
    at = data.draw(st.integers(0, len(frames) - 1))
    position = data.draw(st.integers(0, FRAME_LENGTH - 1))
    flip = data.draw(st.integers(1, 255))
    damaged = bytearray(frames[at])
    damaged[position] ^= flip
    stream = b"".join([*frames[:at], bytes(damaged), *frames[at + 1 :]])
    parser = StreamParser()
    # One changed byte always changes the sum, so that record must not come; all the others must.
    assert len(parser.feed(stream)) == len(frames) - 1
    assert parser.skipped + FRAME_LENGTH * parser.frames + (FRAME_LENGTH - parser.needed) == len(stream)


@given(st.binary(max_size=300))
def test_whatever_comes_out_was_a_frame_with_the_right_sum(noise):
    parser = StreamParser()
    for value in noise:
        assert 1 <= parser.needed <= FRAME_LENGTH
        assert parser.feed(bytes([value])) == []


def test_values_outside_the_specification_are_damage_though_the_sum_is_right():
    parser = StreamParser()
    assert parser.feed(record(_34=4)) == []
    assert parser.feed(record(_21=6)) == []
    assert parser.damaged == 2


def test_a_mode_that_the_specification_does_not_know_counts_as_one_that_does_not_obey():
    assert StreamParser().feed(record(_35=32))[0].mode is BaseMode.PASSIVE


def test_asks_for_exactly_the_bytes_that_complete_the_next_record():
    parser = StreamParser()
    frame = record()
    assert parser.needed == len(frame) == FRAME_LENGTH
    parser.feed(frame[:10])
    assert parser.needed == FRAME_LENGTH - 10
