"""The trial of a stop channel on the real robot, before a course: it turns slowly on the spot and has to be stopped.

First at rest, where a channel that does not answer shows without any motion. Then the robot is turned a few degrees, as
slowly as its client can; with the input still held the channel is used, and the LiDAR has to see the robot rest, and go
on resting when the channel lets go of it again. At last it is turned back.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

from devices.pilot.foreign import ForeignSeat
from drivers.clock import Clock
from drivers.errors import MotionRefusedError
from drivers.guard.scan_motion import Moved, moved
from drivers.types import Scan

TURN_RAD_S = 0.15
# It must be seen to turn by so much, and no further than that altogether; metres that it may creep aside meanwhile.
SEEN_RAD = math.radians(2.5)
FURTHEST_RAD = math.radians(25.0)
ASIDE_M = 0.08
BACK_WITHIN_RAD = math.radians(1.0)
# Seconds of the robot's clock.
_SEEN_WITHIN_S = 6.0
_COMPARE_S = 0.3
_WATCH_S = 0.6  # beyond the time that the stop may take
_RESOLUTION_S = 0.1  # of a stopping time told by an angle, some tenths of a degree off
_STEP_S = 0.04
_TIRED_S = 20.0
# The LiDAR tells motions of a robot at rest of up to so much, at 0.2 m from its middle.
_REST_M = 0.008


@dataclass(frozen=True, slots=True)
class Trial:
    """What was seen: how far it turned before the stop and after it, and what that means as a time."""

    turned_rad: float
    after_stop_rad: float
    stop_s: float


def try_stop(seat: ForeignSeat, clock: Clock, *, latency_s: float, ready_within_s: float) -> Trial:
    """Try the stop channel of the robot in that seat. It is armed, and about where it was, afterwards.

    `latency_s`: what the guard counts on (`guard.stopping.latency_s`). Raises MotionRefusedError, with the channel
    used, when the trial shows anything else than a robot that is stopped; other DeviceErrors for devices that fail.
    """
    trial = _Trial(seat, clock, ready_within_s)
    try:
        return trial.run(latency_s)
    except BaseException as exc:
        seat.trip(f"the trial of the stop channel failed: {exc}")
        raise


class _Trial:
    def __init__(self, seat: ForeignSeat, clock: Clock, ready_within_s: float) -> None:
        self._seat = seat
        self._clock = clock
        self._ready_within_s = ready_within_s
        self._start: Scan | None = None
        self._seen: Moved | None = None  # since then, at the last look

    def run(self, latency_s: float) -> Trial:
        seat = self._seat
        self._stop_and_confirm()
        self._release()
        self._rests("before anything was asked of it: somebody else drives it, or it was pushed")
        self._start = self._scan()
        turned = self._turn_until_seen()
        coasted = self._watch_it_stop(turned, latency_s)
        stop_s = coasted / TURN_RAD_S
        if stop_s > latency_s + _RESOLUTION_S:
            raise MotionRefusedError(
                f"the stop channel took {stop_s:.2f} s to stop the robot; guard.stopping.latency_s in the lab file "
                f"says {latency_s:g} s, and all stopping distances count on it"
            )
        self._stop_and_confirm()
        seat.let_go()
        self._release()
        self._rests("when its stop channel let go of it")
        self._turn_back()
        return Trial(turned[0], coasted, stop_s)

    def _stop_and_confirm(self) -> None:
        """Use the channel and wait until it has confirmed it."""
        seat = self._seat
        seat.trip("it is being tried")
        until = time.monotonic() + self._ready_within_s
        while not (detail := seat.status().detail).startswith("stopped by"):
            if time.monotonic() > until:
                raise MotionRefusedError(f"the stop channel does not answer, so the robot is not driven: {detail}")
            time.sleep(0.05)

    def _release(self) -> None:
        """Let go of the base and wait until its page shows it again, where its power was cut."""
        self._seat.arm(self._ready_within_s)
        self._pass(0.2)

    def _turn_until_seen(self) -> tuple[float, float]:
        """Turn to the left until the LiDAR has seen it; returns by how much, and when."""
        assert self._start is not None
        begun = self._clock.now()
        while True:
            self._seat.drive(0.0, TURN_RAD_S)
            self._pass(_STEP_S)
            status, scan = self._seat.status(), self._scan()
            seen = self._seen = self._between(self._start, scan, self._seen)
            if abs(seen.heading) > SEEN_RAD or seen.distance > ASIDE_M:
                break
            if self._clock.now() - begun > _SEEN_WITHIN_S:
                why = status.detail if not status.allowed else "its client was asked to, and the LiDAR saw no motion"
                raise MotionRefusedError(f"the robot did not turn, so its stop channel could not be tried: {why}")
        if seen.distance > ASIDE_M or seen.heading < 0:
            raise MotionRefusedError(
                f"asked to turn slowly to the left, the robot moved {seen.distance * 1000:.0f} mm and turned "
                f"{math.degrees(seen.heading):.1f} deg to the left: see what its client's inputs mean"
            )
        return seen.heading, scan.time

    def _watch_it_stop(self, turned: tuple[float, float], latency_s: float) -> float:
        """Use the channel with the input still held; by how many radians it turned on. `turned`: how far, and when."""
        heading, at = turned
        begun = self._clock.now()
        expected = heading + TURN_RAD_S * (begun - at)
        self._seat.trip("it is being tried")
        mark, rests = self._scan(), 0
        while rests < 2:
            self._seat.hold(0.0, TURN_RAD_S)
            self._pass(_STEP_S)
            scan, seen = self._scan(), self._since_start()
            late = mark.time > begun + latency_s + _WATCH_S  # by the scan, not by when a busy machine looks at it
            if scan.time - mark.time >= _COMPARE_S:
                rests = rests + 1 if self._between(mark, scan).rim <= _REST_M else 0
                if (late and not rests) or self._clock.now() > begun + _TIRED_S:
                    raise self._still_moves(begun, seen.heading - heading)
                mark = scan
            if abs(seen.heading) > FURTHEST_RAD:
                raise self._still_moves(begun, seen.heading - heading)
        return max(0.0, self._since_start().heading - expected)

    def _still_moves(self, begun: float, turned: float) -> MotionRefusedError:
        return MotionRefusedError(
            f"{self._clock.now() - begun:.1f} s after its stop channel was used the robot still moved: it has turned "
            f"{math.degrees(turned):.1f} deg since"
        )

    def _turn_back(self) -> None:
        """To where it stood, as the LiDAR sees it at rest: the course begins there."""
        begun = self._clock.now()
        while abs(heading := self._since_start().heading) > BACK_WITHIN_RAD:
            while abs(heading) > BACK_WITHIN_RAD:
                if self._clock.now() - begun > _TIRED_S:
                    raise MotionRefusedError(f"the robot did not turn back: {self._seat.status().detail}")
                self._seat.drive(0.0, -math.copysign(TURN_RAD_S, heading))
                self._pass(_STEP_S)
                heading = self._since_start().heading
            self._seat.stop()
            self._pass(_COMPARE_S)
        self._seat.stop()

    def _rests(self, when: str) -> None:
        first = self._scan()
        self._pass(_COMPARE_S)
        seen = self._between(first, self._scan())
        if seen.rim > _REST_M:
            raise MotionRefusedError(f"the robot moved {when}")

    def _pass(self, seconds: float) -> None:
        """Let time pass; the page is read, so that the guard knows that it lives."""
        end = self._clock.now() + seconds
        while True:
            self._seat.state()
            if self._clock.now() >= end:
                return
            self._clock.sleep(min(_STEP_S, max(0.0, end - self._clock.now())))

    def _scan(self) -> Scan:
        return self._seat.scan(self._clock.now(), timeout=2.0)

    def _since_start(self) -> Moved:
        assert self._start is not None
        self._seen = self._between(self._start, self._scan(), self._seen)
        return self._seen

    def _between(self, first: Scan, then: Scan, guess: Moved | None = None) -> Moved:
        seen = moved(first, then, self._seat.mount, guess)
        if seen is None:
            raise MotionRefusedError(
                "the LiDAR cannot tell how the robot moves: too little of what it sees stays where it is, or the robot "
                "is further than it should be"
            )
        return seen
