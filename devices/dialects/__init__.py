"""Old WebDriver dialects behind a W3C face: Winium's three servers, and others that speak JSON Wire."""

from devices.dialects.flavours import CODED_UI, DESKTOP, FLAVOURS, JSON_WIRE, MOBILE, Flavour
from devices.dialects.gateway import Gateway

__all__ = ["CODED_UI", "DESKTOP", "FLAVOURS", "JSON_WIRE", "MOBILE", "Flavour", "Gateway"]
