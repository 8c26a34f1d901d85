"""The motion guard on another machine: what is sent there, how it is started over SSH, and how it is talked to."""

from drivers.remote_guard.process import RemoteGuardProcess

__all__ = ["RemoteGuardProcess"]
