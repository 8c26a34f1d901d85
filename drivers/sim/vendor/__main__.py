"""Run a vendor's robot until Ctrl-C: `python -m drivers.sim.vendor --base /dev/pts/7 --port 8090`."""

from __future__ import annotations

import argparse
import json
import signal

from drivers.sim.vendor import VendorRobot


def main() -> None:
    """Serve until told to end."""
    parser = argparse.ArgumentParser(prog="python -m drivers.sim.vendor", description=main.__doc__)
    parser.add_argument("--base", required=True, help="the motor board's line")
    parser.add_argument("--port", type=int, default=0)
    options = parser.parse_args()
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
    with VendorRobot(options.base, port=options.port) as robot:
        print(json.dumps({"ready": True, "url": robot.url}), flush=True)
        signal.sigwait((signal.SIGINT, signal.SIGTERM))


if __name__ == "__main__":
    main()
