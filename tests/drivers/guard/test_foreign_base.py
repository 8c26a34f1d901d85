"""A robot that its own client drives, past the guard: what makes the guard use the stop channel, and what it does."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from _vendors_robot import MIDDLE, guard_settings, vendors_stop

from drivers.clock import SystemClock
from drivers.errors import DeviceError, MotionRefusedError
from drivers.guard import GuardProcess, GuardSettings
from drivers.guard.foreign_client import ForeignGuardClient
from drivers.power import Dialect
from drivers.sim import BenchRobot
from drivers.sim.power_outlet import PowerOutlet
from drivers.sim.vendor import VendorRobot
from drivers.stop_channel import Outlet, PowerStop, Request, StopSettings, VendorStop
from drivers.types import BaseMode, BaseState, ChargingState, StopReason

LATENCY_S = 0.3
pytestmark = pytest.mark.alone  # a robot in real time, that has to be driven before it can be stopped


class Rig:
    """A vendor's robot on the bench, the guard that watches over it, and who plays its client's page."""

    def __init__(self, visitor: BenchRobot, vendor: VendorRobot, settings: GuardSettings) -> None:
        self.visitor = visitor
        self.vendor = vendor
        self.settings = settings
        self.clock = SystemClock()
        self.guard = GuardProcess.start(settings)
        self._fencing = 0
        self._held = ExitStack()

    def close(self) -> None:
        self._held.close()
        self.guard.close()

    def holder(self, seconds: float = 300.0) -> ForeignGuardClient:
        """Whoever holds the robot from now on; it is armed, stands in the middle of the room and may move."""
        self.vendor.restart()
        self.visitor.clear_lidar_faults()
        self.visitor.remove_person("visitor")
        self.visitor.put_robot(*MIDDLE)
        self._held.close()
        self._fencing += 1
        client = ForeignGuardClient.connect(
            self.guard.address, self._fencing, self.clock.now() + seconds, self.clock, self.settings.token
        )
        self._held.callback(client.close)
        client.scan(timeout=30.0)
        client.arm()
        self.until(lambda: self.tell(client) is not StopReason.STOP_CHANNEL, "release", client)
        return client

    def tell(self, client: ForeignGuardClient) -> StopReason | None:
        """Be the page: tell what it shows; returns why nothing may move."""
        client.tell_state(shown(self.clock.now()))
        return client.status().reason

    def drive(self, client: ForeignGuardClient, linear: float) -> None:
        """Drive through the vendor's client, as the guard allows, until the robot moves."""

        def moves() -> bool:
            self.tell(client)
            client.drive(linear, 0.0)
            status = client.status()
            self.vendor.ask(status.applied.linear, 0.0)
            if not status.allowed and status.reason is not StopReason.COMMANDED:  # a busy machine's late scan, rightly
                self.vendor.ask(0.0, 0.0)
                client.arm()
            return abs(self.visitor.truth().linear) > 0.04

        self.until(moves, "motion", client)

    def stopped(self, client: ForeignGuardClient) -> StopReason | None:
        """Wait until the channel has stopped the robot, whose client goes on asking for motion; tells why."""
        self.until(lambda: client.status().detail.startswith("stopped by"), "stop", client)
        self.until(lambda: abs(self.visitor.truth().linear) < 1e-3, "rest", client)
        return client.status().reason

    def until(self, condition: Callable[[], bool], what: str, client: ForeignGuardClient | None = None) -> None:
        end = time.monotonic() + 60
        while not condition():
            assert time.monotonic() < end, f"no {what}; the guard says {client and client.status()}"
            time.sleep(0.02)


def shown(at: float) -> BaseState:
    return BaseState(at, 0, 0, BaseMode.SAFE, False, ChargingState.NOT_CHARGING, 0.9, 0.0, 0.0)


@pytest.fixture(scope="module")
def outlet(visitor: BenchRobot) -> Iterator[PowerOutlet]:
    with PowerOutlet(on_switch=lambda _number, on: visitor.set_board_power(on)) as relay:
        yield relay


@pytest.fixture(scope="module")
def rig(visitor: BenchRobot, vendor: VendorRobot, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    made = Rig(
        visitor, vendor, guard_settings(visitor, tmp_path_factory.mktemp("guard"), vendors_stop(vendor.url), LATENCY_S)
    )
    try:
        yield made
    finally:
        made.close()


def test_nothing_moves_before_the_channel_is_armed(rig: Rig) -> None:
    client = rig.holder()
    client.disarm()
    client.drive(0.1, 0.0)
    status = client.status()
    assert not status.allowed
    assert status.reason is StopReason.STOP_CHANNEL
    assert status.detail == "its own client drives this base, and the vendor's stop is not armed"


def the_page_goes_silent(_rig: Rig, client: ForeignGuardClient) -> None:
    for _ in range(100):
        client.drive(0.1, 0.0)
        time.sleep(0.02)
        if not client.status().allowed:
            return


def nothing_is_asked_for_any_more(rig: Rig, client: ForeignGuardClient) -> None:
    rig.until(lambda: rig.tell(client) is not None, "end of the command", client)


def somebody_steps_in(rig: Rig, client: ForeignGuardClient) -> None:
    truth = rig.visitor.truth()
    rig.visitor.set_person("visitor", [(truth.x + 0.5, truth.y)])
    rig.until(lambda: keep_going(rig, client), "stop", client)


def the_lidar_falls_silent(rig: Rig, client: ForeignGuardClient) -> None:
    rig.visitor.set_lidar_faults(silent=True)
    rig.until(lambda: keep_going(rig, client), "stop", client)


def the_page_is_found_wanting(_rig: Rig, client: ForeignGuardClient) -> None:
    client.trip("the page lost the focus")


def it_moves_though_it_may_not(rig: Rig, client: ForeignGuardClient) -> None:
    client.stop()  # and the vendor's robot is told nothing
    rig.until(lambda: rig.tell(client) is StopReason.CLIENT_TROUBLE, "notice", client)


def keep_going(rig: Rig, client: ForeignGuardClient) -> bool:
    rig.tell(client)
    client.drive(0.1, 0.0)
    return not client.status().allowed


@pytest.mark.parametrize(
    ("ending", "reasons"),
    [
        (the_page_goes_silent, {StopReason.BOARD_SILENT}),
        (nothing_is_asked_for_any_more, {StopReason.COMMAND_EXPIRED}),
        (somebody_steps_in, {StopReason.OBSTACLE, StopReason.LIDAR_STALE}),
        (the_lidar_falls_silent, {StopReason.LIDAR_STALE}),
        (the_page_is_found_wanting, {StopReason.CLIENT_TROUBLE}),
        (it_moves_though_it_may_not, {StopReason.CLIENT_TROUBLE}),
    ],
)
def test_the_channel_stops_a_robot_whose_client_goes_on(
    rig: Rig, ending: Callable[[Rig, ForeignGuardClient], None], reasons: set[StopReason]
) -> None:
    client = rig.holder()
    rig.drive(client, 0.1)
    rig.vendor.ask(0.1, 0.0)
    halts = rig.vendor.halts
    ending(rig, client)
    # What a starved machine makes of it first (a late scan, a command that came too late) is a stop as well.
    starved = {StopReason.LIDAR_STALE, StopReason.COMMAND_EXPIRED, StopReason.BOARD_SILENT}
    assert rig.stopped(client) in reasons | starved
    assert rig.vendor.halts > halts


def test_the_end_of_the_lease_and_of_the_connection_stop_the_robot_too(rig: Rig) -> None:
    client = rig.holder()
    rig.drive(client, 0.1)
    rig.vendor.ask(0.1, 0.0)
    halts = rig.vendor.halts
    client.close()
    rig.until(lambda: rig.vendor.halts > halts and abs(rig.visitor.truth().linear) < 1e-3, "stop")
    other = rig.holder()
    halts = rig.vendor.halts
    rig.drive(other, 0.1)
    rig.vendor.ask(0.1, 0.0)
    other.release()
    rig.until(lambda: rig.vendor.halts > halts and abs(rig.visitor.truth().linear) < 1e-3, "stop")


def test_an_emergency_stop_uses_the_channel_and_nothing_is_armed_until_it_is_reset(rig: Rig) -> None:
    client = rig.holder()
    rig.drive(client, 0.1)
    rig.vendor.ask(0.1, 0.0)
    client.emergency_stop("a test")
    rig.until(lambda: abs(rig.visitor.truth().linear) < 1e-3, "rest", client)
    with pytest.raises(MotionRefusedError, match="emergency stop of base is on: a test"):
        client.arm()
    client.reset_emergency_stop("Ada", "tested")
    client.arm()


def test_a_channel_that_does_not_answer_is_told_and_tried_on(rig: Rig) -> None:
    client = rig.holder()
    rig.vendor.faults.stop_fails = True
    with pytest.raises(DeviceError, match="may not have got the stop"):
        client.emergency_stop("a test")
    client.reset_emergency_stop("Ada", "tested")
    status = client.status()
    assert status.detail.startswith("NOT YET stopped by the vendor's stop (POST ")
    assert "was refused: 500" in status.detail
    rig.vendor.faults.stop_fails = False
    rig.until(lambda: client.status().detail.startswith("stopped by"), "stop", client)


def test_a_relay_cuts_the_motors_and_gives_them_back(
    visitor: BenchRobot, vendor: VendorRobot, outlet: PowerOutlet, tmp_path: Path
) -> None:
    relay = Outlet(outlet.url, Dialect.SHELLY_2)
    with ExitStack() as stack:
        stop = StopSettings(power=PowerStop(outlet=relay))
        rig = Rig(visitor, vendor, guard_settings(visitor, tmp_path, stop, LATENCY_S))
        stack.callback(rig.close)
        client = rig.holder()
        rig.drive(client, 0.1)
        rig.vendor.ask(0.1, 0.0)
        client.trip("a test")
        rig.stopped(client)
        assert outlet.sockets == [False]
        rig.vendor.ask(0.0, 0.0)
        client.arm()
        rig.until(lambda: outlet.sockets == [True], "power", client)
        rig.drive(client, 0.1)
        # A guard that is ended leaves no robot under way behind.
        rig.guard.close()
        assert outlet.sockets == [False]
        outlet.switch(0, True)


def test_the_settings_are_written_and_read_back_whole(visitor: BenchRobot, tmp_path: Path) -> None:
    stops = [
        StopSettings(power=PowerStop(outlet=Outlet("http://127.0.0.1:1", Dialect.TASMOTA, 3, "admin", "/etc/key"))),
        StopSettings(vendor=VendorStop(stop_command=("stop-it", "now"), timeout_s=2.0)),
        StopSettings(vendor=VendorStop(stop_request=Request("http://127.0.0.1/x", headers=(("X-Key", "k"),)))),
        StopSettings(),
    ]
    for stop in stops:
        made = guard_settings(visitor, tmp_path, stop)
        assert GuardSettings.from_json(made.to_json()) == made
