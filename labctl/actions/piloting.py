"""Drives through a pilot's page in a browser: ours, served over the guarded base, or the client of another maker."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from devices.client import HttpWire, WebDriverSession
from devices.pilot import PagedBase, PilotPage, open_input
from devices.pilot.foreign import ArmedBase, ForeignPage, ForeignSeat
from devices.pilot.gate import GatedBase
from devices.pilot.gone import told_as_device
from devices.pilot.trial import try_stop
from devices.pilot.wheels import ShownWheels
from drivers.clock import Clock
from drivers.errors import DeviceError, MotionRefusedError
from drivers.guard import GuardClient
from drivers.guard.foreign_client import ForeignGuardClient
from drivers.sim.pilot import PilotServer
from drivers.stop_channel import StopSettings
from drivers.types import Pose
from labctl.actions.drives import Pilot
from labctl.actions.tether import TetheredInput

_ANSWERS_WITHIN_S = 10.0


@dataclass(frozen=True)
class Begin:
    """Where a course begins, and who hears what is done before it."""

    pose: Pose
    tell: Callable[[str], None]


@contextmanager
def page_of(pilot: Pilot, base: GuardClient, tether: TetheredInput, clock: Clock) -> Iterator[PagedBase]:
    """The base as our page shows and drives it. Raises MotionRefusedError when the guard does not hold the base when
    told to, DeviceError when the browser fails."""
    _try_the_stop(base)
    with _session(pilot) as session, PilotServer(_Piloted(base, tether)) as server:
        page = PilotPage(session)
        page.open(server.url)
        yield PagedBase(base, page, open_input(pilot.input, session), clock)


@contextmanager
def foreign_page_of(
    pilot: Pilot, base: ForeignGuardClient, tether: TetheredInput, clock: Clock, begin: Begin
) -> Iterator[ForeignSeat]:
    """A robot that another maker's page drives, after its stop channel was tried on it.

    Raises MotionRefusedError, with the robot stopped, when the channel does not stop it. Whatever happens inside, the
    client is let go of; where that cannot be, or the guard is gone, the stop channel is used.
    """
    client, foreign = pilot.client, pilot.foreign
    assert client is not None
    with contextlib.ExitStack() as stack:
        session = stack.enter_context(_session(pilot))
        page = ForeignPage(session, client)
        armed: ArmedBase = base
        if foreign is None:
            armed = GatedBase(base, tether.drive)
            origin = "{0.scheme}://{0.netloc}".format(urlsplit(client.url))
            server = stack.enter_context(PilotServer(armed, origins=(origin,)))
            page.open(f"{server.url.replace('http', 'ws', 1)}ws")
        else:
            page.open()
        seat = ForeignSeat(
            armed,
            page,
            open_input(pilot.input, session, client),
            clock,
            ask=tether.drive if foreign is not None else None,
            geometry=base.geometry,
            wheels=ShownWheels(base.geometry, *client.fastest(pilot.input)),
            resumes=foreign is not None and foreign.vendor is not None,
        )
        name = foreign.channel.name if foreign is not None else "the guard"
        stack.enter_context(_stopped_in_the_end(seat, foreign))
        seat.state()
        seat.set_pose(replace(begin.pose, time=clock.now()))
        begin.tell(f"trying {name} on the robot")
        tried = try_stop(seat, clock, latency_s=pilot.latency_s, ready_within_s=client.ready_within_s)
        begin.tell(f"{name} stopped the robot in {tried.stop_s:.2f} s")
        yield seat


@contextmanager
def _stopped_in_the_end(seat: ForeignSeat, foreign: StopSettings | None) -> Iterator[None]:
    try:
        yield
    finally:
        try:
            seat.stop()
            seat.disarm()
        except DeviceError:
            # The page or the guard may be gone, and the robot under way: this process uses the channel itself.
            if foreign is not None:
                with contextlib.suppress(DeviceError):
                    foreign.channel.stop()


@contextmanager
def _session(pilot: Pilot) -> Iterator[WebDriverSession]:
    session = WebDriverSession(HttpWire(pilot.url, _ANSWERS_WITHIN_S), pilot.session, {})
    try:
        with told_as_device("the browser of the pilot's page failed"):
            yield session
    finally:
        session.disconnect()


class _Piloted:
    """What the page drives: wishes go by the tether to the daemon, the rest is the base's."""

    def __init__(self, base: GuardClient, tether: TetheredInput) -> None:
        self.drive = tether.drive
        self.stop = base.stop
        self.state = base.state
        self.status = base.status


def _try_the_stop(base: GuardClient) -> None:
    """A client in a browser may fail in any way, so the robot needs a stop that does not depend on it: the guard."""
    base.stop()
    status = base.status()
    if (status.applied.linear, status.applied.angular) != (0.0, 0.0):
        raise MotionRefusedError(
            f"the guard of {base.name} was told to stop the base and did not; nobody drives it through a page like this"
        )
