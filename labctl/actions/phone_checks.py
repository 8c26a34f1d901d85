"""The checks of phones: connected and trusted, charge, temperature, room for what jobs bring."""

from __future__ import annotations

from collections.abc import Callable

from drivers.adb import AdbServer
from drivers.errors import DeviceError
from labctl.actions.phone import adb_server
from labctl.config.webdriver import PhoneConfig
from labctl.errors import LabError
from labctl.health.checks import Check, Subject

# A phone below this may be empty before a long job ends; charging, it may be used.
_LEAST_CHARGE_RATIO = 0.15
# Android throttles and stops charging from about here on.
_HOTTEST_C = 45.0
_LEAST_FREE_BYTES = 500 * 2**20


class PhoneChecks:
    """Satisfies `labctl.health.checks.Checks`; asks by adb, without a WebDriver session.

    Of a phone without an adb section nothing is looked at: its WebDriver server is watched anyhow.
    """

    def quick(self, subject: Subject) -> list[Check]:
        return self._look(subject, _quick)

    def preflight(self, subject: Subject) -> list[Check]:
        return self._look(subject, _preflight)

    def _look(self, subject: Subject, checks: Callable[[AdbServer, str], list[Check]]) -> list[Check]:
        config = subject.lab.devices[subject.device]
        assert isinstance(config, PhoneConfig)
        if config.adb is None:
            return []
        try:
            with adb_server(config.adb, subject.hosts) as server:
                return checks(server, str(config.udid))
        except (DeviceError, LabError) as exc:
            return [Check("connection", False, str(exc))]


def _quick(server: AdbServer, udid: str) -> list[Check]:
    state = {each.serial: each.state for each in server.phones()}.get(udid, "not connected")
    if state != "device":
        return [Check("connection", False, f"{udid} is {state} at its adb server: see its cable and its screen")]
    battery = server.phone(udid).battery()
    charged = battery.ratio >= _LEAST_CHARGE_RATIO or battery.powered
    power = "on a charger" if battery.powered else "on its battery"
    heat = battery.temperature_c
    return [
        Check("connection", True, f"{udid} answers"),
        Check("battery", charged, f"{battery.ratio:.0%}, {power}", battery.ratio, fact="battery_ratio"),
        Check("temperature", heat <= _HOTTEST_C, f"{heat:.1f} deg C, at most {_HOTTEST_C:g}", heat, "degC"),
    ]


def _preflight(server: AdbServer, udid: str) -> list[Check]:
    found = _quick(server, udid)
    if not all(each.well for each in found):
        return found
    try:
        free = server.phone(udid).free_bytes()
    except DeviceError as exc:
        return [*found, Check("storage", False, str(exc))]
    room = free >= _LEAST_FREE_BYTES
    told = f"{free / 2**20:.0f} MiB free, at least {_LEAST_FREE_BYTES >> 20} are needed"
    return [*found, Check("storage", room, told, float(free), "B")]
