"""The actions `endpoint.*`: a calling client connects, invites, accepts, publishes, sees media and hangs up."""

from __future__ import annotations

import threading
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from drivers.errors import DeviceUnreachableError
from drivers.sim.endpoint import PACKET_EVERY_S, CallState, SimulatedEndpoint, StateError
from labctl.config.endpoint import EndpointConfig
from labctl.errors import LabFailureError
from labctl.jobs.durations import Duration, worded
from labctl.steps import Measurement, Outcome, StepContext, Verdict

_CANCELLED_WITHIN_S = 0.2


class _Parameters(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class _Connected:
    """The endpoints of this process that a run has connected, each with the fencing number of its lease."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[str, tuple[int, SimulatedEndpoint]] = {}

    def connect(self, device: str, fencing: int, config: EndpointConfig) -> SimulatedEndpoint:
        """A fresh client; one that an earlier lease left is closed. Raises LabFailureError on an old lease."""
        with self._lock:
            self._refuse_old(device, fencing)
            if device in self._known:
                self._known.pop(device)[1].close()
            endpoint = SimulatedEndpoint(device, config.faults, config.seed)
            self._known[device] = (fencing, endpoint)
            return endpoint

    def get(self, device: str, fencing: int) -> SimulatedEndpoint:
        """The client that this lease connected. Raises LabFailureError."""
        with self._lock:
            self._refuse_old(device, fencing)
            known = self._known.get(device)
            if known is None or known[0] != fencing:
                raise LabFailureError(f"{device} is not connected; let a step use endpoint.connect first")
            return known[1]

    def drop(self, device: str, fencing: int) -> None:
        """Disconnect, if this lease has it connected."""
        with self._lock:
            if device in self._known and self._known[device][0] == fencing:
                self._known.pop(device)[1].close()

    def _refuse_old(self, device: str, fencing: int) -> None:
        known = self._known.get(device)
        if known is not None and known[0] > fencing:
            raise LabFailureError(
                f"{device} is held by a later lease (fencing number {known[0]}, this one is {fencing})"
            )


_CONNECTED = _Connected()


class NoParameters(_Parameters):
    """Takes none."""


class InviteParameters(_Parameters):
    """`address`: what the other endpoint's `endpoint.connect` put out."""

    address: Annotated[str, Field(min_length=1, max_length=200)]


class AwaitParameters(_Parameters):
    """`state`: idle, calling, ringing or in_call. `within`: how long at most."""

    state: CallState
    within: Duration = 10.0


class MediaParameters(_Parameters):
    """`packets`: how many have to come from the other side, of which there are 50 a second."""

    packets: Annotated[int, Field(ge=1, le=100_000)] = 50
    within: Duration = 10.0


class Connect:
    """Satisfies `labctl.steps.Action`: gets the client ready; puts out its `address`."""

    parameters = NoParameters

    def run(self, context: StepContext, _parameters: NoParameters) -> Outcome:
        config = context.lab.devices[context.device]
        if not isinstance(config, EndpointConfig):
            raise LabFailureError(f"this needs a device of kind endpoint; {context.device} is a {config.kind}")
        context.output("address", _CONNECTED.connect(context.device, context.fencing, config).address)
        return Outcome(Verdict.PASSED)


class Invite:
    """Satisfies `labctl.steps.Action`: calls another endpoint."""

    parameters = InviteParameters

    def run(self, context: StepContext, parameters: InviteParameters) -> Outcome:
        try:
            _mine(context).invite(parameters.address)
        except DeviceUnreachableError as exc:
            return Outcome(Verdict.FAILED, str(exc))
        return Outcome(Verdict.PASSED)


class Accept:
    """Satisfies `labctl.steps.Action`: takes the call that rings; puts out the `caller`."""

    parameters = NoParameters

    def run(self, context: StepContext, _parameters: NoParameters) -> Outcome:
        endpoint = _mine(context)
        try:
            endpoint.accept()
        except (StateError, DeviceUnreachableError) as exc:
            return Outcome(Verdict.FAILED, str(exc))
        context.output("caller", endpoint.peer)
        return Outcome(Verdict.PASSED)


class Publish:
    """Satisfies `labctl.steps.Action`: sends media from now on."""

    parameters = NoParameters

    def run(self, context: StepContext, _parameters: NoParameters) -> Outcome:
        try:
            _mine(context).publish()
        except StateError as exc:
            return Outcome(Verdict.FAILED, str(exc))
        return Outcome(Verdict.PASSED)


class AwaitState:
    """Satisfies `labctl.steps.Action`: fails unless the client gets into a state in time."""

    parameters = AwaitParameters

    def run(self, context: StepContext, parameters: AwaitParameters) -> Outcome:
        endpoint = _mine(context)
        left = parameters.within
        while left > 0 and not context.cancellation.asked:
            if endpoint.await_state(parameters.state, min(left, _CANCELLED_WITHIN_S)):
                return Outcome(Verdict.PASSED)
            left -= _CANCELLED_WITHIN_S
        reason = (
            f"{context.device} was not {parameters.state} within {worded(parameters.within)}; it is {endpoint.state}"
        )
        return Outcome(Verdict.FAILED, reason)


class SeeMedia:
    """Satisfies `labctl.steps.Action`: counts what comes from the other side, and what was lost on the way."""

    parameters = MediaParameters

    def run(self, context: StepContext, parameters: MediaParameters) -> Outcome:
        endpoint = _mine(context)
        left = parameters.within
        seen = endpoint.await_media(parameters.packets, 0)
        while seen.packets < parameters.packets and left > 0 and not context.cancellation.asked:
            seen = endpoint.await_media(parameters.packets, min(left, _CANCELLED_WITHIN_S))
            left -= _CANCELLED_WITHIN_S
            if endpoint.state is not CallState.IN_CALL:
                break
        enough = seen.packets >= parameters.packets
        verdict = Verdict.PASSED if enough else Verdict.FAILED
        context.measure(
            [
                Measurement("packets", seen.packets, "1", low=parameters.packets, verdict=verdict),
                Measurement("media", seen.packets * PACKET_EVERY_S, "s"),
                Measurement("loss", seen.loss_ratio, "1"),
            ]
        )
        context.output("packets", seen.packets)
        told = f"{context.device} saw {seen.packets} packets, not {parameters.packets}; it is {endpoint.state}"
        return Outcome(verdict, "" if enough else told)


class HangUp:
    """Satisfies `labctl.steps.Action`: ends the call, if there is one, and disconnects."""

    parameters = NoParameters

    def run(self, context: StepContext, _parameters: NoParameters) -> Outcome:
        _CONNECTED.drop(context.device, context.fencing)
        return Outcome(Verdict.PASSED)


def _mine(context: StepContext) -> SimulatedEndpoint:
    return _CONNECTED.get(context.device, context.fencing)
