"""Errors of devices. Each message says what was tried, on which device, what came back and what to do."""

from __future__ import annotations


class DeviceError(Exception):
    """Anything that went wrong between us and a device: a cause on the lab's side."""


class DeviceUnreachableError(DeviceError):
    """The device, port or host is not there, or belongs to someone else."""


class DeviceAddressError(DeviceUnreachableError):
    """What was given as a device's address is none: nothing was tried."""


class DeviceSilentError(DeviceError):
    """The device is there but says nothing, or nothing new."""


class ProtocolError(DeviceError):
    """The device said something that its protocol does not allow."""


class ChecksumError(ProtocolError):
    """Bytes were damaged on the way."""


class MotionRefusedError(DeviceError):
    """The motion guard does not let the base move."""


class SoundLoopError(DeviceError):
    """The lab's own microphone, speaker or sound server lost, changed or delayed sound: the verdict is errored."""
