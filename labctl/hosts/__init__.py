"""The lab's hosts: warm connections, forwards, consoles, sessions of people and programs."""

from labctl.hosts.pool import Hosts, LabHost
from labctl.hosts.sessions import Session, Sessions

__all__ = ["Hosts", "LabHost", "Session", "Sessions"]
