"""A body that only turns wheels, and a board on a line, for tests of the Create 2 driver and its simulated board."""

import contextlib
import math
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from drivers.clock import Clock, ManualClock, SystemClock
from drivers.create2 import Create2
from drivers.errors import DeviceSilentError
from drivers.sim.board_server import BoardServer
from drivers.sim.body import BodyReading
from drivers.sim.open_interface import BoardFaults, OpenInterfaceBoard

TICKS_PER_M = 508.8 / (math.pi * 0.072)


class WheelsOnly:
    """Wheels that obey at once; everything else is as the test sets it in `switches`."""

    def __init__(self, clock: Clock) -> None:
        self.switches = BodyReading()
        self.left_m = self.right_m = 0.0
        self.left_m_s = self.right_m_s = 0.0
        self.docking = False
        self._clock = clock
        self._since = clock.now()

    def set(self, **switches: object) -> None:
        self.switches = replace(self.switches, **switches)

    def set_wheel_speeds(self, left_m_s: float, right_m_s: float) -> None:
        self._roll()
        self.left_m_s, self.right_m_s = left_m_s, right_m_s

    def start_docking(self) -> None:
        self.docking = True

    def stop_docking(self) -> None:
        self.docking = False

    def reading(self) -> BodyReading:
        self._roll()
        return replace(
            self.switches,
            left_ticks=math.floor(self.left_m * TICKS_PER_M),
            right_ticks=math.floor(self.right_m * TICKS_PER_M),
            docking=self.docking,
        )

    def _roll(self) -> None:
        now = self._clock.now()
        self.left_m += self.left_m_s * (now - self._since)
        self.right_m += self.right_m_s * (now - self._since)
        self._since = now


class Bench:
    """A body, its board and the line it is served on."""

    def __init__(self, serve: Callable[[OpenInterfaceBoard, Clock], BoardServer], clock: Clock) -> None:
        self.clock = clock
        self.body = WheelsOnly(clock)
        self.faults = BoardFaults()
        self.board = OpenInterfaceBoard(self.body, clock, self.faults)
        self.server = serve(self.board, clock)

    def received(self) -> bytes:
        return b"".join(each.data for each in list(self.board.received))


@pytest.fixture(scope="session")
def make_board() -> Callable[..., tuple[OpenInterfaceBoard, WheelsOnly, Clock]]:
    """Makes boards, on clocks that move only when told to unless another is given."""

    def make(clock: Clock | None = None) -> tuple[OpenInterfaceBoard, WheelsOnly, Clock]:
        clock = clock or ManualClock(100.0)
        body = WheelsOnly(clock)
        return OpenInterfaceBoard(body, clock), body, clock

    return make


@pytest.fixture(params=[BoardServer.on_pty, BoardServer.on_tcp], ids=["pty", "tcp"])
def either_bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    bench = Bench(request.param, SystemClock())
    with bench.server:
        yield bench


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench(BoardServer.on_pty, SystemClock())
    with bench.server:
        yield bench


@pytest.fixture
def base(bench: Bench) -> Iterator[Create2]:
    with Create2.open(bench.server.url, bench.clock) as base:
        yield base


@pytest.fixture
def eventually(bench: Bench) -> Callable[[Callable[[], bool]], bool]:
    """Waits, generously, until something is so; a loaded machine may keep the board silent meanwhile."""

    def wait(condition: Callable[[], bool]) -> bool:
        deadline = bench.clock.now() + 20
        while bench.clock.now() < deadline:
            with contextlib.suppress(DeviceSilentError):
                if condition():
                    return True
            bench.clock.sleep(0.005)
        return False

    return wait
