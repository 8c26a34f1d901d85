"""A robot's battery and its charger's states (Create 2 Open Interface, packets 21 to 26)."""

from __future__ import annotations

from drivers.types import ChargingState

CAPACITY_MAH = 2696.0
_IDLE_A = -0.25
_DRIVING_A_PER_M_S = -1.5
_CHARGING_A = {
    ChargingState.WAITING: 0.01,
    ChargingState.RECONDITIONING: 0.3,
    ChargingState.FULL: 1.25,
    ChargingState.TRICKLE: 0.06,
}
_WAITING_S = 1.5
_TRICKLE_FROM = 0.98
_RECONDITION_BELOW = 0.03
_MAH_PER_AMPERE_SECOND = 1000 / 3600


class Battery:
    """Charge in mAh, and what the charger does with it. `charger_fault`: the charger reports a fault on contact."""

    def __init__(self, ratio: float, on_contacts: bool) -> None:
        self.set_ratio(ratio)
        self.state = ChargingState.NOT_CHARGING
        self.current_a = _IDLE_A
        self.charger_fault = False
        self._waited = _WAITING_S if on_contacts else 0.0
        self.step(0.0, on_contacts, 0.0)

    @property
    def ratio(self) -> float:
        return self.charge_mah / CAPACITY_MAH

    def set_ratio(self, ratio: float) -> None:
        """Set the state of charge, 0 .. 1. Raises ValueError outside."""
        if not 0 <= ratio <= 1:
            raise ValueError(f"a battery charge of {ratio} is outside 0 .. 1")
        self.charge_mah = ratio * CAPACITY_MAH

    @property
    def voltage_v(self) -> float:
        """About what a 12-cell NiMH pack shows."""
        return 13.2 + 2.4 * self.ratio + 0.4 * max(0.0, self.current_a)

    def step(self, seconds: float, on_contacts: bool, speed_m_s: float) -> None:
        """Let time pass, with the wheels turning at a mean speed."""
        self._waited = self._waited + seconds if on_contacts else 0.0
        self.state = self._next_state(on_contacts)
        self.current_a = _CHARGING_A.get(self.state, _IDLE_A + _DRIVING_A_PER_M_S * speed_m_s)
        charge = self.charge_mah + self.current_a * seconds * _MAH_PER_AMPERE_SECOND
        self.charge_mah = min(max(charge, 0.0), CAPACITY_MAH)

    def _next_state(self, on_contacts: bool) -> ChargingState:
        if not on_contacts:
            return ChargingState.NOT_CHARGING
        if self.charger_fault:
            return ChargingState.FAULT
        if self._waited < _WAITING_S:
            return ChargingState.WAITING
        if self.ratio < _RECONDITION_BELOW:
            return ChargingState.RECONDITIONING
        return ChargingState.TRICKLE if self.ratio >= _TRICKLE_FROM else ChargingState.FULL
