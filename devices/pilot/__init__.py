"""Driving through a pilot's client in a browser: its keyboard, mouse and gamepad as inputs, its odometry read back."""

from devices.pilot.inputs import INPUTS, GamepadInput, KeyboardInput, MouseInput, open_input
from devices.pilot.page import PagedBase, PilotPage

__all__ = ["INPUTS", "GamepadInput", "KeyboardInput", "MouseInput", "PagedBase", "PilotPage", "open_input"]
