"""Phones beside what is tapped on them: apps, files, logs, recordings; over adb or through an Appium session."""

from devices.phones.android import AdbTools
from devices.phones.appium import AppiumTools
from devices.phones.tools import PhoneTools

__all__ = ["AdbTools", "AppiumTools", "PhoneTools"]
