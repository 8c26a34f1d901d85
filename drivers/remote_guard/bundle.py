"""What a host gets to run the guard: our own files that it needs and pyserial, named by their hash.

numpy is the host's own. Where it has none, and its Python is of the same version for the same kind of machine as ours,
it gets a copy of ours, so that a host without a way to any package index works too.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import serial

_OURS = ("__init__", "clock", "clock_mapping", "errors", "protocols", "serial_line", "stop_channel", "types")
_PACKAGES = ("create2", "guard", "power", "scip")
# What numpy needs at run time; its tests and headers stay here.
_LEFT_OUT = ("__pycache__", "tests", "include", "f2py")


@dataclass(frozen=True)
class Bundle:
    """A compressed archive of Python files. `name`: what it is, with its hash."""

    name: str
    archive: bytes


@cache
def guard_bundle() -> Bundle:
    """The guard with what it imports, but numpy; well below a megabyte."""
    drivers = Path(__file__).resolve().parents[1]
    files = [(f"drivers/{name}.py", drivers / f"{name}.py") for name in _OURS]
    for package in _PACKAGES:
        files += _of(drivers / package, f"drivers/{package}")
    files += _of(Path(serial.__file__).parent, "serial")
    files.append(("start_guard.py", Path(__file__).with_name("start_guard.py")))
    return _packed("guard", files)


@cache
def numpy_bundle() -> Bundle:
    """Our numpy with the libraries that came with it; some 20 MB."""
    package = Path(np.__file__).parent
    files = _of(package, "numpy", binaries=True)
    libraries = package.parent / "numpy.libs"
    if libraries.is_dir():
        files += _of(libraries, "numpy.libs", binaries=True)
    return _packed("numpy", files)


def _of(folder: Path, name: str, *, binaries: bool = False) -> list[tuple[str, Path]]:
    return [
        (f"{name}/{path.relative_to(folder).as_posix()}", path)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and not set(path.relative_to(folder).parts) & set(_LEFT_OUT)
        and (path.suffix == ".py" or (binaries and ".so" in path.name))
    ]


def _packed(name: str, files: Iterable[tuple[str, Path]]) -> Bundle:
    """The same files make the same bytes, wherever and whenever they are packed."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as archive:
        for inside, path in files:
            content = path.read_bytes()
            entry = tarfile.TarInfo(inside)
            entry.size = len(content)
            entry.mode = 0o644
            archive.addfile(entry, io.BytesIO(content))
    digest = hashlib.sha256(plain.getvalue()).hexdigest()
    return Bundle(f"{name}-{digest[:20]}", gzip.compress(plain.getvalue(), compresslevel=1, mtime=0))
