"""Off, a pause, on: whatever the switch is."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable

from drivers.errors import DeviceError
from drivers.protocols import PowerSwitch


def cycle(switch: PowerSwitch, pause_s: float = 3.0, sleep: Callable[[float], object] = time.sleep) -> None:
    """Switch off, wait `pause_s` seconds for capacitors to drain, switch on.

    Raises DeviceError; when the pause is interrupted the device is switched on all the same.
    """
    switch.off()
    try:
        sleep(pause_s)
    except BaseException:
        with contextlib.suppress(DeviceError):
            switch.on()
        raise
    switch.on()
