"""The guard as a process between real wires: every way of losing control of a moving robot ends in stop bytes."""

from __future__ import annotations

import math
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from drivers.create2 import CANCEL_DOCKING_BYTES
from drivers.errors import DeviceUnreachableError, MotionRefusedError, ProtocolError
from drivers.guard import GuardClient, GuardProcess, wire
from drivers.guard.wire import Kind
from drivers.protocols import GuardedBase
from drivers.sim.person import Person
from drivers.types import BaseMode, Pose, StopReason

if TYPE_CHECKING:
    Rig = Any

# Stop bytes must follow the last valid command this soon, and the call of an emergency stop so soon. Times are those of
# the board's own log; what is added is only how late the thread that writes it can have been (`rig.lateness`).
STOPPED_WITHIN_S = 0.3
EMERGENCY_WITHIN_S = 0.05
OPEN_SPACE = (3.0, 2.4, 0.0)

DRIVER = """
    import sys, time
    from drivers.clock import SystemClock
    from drivers.guard import GuardClient
    clock = SystemClock()
    url, token, fencing = sys.argv[1], sys.argv[2], int(sys.argv[3])
    client = GuardClient.connect(url, fencing, clock.now() + 60, clock, token)
    print("driving", flush=True)
    while True:
        client.drive(0.2, 0.0)
        time.sleep(0.02)
"""


@contextmanager
def driving_process(rig: Rig, address: str | None = None, fencing: int = 50) -> Iterator[subprocess.Popen[bytes]]:
    """Another process that drives the robot forward; yields when the wheels turn."""
    rig.place(*OPEN_SPACE)
    with rig.guard.client() as observer:
        observer.scan(timeout=10.0)
        rig.tell_pose(observer)
    arguments = [address or rig.guard.address, "secret", str(fencing)]
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(DRIVER), *arguments], stdout=subprocess.PIPE)
    try:
        rig.until(lambda: rig.world.truth().linear > 0.1, "motion")
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGCONT)
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def assert_stopped_in_time(rig: Rig, since: float) -> None:
    """`since`: when the last valid command can have been sent at the latest."""
    stopped = rig.stopped_for_good(since, STOPPED_WITHIN_S)
    assert stopped - since <= STOPPED_WITHIN_S + rig.lateness.between(since, stopped)


def moving(rig: Rig, **changes: Any) -> GuardClient:
    """A client whose robot drives in open space."""
    rig.place(*OPEN_SPACE)
    client = rig.client(**changes)
    rig.drive_until(client, 0.2, 0.0, lambda: rig.world.truth().linear > 0.1, "motion")
    return client


def keep_driving(rig: Rig, client: GuardClient, reason: StopReason, linear: float = 0.2, angular: float = 0.0) -> None:
    """Go on commanding until the guard stops it for `reason` and the wheels rest."""

    def stopped() -> bool:
        status = client.status()
        return not status.allowed and status.reason is reason and rig.world.truth().linear == 0

    rig.drive_until(client, linear, angular, stopped, f"a stop because of {reason}")


def test_the_client_satisfies_the_capability_of_a_guarded_base(rig: Rig) -> None:
    with rig.client() as client:
        assert isinstance(client, GuardedBase)
        assert client.mount.x == 0.1
        assert client.geometry == rig.settings.geometry
        state = client.state()
        assert (state.on_dock, state.mode) == (True, BaseMode.PASSIVE)
        first = client.scan()
        assert client.scan(after=first.time).time > first.time
        with client.scans() as scans:
            times = [next(scans).time for _ in range(5)]
        assert times == sorted(set(times))
        assert len(first.ranges) == 1081


def test_a_killed_client_is_followed_by_stop_bytes(rig: Rig) -> None:
    with driving_process(rig) as process:
        process.kill()
        assert_stopped_in_time(rig, rig.clock.now())
    with rig.guard.client() as observer:
        assert observer.status().reason is StopReason.LINK_LOST


def test_a_suspended_client_is_followed_by_stop_bytes(rig: Rig) -> None:
    with driving_process(rig) as process:
        process.send_signal(signal.SIGSTOP)
        assert_stopped_in_time(rig, rig.clock.now())
        with rig.guard.client() as observer:
            assert observer.status().reason is StopReason.COMMAND_EXPIRED


class Tunnel:
    """A TCP relay that can stall both ways without closing, as a cut tunnel does."""

    def __init__(self, target: str) -> None:
        host, _, port = target.removeprefix("tcp://").rpartition(":")
        self._target = (host, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"tcp://127.0.0.1:{self._listener.getsockname()[1]}"
        self.flowing = threading.Event()
        self.flowing.set()
        self._sockets: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def _accept(self) -> None:
        client, _ = self._listener.accept()
        server = socket.create_connection(self._target)
        self._sockets += [client, server]
        for source, sink in ((client, server), (server, client)):
            self._threads.append(threading.Thread(target=self._pump, args=(source, sink), daemon=True))
            self._threads[-1].start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                self.flowing.wait()
                sink.sendall(data)

    def close(self) -> None:
        self.flowing.set()
        for each in (*self._sockets, self._listener):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        for thread in list(self._threads):
            thread.join(timeout=5)


def test_a_stalled_tunnel_is_followed_by_stop_bytes_and_its_backlog_moves_nothing(rig: Rig) -> None:
    tunnel = Tunnel(rig.guard.address)
    try:
        with driving_process(rig, tunnel.address):
            tunnel.flowing.clear()
            cut = rig.clock.now()
            assert_stopped_in_time(rig, cut)
            rig.clock.sleep(0.5)
            before = rig.last_motion()
            assert before <= cut + STOPPED_WITHIN_S + rig.lateness.between(cut, before)
    finally:
        tunnel.close()


def test_a_guard_that_is_killed_leaves_a_sentinel_that_stops_the_base(rig: Rig) -> None:
    with driving_process(rig):
        os.kill(rig.guard.pid, signal.SIGKILL)
        assert_stopped_in_time(rig, rig.clock.now())


def test_a_guard_that_is_suspended_is_stopped_for_by_its_sentinel(rig: Rig) -> None:
    with driving_process(rig):
        os.kill(rig.guard.pid, signal.SIGSTOP)
        try:
            assert_stopped_in_time(rig, rig.clock.now())
        finally:
            os.kill(rig.guard.pid, signal.SIGCONT)


def test_ending_the_guard_stops_the_base(rig: Rig) -> None:
    client = moving(rig)
    rig.guard.close()
    assert rig.board.wheel_speeds_mm_s == (0, 0)
    with pytest.raises(DeviceUnreachableError, match="connect anew"):
        client.status()
    client.close()


def test_closing_the_connection_stops_the_base(rig: Rig) -> None:
    moving(rig).close()
    assert_stopped_in_time(rig, rig.clock.now() - 0.02)


def test_the_lease_ends_at_its_deadline_whatever_the_client_does(rig: Rig) -> None:
    client = moving(rig)
    deadline = rig.clock.now() + 0.5
    client.renew(deadline)
    client._deadline = math.inf  # a client that forgets its own deadline
    keep_driving(rig, client, StopReason.LEASE_ENDED)
    assert rig.last_motion() <= deadline + rig.lateness.between(deadline, rig.last_motion())
    client.close()


def test_a_lower_fencing_number_is_refused_also_after_a_restart(rig: Rig) -> None:
    old = moving(rig, fencing=5)
    with rig.guard.client(6, rig.clock.now() + 60):
        keep_driving(rig, old, StopReason.FENCED)
        with pytest.raises(MotionRefusedError, match="6 was granted already"):
            old.grant(5, rig.clock.now() + 60)
    old.close()
    rig.restart_guard()
    with pytest.raises(MotionRefusedError, match="6 was granted already"):
        rig.guard.client(5, rig.clock.now() + 60)


def test_an_emergency_stop_needs_no_lease_latches_and_survives_a_restart(rig: Rig) -> None:
    client = moving(rig)
    with rig.guard.client() as anybody:
        called = rig.clock.now()
        anybody.emergency_stop("somebody shouted")
        stopped = rig.first_stop(called)
        assert stopped - called <= EMERGENCY_WITHIN_S + rig.lateness.between(called, stopped)
        assert anybody.status().latched
    keep_driving(rig, client, StopReason.EMERGENCY_STOP)
    client.close()
    rig.restart_guard()
    with rig.client() as again:
        again.drive(0.2, 0.0)
        status = again.status()
        assert (status.latched, status.allowed, status.reason) == (True, False, StopReason.EMERGENCY_STOP)
        assert "somebody shouted" in status.detail
        with pytest.raises(MotionRefusedError, match="name of the person"):
            again.reset_emergency_stop("", "it is fine")
        with pytest.raises(MotionRefusedError, match="reason"):
            again.reset_emergency_stop("Ada", "")
        again.reset_emergency_stop("Ada", "stood beside it, nothing broken")
        rig.drive_until(again, 0.2, 0.0, lambda: rig.world.truth().linear > 0.1, "motion after the reset")


@pytest.mark.parametrize(
    "fault",
    [{"frozen": True}, {"replay": True}, {"silent": True}, {"babble": True}, {"hang_ups": 1, "refuse": True}],
    ids="+".join,
)
def test_a_lidar_that_says_nothing_new_stops_the_base_until_it_recovers(rig: Rig, fault: dict[str, Any]) -> None:
    client = moving(rig)
    rig.lidar.faults.update(**fault)
    keep_driving(rig, client, StopReason.LIDAR_STALE)
    rig.lidar.faults.clear()
    rig.drive_until(client, 0.2, 0.0, lambda: rig.world.truth().linear > 0.1, "motion with the LiDAR back")
    client.close()


def test_damaged_and_lost_frames_in_between_do_not_stop_it_for_good(rig: Rig) -> None:
    client = moving(rig)
    rig.lidar.faults.update(drop_every=3, corrupt_frames=5, garbage_frames=5)
    start = rig.world.truth().x
    rig.drive_until(client, 0.2, 0.0, lambda: rig.world.truth().x > start + 0.2, "progress")
    client.close()


def test_a_covered_lidar_is_blind(rig: Rig) -> None:
    client = moving(rig)
    rig.world.beams = replace(rig.world.beams, covered_deg=(-135.0, 135.0))
    keep_driving(rig, client, StopReason.LIDAR_BLIND)
    client.close()


def test_a_person_in_front_is_not_touched(rig: Rig) -> None:
    client = moving(rig)
    truth = rig.world.truth()
    path = ((truth.x + 1.0, truth.y), (truth.x + 0.9, truth.y))
    rig.world.set_person("guest", Person(path, truth.time, 0.05))
    keep_driving(rig, client, StopReason.OBSTACLE)
    assert not rig.world.reading().bump_left
    assert not rig.world.reading().bump_right
    client.close()


def test_the_base_stays_inside_its_geofence(rig: Rig) -> None:
    rig.place(7.2, 4.1, 0.0)  # ahead is the door's recess: the wall is beyond the fence at x = 7.6
    client = rig.client()
    keep_driving(rig, client, StopReason.GEOFENCE)
    assert rig.world.truth().x < 7.6
    client.close()


def test_without_a_pose_nothing_moves_where_there_is_a_geofence(rig: Rig) -> None:
    with rig.guard.client(1, rig.clock.now() + 60) as client:
        client.scan(timeout=10.0)
        keep_driving(rig, client, StopReason.POSE_UNKNOWN)
        with pytest.raises(MotionRefusedError, match="the wheels' way since then is not known"):
            client.set_pose(Pose(0.35, 2.4, 0.0, time=rig.clock.now() - 1000))
        assert rig.world.truth().x == pytest.approx(0.35, abs=0.01)


def test_reversing_is_for_dock_zones_only_and_slow(rig: Rig) -> None:
    rig.place(*OPEN_SPACE)
    with rig.client() as client:
        keep_driving(rig, client, StopReason.LIDAR_BLIND, linear=-0.1)
        rig.place(1.3, 2.4, 0.0)
        rig.tell_pose(client)
        since = rig.clock.now()
        rig.drive_until(client, -0.4, 0.0, lambda: rig.world.truth().x < 1.2, "reversing in the dock zone")
        assert min(wheels[0] for _, wheels in rig.wheel_commands(since)) == -100


def test_a_bump_holds_the_base_until_it_is_acknowledged(rig: Rig) -> None:
    client = moving(rig)
    original = rig.world.reading
    rig.world.reading = lambda: replace(original(), bump_left=True)
    keep_driving(rig, client, StopReason.BUMPER)
    rig.world.reading = original
    keep_driving(rig, client, StopReason.BUMPER)
    client.stop()
    rig.drive_until(client, 0.2, 0.0, lambda: rig.world.truth().linear > 0.1, "motion after the acknowledgement")
    client.close()


def test_a_silent_board_stops_the_base_and_is_held(rig: Rig) -> None:
    client = moving(rig)
    rig.board.faults.silent = True
    keep_driving(rig, client, StopReason.BOARD_SILENT)
    client.close()


def test_docking_ends_on_the_contacts(rig: Rig) -> None:
    client = rig.docking()
    rig.dock_until(client, lambda: client.status().detail == "docked", "the end of docking")
    assert not client.status().docking
    assert client.state().on_dock
    client.close()


@pytest.mark.parametrize(
    "cause", ["emergency stop", "stop", "lease", "connection", "LiDAR", "person", "guard killed", "guard suspended"]
)
def test_docking_is_stopped_by_safe_mode_and_zero_speed(rig: Rig, cause: str) -> None:
    client = rig.docking()
    since = rig.clock.now()
    match cause:
        case "emergency stop":
            with rig.guard.client() as anybody:
                anybody.emergency_stop("stop")
        case "stop":
            client.cancel_docking()
        case "lease":
            client.renew(rig.clock.now() + 0.01)
        case "connection":
            client.close()
        case "LiDAR":
            rig.lidar.faults.update(silent=True)
        case "person":
            truth = rig.world.truth()
            path = ((truth.x + 0.15, truth.y + 0.35), (truth.x + 0.16, truth.y + 0.35))
            rig.world.set_person("guest", Person(path, truth.time, 0.01))
        case "guard killed":
            os.kill(rig.guard.pid, signal.SIGKILL)
        case "guard suspended":
            os.kill(rig.guard.pid, signal.SIGSTOP)
    rig.until(lambda: not rig.world.reading().docking, "the end of the docking run")
    rig.until(lambda: rig.world.truth().linear == 0, "rest")
    assert not rig.world.reading().on_dock
    written = b"".join(write.data for write in rig.board.received if write.time > since)
    assert CANCEL_DOCKING_BYTES in written
    if cause == "guard suspended":
        os.kill(rig.guard.pid, signal.SIGCONT)
    client.close()


def test_docking_is_refused_away_from_the_dock(rig: Rig) -> None:
    rig.place(5.0, 4.5, 0.0)
    with rig.client() as client, pytest.raises(MotionRefusedError, match="not near a surveyed dock zone"):
        client.seek_dock()


def test_an_observer_that_reads_nothing_holds_up_nobody(rig: Rig) -> None:
    host, _, port = rig.guard.address.removeprefix("tcp://").rpartition(":")
    with socket.create_connection((host, int(port))) as lazy:
        lazy.sendall(wire.message({"op": "hello", "token": "secret", "time_scale": 1.0}))
        lazy.sendall(wire.message({"op": "subscribe", "scans": True, "states": True, "statuses": True}))
        client = moving(rig)
        start = rig.world.truth().x
        rig.drive_until(client, 0.2, 0.0, lambda: rig.world.truth().x > start + 0.3, "progress")
        client.close()


def test_nonsense_and_wrong_tokens_are_turned_away(rig: Rig) -> None:
    host, _, port = rig.guard.address.removeprefix("tcp://").rpartition(":")
    for nonsense in (b"GET / HTTP/1.1\r\n\r\n", wire.frame(Kind.EMERGENCY_STOP, b"{}"), wire.frame(Kind.JSON, b"[1]")):
        with socket.create_connection((host, int(port)), timeout=20) as stranger:
            stranger.sendall(nonsense)
            while stranger.recv(4096):
                pass
    with pytest.raises(ProtocolError, match="does not know this token"):
        GuardClient.connect(rig.guard.address, token="wrong")
    with rig.client() as client:
        assert not client.status().latched
        for bad in ({"op": "fly"}, {"op": "drive", "linear": "x"}, {"op": "stop", "fencing": "one"}):
            with pytest.raises(ProtocolError):
                client._ask(bad.pop("op"), **bad)
        client.drive(math.nan, math.inf)
        assert client.status().applied.linear == 0


def test_a_second_guard_or_a_missing_board_is_refused_in_plain_words(rig: Rig, tmp_path: Path) -> None:
    with pytest.raises(DeviceUnreachableError, match="another guard runs"):
        GuardProcess.start(rig.settings)
    with pytest.raises(DeviceUnreachableError, match="there is no serial port"):
        GuardProcess.start(replace(rig.settings, base_url="/dev/ttyNOTHERE", state_dir=str(tmp_path / "other")))


def test_a_unix_socket_serves_as_well_and_only_this_user(rig: Rig, tmp_path: Path) -> None:
    rig.guard.close()
    rig.settings = replace(rig.settings, listen=(f"unix://{tmp_path}/guard.sock",), token=None)
    rig.restart_guard()
    assert (tmp_path / "guard.sock").stat().st_mode & 0o077 == 0
    with rig.client() as client:
        assert client.name == "base"
        assert np.isfinite(client.scan().ranges).sum() > 900
