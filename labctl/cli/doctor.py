"""`labctl doctor`: what is missing on this machine, and the command that mends it."""

from __future__ import annotations

import grp
import importlib.metadata
import importlib.util
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from labctl.cli.exits import ERRORED, PASSED
from labctl.cli.installation import foreign_packages
from labctl.cli.output import print_json

_LEAST_FREE_BYTES = 1 << 30


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at. `mend`: the command or act that helps, where something is wrong."""

    what: str
    ok: bool
    detail: str
    mend: str = ""


def examine(lab: Path | None, *, as_json: bool) -> int:
    """Look at everything; exit 0 when nothing is wrong, otherwise 3."""
    checks: list[Callable[[], Iterator[Finding]]] = [_python, _packages, _ours, _serial_ports, _disk]
    findings = [finding for check in checks for finding in check()]
    if lab is not None:
        findings.extend(_lab_file(lab))
    if as_json:
        print_json({"ok": all(each.ok for each in findings), "findings": [asdict(each) for each in findings]})
    else:
        for each in findings:
            print(f"{'ok  ' if each.ok else 'FAIL'} {each.what}: {each.detail}")
            if each.mend:
                print(f"     mend: {each.mend}")
    return PASSED if all(each.ok for each in findings) else ERRORED


def _python() -> Iterator[Finding]:
    version = ".".join(map(str, sys.version_info[:3]))
    yield Finding("Python", sys.version_info >= (3, 11), version, "" if sys.version_info >= (3, 11) else "install 3.11")


def _packages() -> Iterator[Finding]:
    """Each requirement of the installed distribution without an extra."""
    try:
        requirements = importlib.metadata.requires("labctl") or []
    except importlib.metadata.PackageNotFoundError:
        yield Finding("installation", False, "labctl is not installed as a package", "pip install -e .")
        return
    missing = []
    for requirement in requirements:
        if "extra ==" in requirement:
            continue
        name = requirement.split(";")[0].split("[")[0]
        for mark in "<>=!~ ":
            name = name.split(mark)[0]
        try:
            importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
    detail = "all there" if not missing else f"missing: {', '.join(missing)}"
    yield Finding("packages", not missing, detail, f"pip install {' '.join(missing)}" if missing else "")
    actions = importlib.metadata.entry_points(group="labctl.actions").names
    known = "drive.course" in actions
    yield Finding("actions", known, ", ".join(sorted(actions)) or "none", "" if known else "pip install -e . (again)")


def _ours() -> Iterator[Finding]:
    told = foreign_packages()
    yield Finding("own packages", not told, "; ".join(told) or "drivers and courses are ours")


def _serial_ports() -> Iterator[Finding]:
    ports = sorted(str(each) for pattern in ("ttyUSB*", "ttyACM*") for each in Path("/dev").glob(pattern))
    closed = [port for port in ports if not os.access(port, os.R_OK | os.W_OK)]
    if closed:
        group = _group_of(closed[0])
        mend = f"sudo usermod -a -G {group} {os.environ.get('USER', '$USER')}, then log in again"
        yield Finding("serial ports", False, f"no permission for {', '.join(closed)}", mend)
        return
    yield Finding("serial ports", True, ", ".join(ports) or "none plugged in")


def _group_of(port: str) -> str:
    try:
        return grp.getgrgid(Path(port).stat().st_gid).gr_name
    except (OSError, KeyError):
        return "dialout"


def _disk() -> Iterator[Finding]:
    free = shutil.disk_usage(Path.cwd()).free
    mend = "" if free > _LEAST_FREE_BYTES else "make room, or keep the data elsewhere: labctl serve --data DIR"
    yield Finding("disk", free > _LEAST_FREE_BYTES, f"{free / 1e9:.1f} GB free here", mend)


def _lab_file(path: Path) -> Iterator[Finding]:
    from drivers.documents import DocumentError
    from labctl.config import load_lab
    from labctl.config.model import BaseSection

    try:
        lab = load_lab(path)
    except DocumentError as exc:
        yield Finding("lab file", False, str(exc), f"correct {path}")
        return
    yield Finding("lab file", True, f"{path}: {len(lab.devices)} devices")
    for name, robot in lab.robots().items():
        if not isinstance(robot.base, BaseSection):
            continue
        port = robot.base.url.removeprefix("serial://")
        if port.startswith("/"):
            there = Path(port).exists()
            mend = "" if there else "plug it in, switch it on, or correct base.url in the lab file"
            yield Finding(f"motor board of {name}", there, port if there else f"{port} is not there", mend)
