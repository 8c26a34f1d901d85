"""A web application of the bench, served on the loopback interface from a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from importlib.resources import files
from types import TracebackType
from typing import Any, Self

from aiohttp import web

_START_WITHIN_S = 10.0


class ServedApp:
    """Serves from entry to exit; `url` is where. A subclass gives `routes`, and `beside` for what runs along."""

    def __init__(self, *, name: str, host: str = "127.0.0.1", port: int = 0) -> None:
        self.url = ""
        self._host = host
        self._port = port
        self._loop = asyncio.new_event_loop()
        self._over: asyncio.Event | None = None
        self._ready = threading.Event()
        self._failure: OSError | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def routes(self) -> list[web.RouteDef]:
        """What is served."""
        raise TypeError(f"{type(self).__name__} serves nothing")

    def beside(self) -> Coroutine[Any, Any, None]:
        """What runs while it is served, until it is cancelled."""
        return asyncio.sleep(0)

    async def ending(self) -> None:
        """What is done before the connections are closed."""

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._ready.wait(_START_WITHIN_S):
            raise TimeoutError(f"{self._thread.name} was not served in time")
        if self._failure is not None:
            raise self._failure
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._over is not None:
            self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join()

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._serve())
        except OSError as exc:
            self._failure = exc
        finally:
            self._ready.set()
            self._loop.close()

    async def _serve(self) -> None:
        self._over = asyncio.Event()
        app = web.Application()
        app.add_routes(self.routes())
        runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=1.0)
        await runner.setup()
        try:
            site = web.TCPSite(runner, self._host, self._port)
            await site.start()
            host, port = runner.addresses[0][:2]
            self.url = f"http://{host}:{port}/"
            beside = asyncio.create_task(self.beside())
            self._ready.set()
            await self._over.wait()
            beside.cancel()
            await asyncio.wait([beside])
        finally:
            await self.ending()
            await runner.cleanup()


def page(package: str) -> web.Response:
    """The page.html of a package, which may use nothing but what comes with it, and a robot's socket anywhere."""
    text = files(package).joinpath("page.html").read_text("utf-8")
    policy = "default-src 'self' 'unsafe-inline'; connect-src 'self' ws: wss:"
    return web.Response(text=text, content_type="text/html", headers={"Content-Security-Policy": policy})
