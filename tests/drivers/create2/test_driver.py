"""The Create 2 driver against the simulated board, over a pseudo terminal and over TCP."""

import time

import pytest

from drivers.create2 import Create2
from drivers.protocols import Docking, MotionBase
from drivers.types import BaseMode


def test_offers_motion_and_docking(base):
    assert isinstance(base, MotionBase)
    assert isinstance(base, Docking)


def test_drives_and_reads_back_ticks_over_either_line(either_bench):
    with Create2.open(either_bench.server.url, either_bench.clock) as base:
        assert base.state().mode is BaseMode.PASSIVE
        base.enter_safe_mode()
        base.drive(0.2, 0.4)
        deadline = time.monotonic() + 10
        while base.state().right_ticks < 60 and time.monotonic() < deadline:
            time.sleep(0.01)
        base.stop()
        # 0.4 rad/s on a 235 mm base: 47 mm/s off either side of 200.
        assert either_bench.body.left_m / either_bench.body.right_m == pytest.approx(0.153 / 0.247, abs=0.02)
        assert base.state().mode is BaseMode.SAFE
    assert either_bench.board.mode is BaseMode.OFF


def test_right_wheel_goes_first_on_the_wire(bench, base):
    base.enter_safe_mode()
    base.drive(0.1, 0.4 / 0.235)
    base.close()
    assert bytes([145, 0x01, 0x2C, 0xFF, 0x9C]) in bench.received()  # right 300, left -100 mm/s
