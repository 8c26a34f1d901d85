"""Android phones over adb: apps, files, logs, battery. Speaks to an adb server; needs no `adb` program itself."""

from drivers.adb.phone import Battery, Phone
from drivers.adb.server import AdbServer, ConnectedPhone
from drivers.adb.shell import ShellResult

__all__ = ["AdbServer", "Battery", "ConnectedPhone", "Phone", "ShellResult"]
