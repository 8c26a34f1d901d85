"""What is done with a device before and after it is used, put round the steps of a lane."""

from __future__ import annotations

from labctl.config import DeviceConfig
from labctl.config.health import HookStep
from labctl.jobs import Job, Lane, Step

CHECK_STEP = "device.check"
# Actions that move a robot.
MOVING = ("drive.", "robot.")


def around(job: Job, name: str, device: DeviceConfig | None) -> Lane:
    """The lane of that name with its device's hooks: check and `before` ahead of its steps, `after` at the end in every
    case. Of several lanes with one device the first by name has them.
    """
    lane, role = job.lanes[name], job.role_of(name)
    if device is None or name != min(each for each in job.lanes if job.role_of(each) == role):
        return lane
    before = [_step("before", hook) for hook in device.hooks.before]
    if device.checks.before_use:
        before.insert(0, Step.model_validate({"name": "check the device", "uses": CHECK_STEP}))
    after = [_step("after", hook, moving=hook.uses.startswith(MOVING)) for hook in device.hooks.after]
    if not before and not after:
        return lane
    return lane.model_copy(update={"steps": [*before, *lane.steps], "always": [*lane.always, *after]})


def _step(when: str, hook: HookStep, *, moving: bool = False) -> Step:
    document = {"name": f"{when}: {hook.uses}", "uses": hook.uses, "with": hook.parameters, "timeout": hook.timeout_s}
    if moving:  # a robot whose course was broken off stays where it is, until a person has looked at it
        document["if"] = "success()"
    return Step.model_validate(document)
