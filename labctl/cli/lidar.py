"""`labctl lidar scan`: scans straight from a LiDAR, without a daemon."""

from __future__ import annotations

import math

from labctl.cli.exits import ERRORED, USAGE, ExpectedError
from labctl.cli.output import print_json


def scan(address: str, count: int, *, as_json: bool) -> int:
    """Take `count` scans; as JSON one document with `info` and `scans`, otherwise a line each."""
    import numpy as np

    from drivers.errors import DeviceAddressError, DeviceError
    from drivers.scip import HokuyoLidar

    scans = []
    try:
        lidar = HokuyoLidar.open(address)
        try:
            info = {key: _plain(value) for key, value in _fields(lidar.info).items()}
            if not as_json:
                print("  ".join(f"{key}={value}" for key, value in info.items() if value not in (None, "")))
            for taken in lidar.stream():
                valid = taken.ranges[(taken.error_codes == 0) & np.isfinite(taken.ranges)]
                if as_json:
                    scans.append(
                        {
                            "sensor_time_s": round(taken.sensor_time, 6),
                            "angles_rad": [round(float(each), 6) for each in taken.angles],
                            "ranges_m": [None if math.isnan(each) else round(float(each), 4) for each in taken.ranges],
                            "error_codes": [int(each) for each in taken.error_codes],
                        }
                    )
                else:
                    nearest = (
                        f"nearest {valid.min():.3f} m, median {np.median(valid):.3f} m" if valid.size else "nothing"
                    )
                    print(
                        f"{taken.sensor_time:10.3f} s  {valid.size} of {taken.ranges.size} beams  {nearest}", flush=True
                    )
                count -= 1
                if count == 0:
                    break
            counters = {"dropped": lidar.dropped, "checksum_errors": lidar.checksum_errors}
        finally:
            lidar.close()
    except (DeviceError, ValueError) as exc:
        raise ExpectedError(str(exc), USAGE if isinstance(exc, DeviceAddressError) else ERRORED) from None
    if as_json:
        print_json({"info": info, "scans": scans, **counters})
    return 0


def _fields(info: object) -> dict[str, object]:
    import dataclasses

    return dataclasses.asdict(info)  # type: ignore[call-overload,no-any-return]  # LidarInfo is a dataclass


def _plain(value: object) -> object:
    return value if isinstance(value, str | int | float | bool | None) else str(value)
