"""The action `robot.charge`: a robot stands on its dock and charges, until it has what is wanted of it."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from courses.docking import docked_fault
from drivers.clock import clock_for_scale
from drivers.errors import DeviceError
from drivers.guard import GuardClient
from drivers.types import BaseState
from labctl.actions.return_to_dock import drive_to_dock
from labctl.config import RobotConfig
from labctl.errors import LabFailureError
from labctl.steps import SET_OUT, BaseAddress, Measurement, Outcome, StepContext, Verdict

_LOOK_EVERY_S = 1.0
# A charger may change its state, or its contacts jolt, without the charge being over.
_MAY_PAUSE_S = 10.0
_TELL_EVERY_RATIO = 0.01


class ChargeParameters(BaseModel):
    """`battery_ratio`: what the battery has to hold, 0 to 1; a robot that has it stays where it is. Without it the
    robot goes to its dock, and it is enough that it charges there. `dock`: its name in the room file; the first unless
    given.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    battery_ratio: Annotated[float, Field(gt=0, le=1)] | None = None
    dock: str | None = None


class ChargeRobot:
    """Satisfies `labctl.steps.Action`. Charging takes an hour or so: give the step, or the hook, time for it."""

    parameters = ChargeParameters

    def run(self, context: StepContext, parameters: ChargeParameters) -> Outcome:
        """Passed when the battery has what is wanted, or, where nothing is said of that, when the robot is charging.

        Failed when it did not dock; errored when the charger stops charging.
        """
        robot = context.lab.devices[context.device]
        if not isinstance(robot, RobotConfig):
            raise LabFailureError(f"robot.charge needs a robot; {context.device} is a {robot.kind}")
        address = context.bases.address(context.device, context.fencing)
        wanted, state = parameters.battery_ratio, _look(address)
        if wanted is None or state.battery_ratio < wanted:
            if docked_fault(state):
                docked = drive_to_dock(context, robot, parameters.dock)
                if docked.verdict is not Verdict.PASSED:
                    return docked
                context.output(SET_OUT, False)  # it is at home again, whatever becomes of the charging
            state = self._charge(context, address, wanted)
        context.measure([Measurement("battery_ratio", state.battery_ratio, "1")])
        return Outcome(Verdict.PASSED)

    def _charge(self, context: StepContext, address: BaseAddress, wanted: float | None) -> BaseState:
        """Wait until the battery has what is wanted; the board's last word."""
        told, paused_s = -1.0, 0.0
        while True:
            state = _look(address)
            ratio, fault = state.battery_ratio, docked_fault(state)
            if not fault and (wanted is None or ratio >= wanted):
                return state
            paused_s = paused_s + _LOOK_EVERY_S if fault else 0.0
            if paused_s > _MAY_PAUSE_S:
                of = "" if wanted is None else f" of {wanted:.0%}"
                raise LabFailureError(f"{context.device} does not charge on its dock, at {ratio:.0%}{of}: {fault}")
            if abs(ratio - told) >= _TELL_EVERY_RATIO:
                told = ratio
                context.emit("progress", {"what": "charging", "detail": f"{ratio:.0%} of {wanted or 1:.0%}"})
            if context.cancellation.wait(_LOOK_EVERY_S):
                raise LabFailureError(context.cancellation.reason)


def _look(address: BaseAddress) -> BaseState:
    """How the board is now. As an observer, who needs no lease and keeps nobody from driving."""
    try:
        with GuardClient.connect(address.url, clock=clock_for_scale(address.time_scale), token=address.token) as base:
            return base.state()
    except DeviceError as exc:
        raise LabFailureError(f"the battery of {address.robot} cannot be read: {exc}") from exc
