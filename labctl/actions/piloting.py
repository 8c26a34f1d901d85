"""Drives through the pilot's page: serves it over the guarded base, opens it in a browser, takes its inputs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from courses.inputs import DrivingInput
from devices.client import HttpWire, WebDriverSession
from devices.pilot import PagedBase, PilotPage, open_input
from devices.webdriver import WebDriverError
from drivers.clock import Clock
from drivers.errors import DeviceError, MotionRefusedError
from drivers.guard import GuardClient
from drivers.protocols import GuardedBase
from drivers.sim.pilot import PilotServer
from labctl.actions.driving_process import Pilot, TetheredInput

_ANSWERS_WITHIN_S = 10.0


@contextmanager
def page_of(
    pilot: Pilot, base: GuardClient, tether: TetheredInput, clock: Clock
) -> Iterator[tuple[GuardedBase, DrivingInput]]:
    """The base as the page shows it, and the page's input. Raises MotionRefusedError when the guard does not hold the
    base when told to, DeviceError when the browser fails."""
    _try_the_stop(base)
    session = WebDriverSession(HttpWire(pilot.url, _ANSWERS_WITHIN_S), pilot.session, {})
    try:
        with PilotServer(_Piloted(base, tether)) as server:
            page = PilotPage(session)
            page.open(server.url)
            yield PagedBase(base, page, clock), open_input(pilot.input, session)
    except WebDriverError as exc:
        raise DeviceError(f"the browser of the pilot's page: {exc.code}: {exc.message}") from exc
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
