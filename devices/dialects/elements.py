"""Element references in the two protocols: same id, another key. Renamed wherever they stand in a value."""

from __future__ import annotations

from typing import Any

from devices.webdriver import ELEMENT_KEY

WIRE_KEY = "ELEMENT"


def to_w3c(value: Any) -> Any:
    """A value from a JSON Wire server, its element references as W3C clients expect them."""
    if isinstance(value, dict):
        if isinstance(value.get(WIRE_KEY), str):
            return {ELEMENT_KEY: value[WIRE_KEY]}
        return {key: to_w3c(each) for key, each in value.items()}
    if isinstance(value, list):
        return [to_w3c(each) for each in value]
    return value


def to_wire(value: Any) -> Any:
    """A value from a W3C client, its element references as JSON Wire servers expect them."""
    if isinstance(value, dict):
        if isinstance(value.get(ELEMENT_KEY), str):
            return {WIRE_KEY: value[ELEMENT_KEY]}
        return {key: to_wire(each) for key, each in value.items()}
    if isinstance(value, list):
        return [to_wire(each) for each in value]
    return value


def element_id(value: Any) -> str | None:
    """The id in an element reference of either protocol; None for anything else."""
    if isinstance(value, dict):
        for key in (ELEMENT_KEY, WIRE_KEY):
            if isinstance(value.get(key), str):
                return str(value[key])
    return None
