"""Power switches: outlets with a web interface, ports of USB hubs, Wake-on-LAN."""

from drivers.power.cycling import cycle
from drivers.power.http_outlet import Dialect, HttpOutlet
from drivers.power.usb_hub import UsbPort
from drivers.power.wake_on_lan import WakeOnLan

__all__ = ["Dialect", "HttpOutlet", "UsbPort", "WakeOnLan", "cycle"]
