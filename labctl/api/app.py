"""Puts the API together."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from fastapi import FastAPI
from fastapi.responses import HTMLResponse, PlainTextResponse, Response
from starlette.types import ASGIApp

from labctl import __version__
from labctl.api import (
    audio,
    daemons,
    devices,
    docs,
    emergency,
    events,
    health,
    hosts,
    jobs,
    leases,
    policies,
    problems,
    robots,
    runs,
    signals,
    tokens,
    webdriver,
    webhooks,
)
from labctl.api.common import Asker, TheDaemon
from labctl.api.ending import AnswerAtEnd
from labctl.api.forwarding import Forwarding
from labctl.api.identity import Identify, SameOrigin
from labctl.api.metrics import CountRequests, Metrics
from labctl.api.mount import MountWebDriver
from labctl.api.text import RefuseNul
from labctl.auth import Resource, authorise
from labctl.daemon import Daemon

_ABOUT = "Devices, leases, jobs and events of a hardware-in-the-loop lab. Errors are problem documents (RFC 9457)."


def create_app(daemon: Daemon) -> ASGIApp:
    """The ASGI application that serves `daemon`."""
    app = FastAPI(title="labctl", version=__version__, description=_ABOUT, docs_url=None, redoc_url=None)
    app.state.daemon = daemon
    for module in (
        devices,
        leases,
        jobs,
        runs,
        signals,
        robots,
        health,
        hosts,
        webdriver,
        audio,
        events,
        tokens,
        policies,
        daemons,
        webhooks,
    ):
        app.include_router(module.router)
    problems.install(app)
    _describe(app)
    _add_plain_pages(app, Metrics(daemon.store))
    here = emergency.EmergencyStop(SameOrigin(app), daemon)
    inner = RefuseNul(Identify(Forwarding(here, daemon), daemon.authority))
    return MountWebDriver(AnswerAtEnd(inner), daemon.webdriver, daemon.authority)


def _describe(app: FastAPI) -> None:
    made = app.openapi

    def openapi() -> dict[str, Any]:
        description = made()
        description["paths"].update(emergency.OPENAPI)
        return description

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way to extend the description


def _add_plain_pages(app: FastAPI, metrics: Metrics) -> None:
    app.add_middleware(CountRequests, metrics=metrics)

    @app.get("/metrics", response_class=PlainTextResponse, tags=["daemon"])
    def scrape(asker: Asker) -> Response:
        """Metrics for Prometheus."""
        authorise(asker, "read", Resource("metrics", "daemon"))
        return Response(metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    @app.get("/healthz", tags=["daemon"])
    def alive() -> dict[str, str]:
        """Whether the daemon answers; also its version."""
        return {"status": "ok", "version": __version__}

    @app.get("/readyz", tags=["daemon"])
    def ready(daemon: TheDaemon) -> dict[str, str]:
        """Whether the daemon can use its database."""
        with daemon.store.read() as connection:
            connection.execute(sa.text("SELECT 1"))
        return {"status": "ok", "lab": daemon.lab.lab}

    @app.get("/docs", response_class=HTMLResponse, tags=["daemon"])
    def documentation() -> HTMLResponse:
        """This API on one page."""
        return HTMLResponse(docs.render(app.openapi()))
