"""A W3C WebDriver server for Linux desktops: applications seen over AT-SPI, driven by their accessible actions or by
X input.
"""

from devices.desktop.server import DesktopDriver, serve

__all__ = ["DesktopDriver", "serve"]
