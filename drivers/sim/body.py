"""What a simulated motor board needs from the robot's body: wheels to turn, switches, battery and dock to read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from drivers.types import ChargingState


@dataclass(frozen=True, slots=True)
class BodyReading:
    """One reading of the body's switches, encoders and battery.

    Ticks are unwrapped counts of the true wheel turn. `current_a` is positive while the battery is being charged.
    Infrared values are the receivers' characters of 0 to 255, 0 for nothing seen (Create 2 Open Interface, packets 17,
    52 and 53).
    """

    left_ticks: int = 0
    right_ticks: int = 0
    bump_left: bool = False
    bump_right: bool = False
    wheel_drop: bool = False
    cliff: bool = False
    on_dock: bool = False
    docking: bool = False
    charging: ChargingState = ChargingState.NOT_CHARGING
    battery_charge_mah: float = 2600.0
    battery_capacity_mah: float = 2696.0
    voltage_v: float = 15.0
    current_a: float = -0.2
    ir_omni: int = 0
    ir_left: int = 0
    ir_right: int = 0


class SimulatedBody(Protocol):
    """The body behind a simulated motor board. Its own clock moves it; calls return at once."""

    def set_wheel_speeds(self, left_m_s: float, right_m_s: float) -> None:
        """What the board's controller asks of the motors from now on, m/s at the wheels' rims."""

    def start_docking(self) -> None:
        """Begin the board's own docking run: the body drives itself until docked or told to stop."""

    def stop_docking(self) -> None:
        """End the docking run; the wheels rest until `set_wheel_speeds`."""

    def reading(self) -> BodyReading:
        """The body as it is now."""
