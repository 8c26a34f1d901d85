"""`python -m devices.dialects http://192.0.2.20:9999`: the gateway on its own."""

from __future__ import annotations

import argparse
import asyncio
import signal

from devices.dialects import FLAVOURS, Gateway


async def _serve(url: str, flavour: str, host: str, port: int) -> None:
    gateway = Gateway(url, FLAVOURS[flavour])
    print(f"W3C WebDriver for {url} on {await gateway.start(host, port)}", flush=True)
    stop = asyncio.Event()
    for each in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(each, stop.set)
    await stop.wait()
    await gateway.close()


def main() -> None:
    parser = argparse.ArgumentParser(description="Let today's Selenium and Appium clients drive a JSON Wire server.")
    parser.add_argument("url", help="where the server is, http://host:9999")
    parser.add_argument("--flavour", choices=sorted(FLAVOURS), default="winium-desktop")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=4723)
    arguments = parser.parse_args()
    try:
        asyncio.run(_serve(arguments.url, arguments.flavour, arguments.host, arguments.port))
    except (OSError, ValueError) as exc:
        parser.exit(2, f"{exc}\n")


if __name__ == "__main__":
    main()
