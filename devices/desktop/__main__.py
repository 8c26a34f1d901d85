"""`python -m devices.desktop --port 9515`: the desktop driver on its own."""

from __future__ import annotations

import argparse
import asyncio

from devices.desktop.server import serve


def main() -> None:
    """Parse the command line and serve."""
    parser = argparse.ArgumentParser(prog="desktop-driver", description="W3C WebDriver for Linux desktop applications.")
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen on; sessions start programs: keep it local"
    )
    parser.add_argument("--port", type=int, default=9515, help="port to listen on; 0 takes a free one")
    parser.add_argument("--max-sessions", type=int, default=16, help="how many sessions may run at once")
    options = parser.parse_args()

    def ready(url: str) -> None:
        print(f"desktop driver listening on {url}", flush=True)

    asyncio.run(serve(options.host, options.port, max_sessions=options.max_sessions, ready=ready))


if __name__ == "__main__":
    main()
