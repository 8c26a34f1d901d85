"""The action `robot.return_to_dock`: slowly back to the dock, from wherever in its room the robot stands."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from courses.progress import Progress
from drivers.documents import DocumentError
from labctl.actions.drives import ReturnToDock, Told
from labctl.actions.driving import drive_apart
from labctl.config import RobotConfig, RoomConfig, load_room
from labctl.errors import LabFailureError
from labctl.steps import SET_OUT, Outcome, StepContext, Verdict


class ReturnParameters(BaseModel):
    """`dock`: its name in the room file; the room's first unless given."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    dock: str | None = None


class ReturnRobotToDock:
    """Satisfies `labctl.steps.Action`. It drives as long as its lease lasts, and not a moment longer."""

    parameters = ReturnParameters

    def run(self, context: StepContext, parameters: ReturnParameters) -> Outcome:
        """Passed when it is docked and charging; failed when it did not dock."""
        robot = context.lab.devices[context.device]
        if not isinstance(robot, RobotConfig):
            raise LabFailureError(f"robot.return_to_dock needs a robot; {context.device} is a {robot.kind}")
        return drive_to_dock(context, robot, parameters.dock)


def drive_to_dock(context: StepContext, robot: RobotConfig, dock: str | None) -> Outcome:
    """Passed when the robot is docked and charging; failed when it did not dock. `dock`: the room's first unless given.

    Raises LabFailureError when the lab kept it from being driven.
    """
    config = context.lab.devices[robot.room]
    assert isinstance(config, RoomConfig)
    try:
        room = load_room(config)
        name = dock or (room.docks[0].name if room.docks else "")
        room.dock(name)
    except (DocumentError, ValueError, KeyError) as exc:
        raise LabFailureError(str(exc.args[0] if exc.args else exc)) from exc

    def tell(progress: Progress | Told) -> None:
        if isinstance(progress, Told):
            context.output(SET_OUT, True)
            context.emit("progress", {"what": "returning", "detail": progress.what})

    bases = context.bases
    driven = drive_apart(
        ReturnToDock(room, name, bases.address(context.device, context.fencing)),
        lambda: bases.lease_ends_at(context.device, context.fencing),
        context.cancellation,
        tell,
    )
    if driven.result["docked"]:
        return Outcome(Verdict.PASSED)
    return Outcome(Verdict.FAILED, f"it did not dock: {'; '.join(driven.result['faults'])}")
