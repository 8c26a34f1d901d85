"""How a host is: disk, load, memory, temperature, clock, missing packages, units of the lab."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from drivers.ssh.clock_offset import ClockOffset, clock_offset
from drivers.ssh.errors import SshError
from drivers.ssh.host import SshHost

# One "key<TAB>value" line for each thing found out; what a host does not have is left out.
_SCRIPT = r"""
export LC_ALL=C
say() { printf '%s\t%s\n' "$1" "$2"; }
say hostname "$(uname -n)"
say kernel "$(uname -sr)"
say machine "$(uname -m)"
[ -r /etc/os-release ] && say system "$(. /etc/os-release; printf %s "$PRETTY_NAME")"
read -r up rest </proc/uptime && say uptime "$up"
read -r one rest </proc/loadavg && say load "$one"
say processors "$(grep -c ^processor /proc/cpuinfo)"
read -r boot </proc/sys/kernel/random/boot_id && say boot "$boot"
while read -r key value unit; do
  case $key in MemTotal:) say memory_total "$value" ;; MemAvailable:) say memory_free "$value" ;; esac
done </proc/meminfo
for zone in /sys/class/thermal/thermal_zone*/temp /sys/class/hwmon/hwmon*/temp*_input; do
  { read -r value <"$zone"; } 2>/dev/null && say temperature "$value"
done
for disk in @DISKS@; do
  figures=$(df -Pk -- "$disk" 2>/dev/null | tail -n 1 | { read -r a total used free rest; echo "$total $free"; })
  say disk "$figures $disk"
done
for package in @PACKAGES@; do
  command -v "$package" >/dev/null 2>&1 && continue
  [ "$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null)" = installed ] && continue
  rpm -q "$package" >/dev/null 2>&1 || say missing "$package"
done
for unit in @UNITS@; do
  state=$(systemctl is-active "$unit" 2>/dev/null)
  say unit "${state:-unknown} $unit"
done
"""


@dataclass(frozen=True, slots=True)
class Limits:
    """What is still well. Bytes, degrees Celsius, seconds; load counts per processor."""

    disk_free_bytes: float = 1e9
    disk_free_ratio: float = 0.05
    load_per_processor: float = 2.0
    memory_free_ratio: float = 0.05
    temperature_c: float = 85.0
    clock_offset_s: float = 0.5


@dataclass(frozen=True, slots=True)
class Disk:
    """A file system, by a path in it."""

    path: str
    total_bytes: int
    free_bytes: int


@dataclass(frozen=True, slots=True)
class HostHealth:
    """What a host said of itself. None: it does not say. `temperature_c`: of its hottest sensor."""

    hostname: str
    system: str
    kernel: str
    machine: str
    boot_id: str
    uptime_s: float | None = None
    load: float | None = None
    processors: int | None = None
    memory_total_bytes: int | None = None
    memory_free_bytes: int | None = None
    temperature_c: float | None = None
    disks: tuple[Disk, ...] = ()
    missing_packages: tuple[str, ...] = ()
    units: dict[str, str] = field(default_factory=dict)
    clock: ClockOffset | None = None

    def complaints(self, limits: Limits) -> list[str]:
        """What is not well, each with what to do; nothing when all is."""
        found = []
        for disk in self.disks:
            if not disk.total_bytes:
                found.append(f"{disk.path}: there is no such disk")
            elif (
                disk.free_bytes < limits.disk_free_bytes or disk.free_bytes / disk.total_bytes < limits.disk_free_ratio
            ):
                found.append(f"{disk.path} is full but for {disk.free_bytes / 1e6:.0f} MB: make room")
        if self.load is not None and self.load > limits.load_per_processor * (self.processors or 1):
            found.append(f"load is {self.load:.1f} on {self.processors or 1} processors: see what runs (top)")
        free = self.memory_free_bytes
        if free is not None and self.memory_total_bytes and free / self.memory_total_bytes < limits.memory_free_ratio:
            found.append(f"only {free / 1e6:.0f} MB of memory are free: see what runs (top)")
        if self.temperature_c is not None and self.temperature_c > limits.temperature_c:
            found.append(f"it is {self.temperature_c:.0f} °C hot: check the fan")
        if self.clock is not None and abs(self.clock.offset_s) - self.clock.error_s > limits.clock_offset_s:
            found.append(f"its clock is off by {self.clock.offset_s:+.3f} s: start chrony or systemd-timesyncd")
        if self.missing_packages:
            found.append(f"missing: sudo apt-get install {' '.join(self.missing_packages)}")
        found += [
            f"{unit} is {state}: sudo systemctl restart {unit}"
            for unit, state in self.units.items()
            if state != "active"
        ]
        return found

    def document(self) -> dict[str, Any]:
        """Plain values, as of JSON."""
        return asdict(self)


def examine(
    host: SshHost, *, disks: Sequence[str] = ("/",), packages: Sequence[str] = (), units: Sequence[str] = ()
) -> HostHealth:
    """Ask a host how it is. `packages`: commands or packages it must have; `units`: of systemd. Raises SshError."""
    script = _SCRIPT
    for key, values in (("@DISKS@", disks), ("@PACKAGES@", packages), ("@UNITS@", units)):
        script = script.replace(key, shlex.join(values) if values else "")
    said = host.exec(["sh", "-c", script], timeout_s=60, check="asking how it is")
    return parse(said.stdout.decode(errors="replace"), host.title, clock_offset(host))


def parse(said: str, title: str = "the host", clock: ClockOffset | None = None) -> HostHealth:
    """What the script printed. Raises SshError when that is something else."""
    lines = [line.partition("\t")[::2] for line in said.splitlines() if "\t" in line]
    single = dict(lines)
    try:
        return HostHealth(
            hostname=single["hostname"],
            system=single.get("system", ""),
            kernel=single["kernel"],
            machine=single["machine"],
            boot_id=single.get("boot", ""),
            uptime_s=_number(single.get("uptime")),
            load=_number(single.get("load")),
            processors=_whole(single.get("processors")),
            memory_total_bytes=_whole(single.get("memory_total"), 1024),
            memory_free_bytes=_whole(single.get("memory_free"), 1024),
            temperature_c=max((float(value) / 1000 for key, value in lines if key == "temperature"), default=None),
            disks=tuple(_disk(value) for key, value in lines if key == "disk"),
            missing_packages=tuple(value for key, value in lines if key == "missing"),
            units={unit: state for key, value in lines if key == "unit" for state, _, unit in [value.partition(" ")]},
            clock=clock,
        )
    except (KeyError, ValueError) as exc:
        raise SshError(f"{title} does not tell how it is ({exc!r}): {said[:200]!r}") from None


def _disk(value: str) -> Disk:
    numbers, _, path = value.partition(" /")
    total, free = [*numbers.split(), "0", "0"][:2]
    return Disk("/" + path, int(total) * 1024, int(free) * 1024)


def _number(text: str | None) -> float | None:
    return None if text is None else float(text)


def _whole(text: str | None, factor: int = 1) -> int | None:
    return None if text is None else int(text) * factor
