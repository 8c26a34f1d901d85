"""SCIP numbers, lines and blocks: round trips, and every damage told."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.errors import ChecksumError, ProtocolError
from drivers.scip.codec import (
    check_character,
    decode_number,
    decode_ranges,
    encode_number,
    encode_ranges,
    with_check,
    without_check,
)

WIDTHS = st.sampled_from((2, 3, 4))


@st.composite
def blocks(draw: st.DrawFn) -> tuple[list[int], int]:
    width = draw(WIDTHS)
    values = draw(st.lists(st.integers(0, (1 << 6 * width) - 1), min_size=1, max_size=200))
    return values, width


def test_the_examples_of_the_specification() -> None:
    # C-42-03320B, section 6: 1234 mm is "CB" in two characters, 5432 mm "1Dh" in three, 16000000 "m2@0" in four.
    assert encode_number(1234, 2) == b"CB"
    assert encode_number(5432, 3) == b"1Dh"
    assert encode_number(16_000_000, 4) == b"m2@0"
    assert decode_number(b"CB") == 1234
    assert decode_number(b"1Dh") == 5432
    assert decode_number(b"m2@0") == 16_000_000
    # Section 8: the statuses 00 and 99 travel as "00P" and "99b".
    assert with_check(b"00") == b"00P\n"
    assert with_check(b"99") == b"99b\n"


@given(blocks())
def test_what_is_encoded_decodes_to_itself(case: tuple[list[int], int]) -> None:
    values, width = case
    decoded = decode_ranges(encode_ranges(np.array(values), width), width)
    assert decoded.dtype == np.uint32
    assert decoded.tolist() == values


@given(blocks())
def test_a_block_is_lines_of_64_characters_each_with_its_check(case: tuple[list[int], int]) -> None:
    values, width = case
    block = encode_ranges(np.array(values), width)
    lines = block.split(b"\n")
    assert lines.pop() == b""
    assert all(len(line) == 65 for line in lines[:-1])
    assert all(check_character(line[:-1]) == line[-1:] for line in lines)
    characters = b"".join(line[:-1] for line in lines)
    assert characters == b"".join(encode_number(value, width) for value in values)


@given(blocks(), st.data())
def test_any_single_wrong_byte_is_found(case: tuple[list[int], int], data: st.DataObject) -> None:
    values, width = case
    block = bytearray(encode_ranges(np.array(values), width))
    where = data.draw(st.integers(0, len(block) - 1))
    wrong = data.draw(st.integers(0, 255).filter(lambda byte: byte != block[where]))
    block[where] = wrong
    with pytest.raises(ChecksumError, match=f"data line {where // 66 + 1} of {-(-len(block) // 66)}"):
        decode_ranges(bytes(block), width)


@given(blocks(), st.data())
def test_a_missing_or_surplus_byte_is_found(case: tuple[list[int], int], data: st.DataObject) -> None:
    values, width = case
    block = encode_ranges(np.array(values), width)
    where = data.draw(st.integers(0, len(block) - 1))
    with pytest.raises(ProtocolError):
        decode_ranges(block[:where] + block[where + 1 :], width)
    with pytest.raises(ProtocolError):
        decode_ranges(block[:where] + b"~" + block[where:], width)


@given(st.binary(max_size=300), WIDTHS)
def test_noise_is_refused_and_never_decoded(noise: bytes, width: int) -> None:
    if not noise:
        assert decode_ranges(noise, width).size == 0
        return
    try:
        values = decode_ranges(noise, width)
    except ProtocolError:
        return
    assert encode_ranges(values, width) == noise  # it was no noise then


def test_a_block_of_the_wrong_width_is_refused() -> None:
    with pytest.raises(ProtocolError, match="3-character"):
        decode_ranges(encode_ranges(np.arange(50), 2), 3)


def test_a_value_too_large_is_not_encoded() -> None:
    with pytest.raises(ValueError, match="do not fit"):
        encode_ranges(np.array([4096]), 2)
    with pytest.raises(ValueError, match="does not fit"):
        encode_number(1 << 18, 3)


def test_other_buffers_decode_too() -> None:
    block = encode_ranges(np.arange(1081), 3)
    assert decode_ranges(bytearray(block), 3).tolist() == list(range(1081))
    assert decode_ranges(memoryview(block), 3).tolist() == list(range(1081))


def test_a_line_with_a_wrong_check_names_what_it_was() -> None:
    assert without_check(b"00P", "status") == b"00"
    with pytest.raises(ChecksumError, match="status"):
        without_check(b"00Q", "status")
    with pytest.raises(ChecksumError, match="too short"):
        without_check(b"P", "status")
    with pytest.raises(ProtocolError, match="encodes nothing"):
        decode_number(b"0 0")
