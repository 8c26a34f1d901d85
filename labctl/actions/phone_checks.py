"""The checks of phones: connected and trusted, charge, temperature, room for what jobs bring."""

from __future__ import annotations

from drivers.adb import AdbServer
from drivers.errors import DeviceError
from labctl.config.webdriver import PhoneConfig
from labctl.health.checks import Check, Subject

# A phone below this may be empty before a long job ends; charging, it may be used.
_LEAST_CHARGE_RATIO = 0.15
# Android throttles and stops charging from about here on.
_HOTTEST_C = 45.0
_LEAST_FREE_BYTES = 500 * 2**20


class PhoneChecks:
    """Satisfies `labctl.health.checks.Checks`; asks by adb, without a WebDriver session.

    Of a phone without an adb section, or on the adb server of a host, nothing is looked at: its WebDriver server and,
    in the daemon, its connection are watched anyhow.
    """

    def quick(self, subject: Subject) -> list[Check]:
        config = subject.lab.devices[subject.device]
        assert isinstance(config, PhoneConfig)
        if config.adb is None or config.adb.host is not None:
            return []
        server = AdbServer.at(config.adb.server)
        try:
            states = {each.serial: each.state for each in server.phones()}
            state = states.get(str(config.udid), "not connected")
            if state != "device":
                told = f"{config.udid} is {state} at the adb server {config.adb.server}: see its cable and its screen"
                return [Check("connection", False, told)]
            battery = server.phone(str(config.udid)).battery()
        except DeviceError as exc:
            return [Check("connection", False, str(exc))]
        charged = battery.ratio >= _LEAST_CHARGE_RATIO or battery.powered
        power = "on a charger" if battery.powered else "on its battery"
        heat = battery.temperature_c
        return [
            Check("connection", True, f"{config.udid} answers"),
            Check("battery", charged, f"{battery.ratio:.0%}, {power}", battery.ratio, fact="battery_ratio"),
            Check("temperature", heat <= _HOTTEST_C, f"{heat:.1f} deg C, at most {_HOTTEST_C:g}", heat, "degC"),
        ]

    def preflight(self, subject: Subject) -> list[Check]:
        found = self.quick(subject)
        config = subject.lab.devices[subject.device]
        assert isinstance(config, PhoneConfig)
        if not found or not all(each.well for each in found) or config.adb is None:
            return found
        try:
            free = AdbServer.at(config.adb.server).phone(str(config.udid)).free_bytes()
        except DeviceError as exc:
            return [*found, Check("storage", False, str(exc))]
        room = free >= _LEAST_FREE_BYTES
        told = f"{free / 2**20:.0f} MiB free, at least {_LEAST_FREE_BYTES >> 20} are needed"
        return [*found, Check("storage", room, told, float(free), "B")]
