"""What can be made to go wrong between a simulated LiDAR and its clients, at any time."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, fields


@dataclass
class ScipFaults:
    """Wire faults of a `ScipServer`; change them with `update`, also while it runs. Times are clock seconds.

    Counts run down to zero as they are used; switches stay until turned off.
    """

    corrupt_frames: int = 0  # the next scans carry a wrong character
    garbage_frames: int = 0  # `garbage` precedes the next scans
    garbage: bytes = b"\x00\xffgarbage\n\x7f"
    cut_frames: int = 0  # of the next scans only the first half is sent
    status_frames: int = 0  # instead of the next scans only `status` is sent
    status: str = "0M"
    hang_ups: int = 0  # all connections are closed, once for each
    frozen: bool = False  # the latest scan again and again, time stamp and all
    replay: bool = False  # scans of the past, in their order, with their time stamps
    silent: bool = False  # connections stay open, nothing is sent
    babble: bool = False  # whatever is sent is noise
    refuse: bool = False  # no new connections
    latency_s: float = 0.0  # everything is sent so much later
    jitter_s: float = 0.0  # and up to so much more, at random
    drop_every: int = 0  # of every so many scans one is not sent
    chunk_bytes: int = 0  # writes are cut into random pieces of at most so many bytes
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    def update(self, **changes: object) -> None:
        """Change faults by name. Raises ValueError for an unknown name, a wrong type or a negative number."""
        known = {each.name: type(getattr(self, each.name)) for each in fields(self) if not each.name.startswith("_")}
        for name, value in changes.items():
            if name not in known:
                raise ValueError(f"unknown LiDAR fault {name!r}; known are {', '.join(known)}")
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if not (number if known[name] is float else type(value) is known[name]):
                raise ValueError(f"LiDAR fault {name} takes a {known[name].__name__}, not {value!r}")
            if number and not value >= 0:  # type: ignore[operator]  # checked to be a number
                raise ValueError(f"LiDAR fault {name} cannot be {value!r}")
        with self._lock:
            for name, value in changes.items():
                setattr(self, name, value)

    def clear(self) -> None:
        """Turn every fault off."""
        with self._lock:
            for each in fields(self):
                if not each.name.startswith("_"):
                    setattr(self, each.name, each.default)

    def take(self, name: str) -> bool:
        """Use up one of a count; False when it is used up."""
        with self._lock:
            left: int = getattr(self, name)
            if left > 0:
                setattr(self, name, left - 1)
            return left > 0
