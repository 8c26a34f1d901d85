"""Reads a lab file, loading only the kinds of device that it names."""

from __future__ import annotations

import difflib
import functools
import operator
from collections.abc import Iterable
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, create_model

from drivers import documents
from drivers.rooms import Room
from labctl.auth.documents import read_policies
from labctl.config.audio import AudioConfig
from labctl.config.endpoint import EndpointConfig
from labctl.config.host import HostConfig, host_problems, with_absolute_paths
from labctl.config.model import BaseSection, DeviceConfig, Lab, LidarConfig, Name, RobotConfig, RoomConfig
from labctl.config.webdriver import BrowserConfig, DesktopConfig, PhoneConfig, webdriver_problems, with_slots

GROUP = "labctl.drivers"
_OURS: dict[str, type[DeviceConfig]] = {
    "room": RoomConfig,
    "robot": RobotConfig,
    "lidar": LidarConfig,
    "host": HostConfig,
    "audio": AudioConfig,
    "endpoint": EndpointConfig,
    "phone": PhoneConfig,
    "browser": BrowserConfig,
    "desktop": DesktopConfig,
}


def load_lab(path: str | Path) -> Lab:
    """The lab file at `path`, with the paths in it made absolute.

    Raises `drivers.documents.DocumentError` with every problem as file:line:column.
    """
    document = documents.read(path)
    lab = documents.validate(document, _model(_kinds_named(document)))
    folder = Path(path).resolve().parent
    devices = {name: _absolute(device, folder) for name, device in lab.devices.items()}
    problems = [document.problem(("devices", *where), message) for where, message in _across(devices)]
    policies = tuple(folder / each for each in lab.policies)
    try:
        read_policies(policies)
    except documents.DocumentError as exc:
        problems.extend(exc.problems)
    polqa = folder / lab.polqa if lab.polqa is not None else None
    problems.extend(_polqa_problems(polqa))
    if problems:
        raise documents.DocumentError(problems)
    return Lab.model_construct(
        lab=lab.lab,
        policies=policies,
        polqa=polqa,
        artifacts=lab.artifacts,
        scheduling=lab.scheduling,
        devices=with_slots(devices),
    )


def load_room(config: RoomConfig) -> Room:
    """The map of a room device. Raises DocumentError or ValueError when there is none such."""
    return Room.load(config.map) if _is_file(config.map) else Room.library(config.map)


def json_schema() -> dict[str, Any]:
    """The JSON schema of lab files with the kinds of device that ship with the program."""
    schema = _model(_OURS.values()).model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "labctl lab file"}


def _model(kinds: Iterable[type[DeviceConfig]]) -> type[Lab]:
    union: Any = functools.reduce(operator.or_, kinds)
    device: Any = Annotated[union, Field(discriminator="kind")]
    devices: Any = Annotated[dict[Name, device], Field(min_length=1)]
    return create_model("Lab", __base__=Lab, __doc__=Lab.__doc__, devices=(devices, ...))


def _kinds_named(document: documents.Document) -> list[type[DeviceConfig]]:
    """Our own kinds, and those of other packages that the document names."""
    devices = document.value.get("devices") if isinstance(document.value, dict) else None
    if not isinstance(devices, dict):
        return list(_OURS.values())
    found, problems = dict(_OURS), []
    offered = {point.name: point for point in entry_points(group=GROUP)}
    for name, device in devices.items():
        kind = device.get("kind") if isinstance(device, dict) else None
        if kind in found or not isinstance(kind, str):
            continue
        where = ("devices", str(name), "kind")
        if kind not in offered:
            known = sorted({*found, *offered})
            close = difflib.get_close_matches(kind, known, n=1, cutoff=0.6)
            hint = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(known)}"
            problems.append(document.problem(where, f"no driver offers the kind {kind!r}; {hint}"))
            continue
        try:
            found[kind] = _device_model(offered[kind].load(), kind)
        except Exception as exc:  # a package of somebody else may fail in any way
            problems.append(document.problem(where, f"the driver {offered[kind].value} cannot be loaded: {exc}"))
    if problems:
        raise documents.DocumentError(problems)
    return list(found.values())


def _device_model(loaded: Any, kind: str) -> type[DeviceConfig]:
    if not (isinstance(loaded, type) and issubclass(loaded, DeviceConfig)):
        raise TypeError(f"it is {loaded!r}, not a subclass of labctl.config.DeviceConfig for the kind {kind!r}")
    return loaded


def _absolute(device: DeviceConfig, folder: Path) -> DeviceConfig:
    changes: dict[str, Any] = {}
    for field in device.files:
        if (value := getattr(device, field)) is not None:
            changes[field] = folder / value
    if isinstance(device, RoomConfig) and _is_file(device.map):
        changes["map"] = str(folder / device.map)
    made = device.model_copy(update=changes)
    return with_absolute_paths(made, folder) if isinstance(made, HostConfig) else made


def _is_file(room_map: str) -> bool:
    return room_map.endswith((".yaml", ".yml", ".json")) or "/" in room_map


def _polqa_problems(path: Path | None) -> tuple[documents.Problem, ...]:
    """What is wrong with the settings of the lab's POLQA."""
    if path is None:
        return ()
    from audio.adapters.polqa import PolqaSettings  # noqa: PLC0415  # with an HTTP client, which few labs need for it

    try:
        documents.load(path, PolqaSettings)
    except documents.DocumentError as exc:
        return exc.problems
    return ()


def _across(devices: dict[str, DeviceConfig]) -> list[tuple[tuple[str, ...], str]]:
    """What is wrong between devices, or between the file and the disk: where (below `devices`) and what."""
    problems: list[tuple[tuple[str, ...], str]] = []
    rooms = [name for name, device in devices.items() if isinstance(device, RoomConfig)]
    bases: dict[str, str] = {}
    for name, device in devices.items():
        if device.room is not None and device.room not in rooms:
            close = difflib.get_close_matches(device.room, rooms, n=1, cutoff=0.6)
            hint = f"did you mean {close[0]!r}?" if close else f"rooms are: {', '.join(rooms) or 'none'}"
            problems.append(((name, "room"), f"no room is called {device.room!r}; {hint}"))
        if isinstance(device, RoomConfig):
            if device.room is not None:
                problems.append(((name, "room"), "a room lies in no other room"))
            problems.extend(_room_problems(name, device))
        if isinstance(device, RobotConfig):
            if device.calibration is not None and not device.calibration.is_file():
                problems.append(((name, "calibration"), f"there is no file {device.calibration}"))
            if device.host is not None and not isinstance(devices.get(device.host), HostConfig):
                known = ", ".join(each for each, found in devices.items() if isinstance(found, HostConfig)) or "none"
                problems.append(((name, "host"), f"no host is called {device.host!r}; hosts are: {known}"))
            line = device.base.url if isinstance(device.base, BaseSection) else name
            other = bases.setdefault(f"{device.host} {line}", name)
            if other != name:
                problems.append(((name, "base", "url"), f"the motor board is that of {other} already"))
    problems.extend(host_problems(devices))
    problems.extend(webdriver_problems(devices))
    return problems


def _room_problems(name: str, device: RoomConfig) -> list[tuple[tuple[str, ...], str]]:
    try:
        load_room(device)
    except (documents.DocumentError, ValueError) as exc:
        return [((name, "map"), f"the map cannot be used: {exc}")]
    return []
