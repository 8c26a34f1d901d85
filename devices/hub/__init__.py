"""The WebDriver hub: one endpoint in front of many devices, whoever leases them."""

from devices.hub.app import Hub
from devices.hub.capabilities import Candidate, admits, misfit
from devices.hub.gate import Caller, Gate, OpenGate, RefusedError
from devices.hub.lifecycle import HubSettings, Lifecycle
from devices.hub.options import LabOptions, RecordOptions
from devices.hub.provider import Ending, Placement, Provider, Verdict
from devices.hub.sessions import Session, Waiting
from devices.hub.target import Call, Reply, Target, TargetError, Upstream

__all__ = [
    "Call",
    "Caller",
    "Candidate",
    "Ending",
    "Gate",
    "Hub",
    "HubSettings",
    "LabOptions",
    "Lifecycle",
    "OpenGate",
    "Placement",
    "Provider",
    "RecordOptions",
    "RefusedError",
    "Reply",
    "Session",
    "Target",
    "TargetError",
    "Upstream",
    "Verdict",
    "Waiting",
    "admits",
    "misfit",
]
