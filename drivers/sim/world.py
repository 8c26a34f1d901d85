"""A robot in a room: what its motor board and its LiDAR are connected to. Moves on as its clock is asked for."""

from __future__ import annotations

import math
import random
import threading
from collections import deque
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from drivers.clock import Clock
from drivers.rooms import Room
from drivers.rooms.geometry import inside_polygon, nearest_points
from drivers.sim.battery import CAPACITY_MAH, Battery
from drivers.sim.beam_model import BeamModel, SimulatedLidar
from drivers.sim.body import BodyReading
from drivers.sim.docking_run import AtDock, DockingModel, DockingRun
from drivers.sim.person import Person
from drivers.sim.robot import BodyModel, Robot
from drivers.types import Array, Twist

STEP_S = 0.002
_HISTORY_STEPS = 500
_TOUCH_M = 0.01
# The charger's body: half its width, in which it stops a robot that backs into it.
_DOCK_HALF_WIDTH_M = 0.15


@dataclass(frozen=True, slots=True)
class Truth:
    """Where the robot really is: metres and radians in the room, m/s and rad/s, at a time of the bench's clock."""

    time: float
    x: float
    y: float
    heading: float
    linear: float
    angular: float


class World:
    """One robot, its LiDAR, its charger and the people around it; safe to use from several threads.

    Satisfies `drivers.sim.body.SimulatedBody`; `scan` is what a simulated LiDAR's server takes its scans from. Given
    the same seed and the same commands at the same times of `clock`, the same happens. `dock` names the dock at which
    the robot starts, within millimetres, as it would after a docking run. When the motor board has not looked at its
    body for `waits_for_board_s` the body stands still until it does: a machine too busy for the board must not look
    like a robot that does not obey.
    """

    def __init__(
        self,
        room: Room,
        clock: Clock,
        dock: str,
        *,
        seed: int = 0,
        body: BodyModel | None = None,
        beams: BeamModel | None = None,
        docking: DockingModel | None = None,
        battery_ratio: float = 0.8,
        waits_for_board_s: float = math.inf,
    ) -> None:
        self.room = room
        self._clock = clock
        self._lock = threading.RLock()
        self._chance = random.Random(seed)
        self._dock = room.dock(dock)
        docked_x, docked_y, docked_heading = self._dock.pose.xyh
        side, turn = self._chance.gauss(0.0, 0.002), self._chance.gauss(0.0, 0.005)
        start = (
            docked_x - side * math.sin(docked_heading),
            docked_y + side * math.cos(docked_heading),
            docked_heading + turn,
        )
        self._robot = Robot(body or BodyModel(), start, self._chance)
        self._lidar = SimulatedLidar(room, beams or BeamModel(), np.random.default_rng(seed))
        self._docking_model = docking or DockingModel()
        self._docking_run: DockingRun | None = None
        self._people: dict[str, Person] = {}
        self._obstacles = _Obstacles(room, self._dock.pose.xyh)
        self._battery = Battery(battery_ratio, self._at_dock().on_contacts)
        self._start = self._board_looked = clock.now()
        self._waits_for_board_s = waits_for_board_s
        self._steps = 0
        self._history: deque[tuple[int, float, float, float, Twist]] = deque(maxlen=_HISTORY_STEPS)
        self._remember()

    # What the motor board asks for.

    def set_wheel_speeds(self, left_m_s: float, right_m_s: float) -> None:
        """Nominal rim speeds from now on, m/s."""
        with self._lock:
            self._board_looks()
            self._robot.ask(self._now, left_m_s, right_m_s)

    def start_docking(self) -> None:
        """Begin the robot's own docking run."""
        with self._lock:
            self._board_looks()
            self._docking_run = DockingRun(self._docking_model, self._chance)

    def stop_docking(self) -> None:
        """End the docking run; the wheels rest."""
        with self._lock:
            self._board_looks()
            if self._docking_run is not None:
                self._end_docking()

    def reading(self) -> BodyReading:
        """Encoders, switches, battery and infrared receivers as they are now."""
        with self._lock:
            self._board_looks()
            robot, battery, at = self._robot, self._battery, self._at_dock()
            facing_away = abs(at.heading) < math.pi / 3
            infrared = at.infrared
            return BodyReading(
                left_ticks=robot.left_ticks,
                right_ticks=robot.right_ticks,
                bump_left=robot.bump_left,
                bump_right=robot.bump_right,
                wheel_drop=robot.model.wheel_drop,
                cliff=robot.model.cliff,
                on_dock=at.on_contacts,
                docking=self._docking_run is not None,
                charging=battery.state,
                battery_charge_mah=battery.charge_mah,
                battery_capacity_mah=CAPACITY_MAH,
                voltage_v=battery.voltage_v,
                current_a=battery.current_a,
                ir_omni=infrared,
                # The two receivers look backwards, as this robot docks backwards.
                ir_left=infrared if facing_away and at.heading < 0.2 else 0,
                ir_right=infrared if facing_away and at.heading > -0.2 else 0,
            )

    # What the LiDAR sees.

    def scan(self, time: float) -> tuple[Array, NDArray[np.uint8]]:
        """The scan that the sensor stamps with `time`: ranges (1081,) metres, NaN for nothing, and (1081,) error codes.

        Its beams are fired 3 to 22 ms later, with the robot going on as it does at `time`.
        """
        with self._lock:
            self.advance_to(time)
            x, y, heading, velocity = self._pose_at(time)
            legs = tuple(leg for person in self._people.values() for leg in person.legs(time))
            return self._lidar.measure((x, y, heading), velocity, legs)

    # What an experimenter does.

    def truth(self) -> Truth:
        """Where the robot really is now."""
        with self._lock:
            time = self._clock.now()
            self.advance_to(time)
            x, y, heading, velocity = self._pose_at(time)
            return Truth(time, x, y, heading, velocity.linear, velocity.angular)

    def put_robot(self, x: float, y: float, heading: float) -> None:
        """Carry the robot elsewhere; its wheels do not turn. Raises ValueError where it has no room to stand."""
        with self._lock:
            self.advance_to(self._clock.now())
            if not math.isfinite(heading) or not self._fits(x, y):
                raise ValueError(f"the robot cannot stand at ({x:g}, {y:g}), heading {heading:g}: something is there")
            self._robot.put(x, y, heading)
            self._robot.velocity = Twist(0.0, 0.0)
            self._history.clear()
            self._remember()

    def _fits(self, x: float, y: float) -> bool:
        """Whether the body can stand at (x, y), people apart."""
        if not self.room.clearance(x, y) >= self._robot.model.radius_m:
            return False
        indoors = any(wall.closed and inside_polygon(x, y, wall.points) for wall in self.room.walls)
        return indoors and not any(inside_polygon(x, y, item.points) for item in self.room.furniture)

    def set_person(self, name: str, person: Person | None) -> None:
        """Let a person come, or (None) be gone. A person of the same name is replaced."""
        with self._lock:
            self.advance_to(self._clock.now())
            if person is None:
                self._people.pop(name, None)
            else:
                self._people[name] = person
            self._obstacles.people = tuple(self._people.values())

    @property
    def body(self) -> BodyModel:
        return self._robot.model

    @body.setter
    def body(self, model: BodyModel) -> None:
        with self._lock:
            self.advance_to(self._clock.now())
            self._robot.model = model

    @property
    def beams(self) -> BeamModel:
        return self._lidar.model

    @beams.setter
    def beams(self, model: BeamModel) -> None:
        with self._lock:
            self._lidar.model = model

    @property
    def docking(self) -> DockingModel:
        return self._docking_model

    @docking.setter
    def docking(self, model: DockingModel) -> None:
        """For the next run; a run under way keeps its own."""
        self._docking_model = model

    def set_battery(self, ratio: float) -> None:
        """Set the state of charge, 0 .. 1."""
        with self._lock:
            self.advance_to(self._clock.now())
            self._battery.set_ratio(ratio)

    def set_charger_fault(self, faulty: bool) -> None:
        """Let the charger report a fault on contact, or work again."""
        with self._lock:
            self.advance_to(self._clock.now())
            self._battery.charger_fault = faulty

    # How time passes.

    def _board_looks(self) -> None:
        """The motor board sees to its body: catch up with the clock, less the time that the body waited for it."""
        now = self._clock.now()
        self._start += max(0.0, now - self._board_looked - self._waits_for_board_s)
        self._board_looked = now
        self.advance_to(now)

    def advance_to(self, time: float) -> None:
        """Let everything happen up to `time`, in steps of 2 ms; does nothing for a time that has passed."""
        with self._lock:
            time = min(time, self._board_looked + self._waits_for_board_s)
            target = math.floor((time - self._start) / STEP_S)
            while self._steps < target:
                if self._still():
                    self._battery.step((target - self._steps) * STEP_S, self._at_dock().on_contacts, 0.0)
                    self._steps = target
                    self._remember()
                else:
                    self._step()

    @property
    def _now(self) -> float:
        return self._start + self._steps * STEP_S

    def _still(self) -> bool:
        """Whether nothing moves until somebody asks for it, so that time may pass at once."""
        return self._robot.at_rest and self._docking_run is None and not self._people

    def _step(self) -> None:
        now = self._now
        robot = self._robot
        at = self._at_dock()
        if self._docking_run is not None:
            wanted = self._docking_run.step(at, STEP_S)
            if wanted is None:
                self._end_docking()
            else:
                half_base = robot.model.wheel_base_m / 2
                turn = wanted.angular * half_base
                robot.ask(now - robot.model.latency_s, wanted.linear - turn, wanted.linear + turn)
        self._obstacles.time = now
        robot.step(now, STEP_S, self._obstacles)
        self._battery.step(STEP_S, at.on_contacts, (abs(robot.left_speed) + abs(robot.right_speed)) / 2)
        self._steps += 1
        self._remember()

    def _end_docking(self) -> None:
        assert self._docking_run is not None
        # Misses that were asked for and not yet made stay for the next run.
        self._docking_model = replace(self._docking_model, misses=self._docking_run.misses_left)
        self._docking_run = None
        self._robot.ask(self._now - self._robot.model.latency_s, 0.0, 0.0)

    def _at_dock(self) -> AtDock:
        return _seen_from(self._dock.pose.xyh, self._robot.x, self._robot.y, self._robot.heading)

    def _remember(self) -> None:
        robot = self._robot
        self._history.append((self._steps, robot.x, robot.y, robot.heading, robot.velocity))

    def _pose_at(self, time: float) -> tuple[float, float, float, Twist]:
        """Pose and velocity at a time not after the present step's end, from the step before it."""
        step = (time - self._start) / STEP_S
        chosen = self._history[0]
        for entry in reversed(self._history):
            if entry[0] <= step:
                chosen = entry
                break
        at, x, y, heading, velocity = chosen
        seconds = min(max(0.0, (step - at) * STEP_S), STEP_S)
        heading += velocity.angular * seconds
        return (
            x + velocity.linear * seconds * math.cos(heading),
            y + velocity.linear * seconds * math.sin(heading),
            heading,
            velocity,
        )


def _seen_from(frame: tuple[float, float, float], x: float, y: float, heading: float) -> AtDock:
    dx, dy = x - frame[0], y - frame[1]
    cos, sin = math.cos(frame[2]), math.sin(frame[2])
    turned = math.remainder(heading - frame[2], 2 * math.pi)
    return AtDock(cos * dx + sin * dy, cos * dy - sin * dx, turned)


class _Obstacles:
    """Walls, furniture, people and the charger's body, as the robot's body meets them."""

    def __init__(self, room: Room, docked: tuple[float, float, float]) -> None:
        self._segments = room.segments
        self._docked = docked
        self.people: tuple[Person, ...] = ()
        self.time = 0.0
        # Walls do not move: after one look, nothing is near until the body has gone as far as it was from the nearest.
        self._looked_from = (0.0, 0.0)
        self._clear_within = -1.0

    def contact(self, x: float, y: float, radius: float) -> tuple[float, float] | None:
        nearest: tuple[float, float] | None = None
        gone = math.hypot(x - self._looked_from[0], y - self._looked_from[1])
        if gone + radius + _TOUCH_M >= self._clear_within:
            points = nearest_points(x, y, self._segments)
            distances = np.hypot(points[:, 0] - x, points[:, 1] - y)
            index = int(distances.argmin())
            distance = float(distances[index])
            self._looked_from, self._clear_within = (x, y), distance
            if distance - radius < _TOUCH_M:
                px, py = points[index]
                nearest = distance - radius, math.atan2(py - y, px - x)
        for person in self.people:
            body = person.body(self.time)
            if body is not None:
                gap = math.hypot(body.x - x, body.y - y) - body.radius - radius
                if gap < _TOUCH_M and (nearest is None or gap < nearest[0]):
                    nearest = gap, math.atan2(body.y - y, body.x - x)
        return nearest

    def held(self, x: float, y: float) -> float:
        """The charger stops a robot that backs into it, below the bumper."""
        at = _seen_from(self._docked, x, y, 0.0)
        return max(0.0, -at.ahead) if abs(at.left) < _DOCK_HALF_WIDTH_M else 0.0
