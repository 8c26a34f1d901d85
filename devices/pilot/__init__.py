"""Driving through a pilot's client in a browser: its keyboard, mouse and gamepad as inputs, its odometry read back."""

from devices.pilot.client import SOCKET, Keys, Pad, PilotClient, Stick
from devices.pilot.inputs import GamepadInput, KeyboardInput, MouseInput, PilotInput, open_input
from devices.pilot.page import PagedBase, PilotPage

__all__ = [
    "SOCKET",
    "GamepadInput",
    "KeyboardInput",
    "Keys",
    "MouseInput",
    "Pad",
    "PagedBase",
    "PilotClient",
    "PilotInput",
    "PilotPage",
    "Stick",
    "open_input",
]
