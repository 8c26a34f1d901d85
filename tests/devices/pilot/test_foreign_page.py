"""Another maker's page: watched and read in a real browser, and its robot's stop channel tried before it is driven."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import cast

import pytest
from _vendors_robot import MIDDLE, guard_settings, vendors_client, vendors_stop

from courses.course import Course
from courses.runner import run_course
from courses.verdict import Verdict
from devices.client import WebDriverSession
from devices.pilot import Keys, PilotClient, PilotInput, Stick, open_input
from devices.pilot.client import SOCKET
from devices.pilot.foreign import ForeignPage, ForeignSeat
from devices.pilot.gate import GatedBase
from devices.pilot.trial import try_stop
from devices.pilot.wheels import ShownWheels
from drivers.clock import SystemClock
from drivers.errors import DeviceError, DeviceSilentError, MotionRefusedError
from drivers.guard import GuardProcess, GuardSettings, LidarRules
from drivers.guard.foreign_client import ForeignGuardClient
from drivers.power import Dialect
from drivers.sim import Bench, BenchRobot
from drivers.sim.pilot import PilotServer
from drivers.sim.power_outlet import PowerOutlet
from drivers.sim.vendor import VendorRobot
from drivers.stop_channel import Outlet, PowerStop, StopSettings
from drivers.types import Pose

CLOCK = SystemClock()


@pytest.fixture
def page(vendor: VendorRobot, browser: WebDriverSession) -> ForeignPage:
    vendor.restart()
    opened = ForeignPage(browser, vendors_client(vendor.url))
    opened.open()
    return opened


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, f"no {what}"
        time.sleep(0.01)


# ---- the page


@pytest.mark.parametrize("name", ["keyboard", "mouse", "gamepad"])
def test_its_inputs_drive_the_vendors_robot_and_its_odometry_is_read_back(
    page: ForeignPage, visitor: BenchRobot, name: str
) -> None:
    visitor.put_robot(*MIDDLE)
    piloted = open_input(name, page.session, page.client)
    left, right, battery = page.read()
    assert 0 < battery <= 1

    def turned() -> bool:
        piloted.drive(0.0, 0.15)
        now_left, now_right, _ = page.read()
        return now_right - right > 0.01 and left - now_left > 0.01

    until(turned, "turn to the left")
    piloted.stop()
    until(lambda: abs(visitor.truth().angular) < 1e-3, "rest")


def navigated_away(page: ForeignPage, _vendor: VendorRobot) -> None:
    page.session.go("about:blank")


def unfocused(page: ForeignPage, _vendor: VendorRobot) -> None:
    page.session.execute("window.dispatchEvent(new Event('blur'))")


def cut_off(_page: ForeignPage, vendor: VendorRobot) -> None:
    vendor.cut_off()


@pytest.mark.parametrize(
    ("spoil", "trouble"),
    [
        (navigated_away, "the page was left or loaded anew"),
        (unfocused, "the page lost the focus"),
        (cut_off, "the page is cut off from its robot"),
    ],
)
def test_what_is_wrong_with_a_page_is_told(
    page: ForeignPage, vendor: VendorRobot, spoil: Callable[[ForeignPage, VendorRobot], None], trouble: str
) -> None:
    page.read()
    spoil(page, vendor)
    until(lambda: page.trouble() == trouble, trouble)


def test_a_page_that_is_closed_is_gone(own_browser: WebDriverSession, vendor: VendorRobot) -> None:
    page = ForeignPage(own_browser, vendors_client(vendor.url))
    page.open()
    own_browser.command("DELETE", "/window")
    with pytest.raises(DeviceError, match="the page of the pilot's client is gone"):
        page.read()


def test_a_page_without_odometry_is_refused(browser: WebDriverSession, vendor: VendorRobot) -> None:
    client = PilotClient(url=vendor.url, wheels="return robovisit.wheel", keyboard=Keys(0.2, 0.6), ready_within_s=1.0)
    with pytest.raises(DeviceSilentError, match="shows no robot within 1 s: wheels gives None, not"):
        ForeignPage(browser, client).open()
    client = PilotClient(url=vendor.url, wheels="return nothing.there", keyboard=Keys(0.2, 0.6), ready_within_s=1.0)
    with pytest.raises(DeviceSilentError, match="wheels fails: ReferenceError"):
        ForeignPage(browser, client).open()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"url": "ftp://x"}, "must start with http"),
        ({"keyboard": None}, "at least one of keyboard, mouse and gamepad"),
        ({"ready_within_s": 0.0}, "must lie in 1 .. 600"),
    ],
)
def test_what_makes_no_sense_is_refused(changes: dict[str, object], message: str) -> None:
    given = {"url": "http://127.0.0.1/", "wheels": "return [0, 0]", "keyboard": Keys(0.2, 0.6), **changes}
    with pytest.raises(ValueError, match=message):
        PilotClient(**given)  # type: ignore[arg-type]  # fields by name
    with pytest.raises(ValueError, match="no key is called 'Arrow'"):
        Keys(0.2, 0.6, ahead="Arrow")
    with pytest.raises(ValueError, match="a key means two things"):
        Keys(0.2, 0.6, ahead="w", back="w")


# ---- the trial of the stop channel; the page is played by the test, for the robot's sake there is no browser


class PlayedPage:
    """What the vendor's page would show."""

    def __init__(self, vendor: VendorRobot) -> None:
        self._vendor = vendor

    def read(self) -> tuple[float, float, float]:
        return self._vendor.shown()


class PlayedInput:
    name = "played"

    def __init__(self, vendor: VendorRobot) -> None:
        self._vendor = vendor

    def drive(self, linear: float, angular: float) -> None:
        self._vendor.ask(linear, angular)

    def stop(self) -> None:
        self._vendor.ask(0.0, 0.0)


@contextmanager
def seated(visitor: BenchRobot, vendor: VendorRobot, stop: StopSettings, folder: Path) -> Iterator[ForeignSeat]:
    vendor.restart()
    visitor.set_board_power(True)
    visitor.put_robot(*MIDDLE)
    with ExitStack() as stack:
        guard = stack.enter_context(GuardProcess.start(guard_settings(visitor, folder, stop)))
        base = ForeignGuardClient.connect(guard.address, 1, CLOCK.now() + 300, CLOCK)
        stack.enter_context(base)
        base.scan(timeout=30.0)
        page = cast(ForeignPage, PlayedPage(vendor))
        piloted: PilotInput = PlayedInput(vendor)
        seat = ForeignSeat(
            base,
            page,
            piloted,
            CLOCK,
            ask=base.drive,
            geometry=base.geometry,
            wheels=ShownWheels(base.geometry, 0.3, 1.0),
            resumes=stop.vendor is not None,
        )
        yield seat
        vendor.ask(0.0, 0.0)


def at_rest(visitor: BenchRobot) -> float:
    """Its heading once it stands."""
    until(lambda: visitor.truth().angular == 0 == visitor.truth().linear, "rest")
    return visitor.truth().heading


def tried(seat: ForeignSeat, ready_within_s: float = 20.0) -> str:
    """What the trial says; again where this machine was too busy to see it through."""
    for _ in range(4):
        try:
            try_stop(seat, CLOCK, latency_s=0.6, ready_within_s=ready_within_s)
        except MotionRefusedError as exc:
            if "did not turn" not in str(exc):
                return str(exc)
        else:
            return ""
    return "this machine is too busy"


@pytest.mark.alone
def test_a_vendors_stop_that_works_is_let_through(visitor: BenchRobot, vendor: VendorRobot, tmp_path: Path) -> None:
    with seated(visitor, vendor, vendors_stop(vendor.url), tmp_path) as seat:
        before = vendor.halts
        assert tried(seat) == ""
        assert vendor.halts >= before + 2  # at rest, and in motion
        truth = visitor.truth()
        assert (truth.x, truth.y, truth.heading) == pytest.approx(MIDDLE, abs=0.06)
        assert not seat.status().latched


@pytest.mark.alone
def test_a_stop_that_answers_and_does_nothing_is_found_out(
    visitor: BenchRobot, vendor: VendorRobot, tmp_path: Path
) -> None:
    with seated(visitor, vendor, vendors_stop(vendor.url), tmp_path) as seat:
        vendor.faults.stop_ignored = True
        assert "the robot still moved" in tried(seat)


def test_a_stop_that_does_not_answer_is_found_out_before_anything_moves(
    visitor: BenchRobot, vendor: VendorRobot, tmp_path: Path
) -> None:
    with seated(visitor, vendor, vendors_stop(vendor.url), tmp_path) as seat:
        vendor.faults.stop_fails = True
        before = at_rest(visitor)
        assert "the stop channel does not answer, so the robot is not driven: NOT YET stopped by" in tried(seat, 1.0)
        assert visitor.truth().heading == before


def test_a_robot_without_a_stop_channel_is_not_moved(visitor: BenchRobot, vendor: VendorRobot, tmp_path: Path) -> None:
    with seated(visitor, vendor, StopSettings(), tmp_path) as seat:
        before = at_rest(visitor)
        assert "the lab file names no stop channel for this robot: give base.stop" in tried(seat, 1.0)
        assert visitor.truth().heading == before


@pytest.mark.alone
def test_a_robot_that_counts_anew_goes_on_where_it_rested_and_is_stopped_where_it_drove(
    visitor: BenchRobot, vendor: VendorRobot, tmp_path: Path
) -> None:
    with seated(visitor, vendor, vendors_stop(vendor.url), tmp_path) as seat:
        before = seat.state()
        seat.arm(20.0)
        vendor.count_anew(5.0)
        until(lambda: seat.state().odometry_breaks == 1, "notice")
        after = seat.state()
        assert (after.left_ticks, after.right_ticks) == pytest.approx((before.left_ticks, before.right_ticks), abs=5)

        def turned() -> bool:
            seat.drive(0.0, 0.5)
            return seat.state().right_ticks - before.right_ticks > 100

        until(turned, "turn to the left")
        vendor.count_anew()
        with pytest.raises(MotionRefusedError, match=r"the robot was stopped by the vendor's stop: .* to count anew"):
            until(lambda: turned() and False, "notice")
        at_rest(visitor)


@pytest.mark.soak
def test_a_relay_in_the_motors_supply_is_tried_too(visitor: BenchRobot, vendor: VendorRobot, tmp_path: Path) -> None:
    with PowerOutlet(on_switch=lambda _number, on: visitor.set_board_power(on)) as outlet:
        stop = StopSettings(power=PowerStop(outlet=Outlet(outlet.url, Dialect.TASMOTA)))
        with seated(visitor, vendor, stop, tmp_path) as seat:
            assert tried(seat) == ""
            assert (0, False) in outlet.switched
            assert outlet.sockets == [True]


@pytest.mark.soak
def test_a_relay_that_switches_something_else_is_found_out(
    visitor: BenchRobot, vendor: VendorRobot, tmp_path: Path
) -> None:
    with PowerOutlet() as outlet:  # nothing hangs on it
        stop = StopSettings(power=PowerStop(outlet=Outlet(outlet.url, Dialect.SHELLY_1)))
        with seated(visitor, vendor, stop, tmp_path) as seat:
            assert "the robot still moved" in tried(seat)
            assert outlet.sockets == [False]


@pytest.mark.soak
def test_the_guard_is_a_stop_channel_for_a_page_on_the_labs_own_socket(
    visitor: BenchRobot, browser: WebDriverSession, tmp_path: Path
) -> None:
    """Our own page stands in for another maker's: it is given the socket's address in its own."""
    with Bench("standard", 1.0, seed=6, dock="A") as bench, ExitStack() as stack:
        own = bench.robots[0]
        own.put_robot(*MIDDLE)
        settings = GuardSettings(
            base_url=own.base_url,
            lidar_url=own.lidar_url,
            listen=(f"unix://{tmp_path}/guard.sock",),
            state_dir=str(tmp_path),
            simulated=True,
            lidar=LidarRules(mount_x_m=0.1, max_age_s=0.5),
        )
        guard = stack.enter_context(GuardProcess.start(settings))
        base = stack.enter_context(guard.client(1, CLOCK.now() + 300, CLOCK))
        base.scan(timeout=30.0)
        gate = GatedBase(base, base.drive)
        foreign = stack.enter_context(PilotServer(gate))  # serves the page
        server = stack.enter_context(PilotServer(gate, origins=(foreign.url.rstrip("/"),)))
        client = PilotClient(
            url=f"{foreign.url}?socket={SOCKET}",
            wheels="const s = window.pilot.telemetry?.state; const m = 0.000444565; "
            "return s ? [s.left_ticks * m, s.right_ticks * m] : null",
            gamepad=Stick(0.35, 1.2),
        )
        page = ForeignPage(browser, client)
        page.open(f"{server.url.replace('http', 'ws')}ws")
        piloted = open_input("gamepad", browser, client)
        wheels = ShownWheels(base.geometry, *client.fastest("gamepad"))
        seat = ForeignSeat(gate, page, piloted, CLOCK, ask=None, geometry=base.geometry, wheels=wheels, resumes=False)
        seat.state()
        seat.set_pose(Pose(*MIDDLE, time=CLOCK.now()))
        assert tried(seat) == ""
        seat.disarm()
        before = own.truth().heading
        for _ in range(20):
            seat.hold(0.0, 0.5)
            time.sleep(0.02)
        assert own.truth().heading == pytest.approx(before, abs=1e-3)


# ---- a whole course


@pytest.mark.soak
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", ["keyboard", "mouse", "gamepad"])
def test_a_lap_through_the_vendors_client(
    visitor: BenchRobot, vendor: VendorRobot, browser: WebDriverSession, tmp_path: Path, name: str
) -> None:
    with seated(visitor, vendor, vendors_stop(vendor.url), tmp_path) as played:
        page = ForeignPage(browser, vendors_client(vendor.url))
        page.open()
        base = played._base
        seat = ForeignSeat(
            base,
            page,
            open_input(name, browser, page.client),
            CLOCK,
            ask=base.drive,
            geometry=base.geometry,
            wheels=ShownWheels(base.geometry, *page.client.fastest(name)),
            resumes=True,
        )
        for _ in range(4):
            visitor.put_robot(*MIDDLE)
            seat.state()
            seat.set_pose(Pose(*MIDDLE, time=CLOCK.now()))
            assert tried(seat) == ""
            result = run_course(Course.library("lap"), seat, CLOCK, driving_input=seat)
            if result.verdict is not Verdict.ERRORED:
                break
        assert result.verdict is Verdict.PASSED, (result.judged.reasons, result.lab_errors)
