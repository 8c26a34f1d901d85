"""GET /metrics: what a Prometheus server scrapes. State metrics are read from the store at each scrape."""

from __future__ import annotations

import time
from collections.abc import Iterator

import sqlalchemy as sa
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from labctl.store import Store
from labctl.store.tables import devices, jobs, leases


class Metrics:
    """A registry of its own, so that several daemons fit into one process."""

    def __init__(self, store: Store) -> None:
        self.registry = CollectorRegistry()
        self.registry.register(_State(store))
        self.requests = Counter(
            "labctl_http_requests",
            "Requests by method, route and status",
            ["method", "route", "status"],
            registry=self.registry,
        )
        self.seconds = Histogram(
            "labctl_http_request_seconds",
            "Time to the start of the answer",
            ["method", "route"],
            registry=self.registry,
        )

    def text(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self.registry)


class CountRequests:
    """ASGI middleware that counts and times requests by their route, not by their path."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()

        async def watch(message: Message) -> None:
            if message["type"] == "http.response.start":
                route = getattr(scope.get("route"), "path", "none")
                method = scope["method"]
                self._metrics.requests.labels(method, route, str(message["status"])).inc()
                self._metrics.seconds.labels(method, route).observe(time.perf_counter() - began)
            await send(message)

        await self._app(scope, receive, watch)


class _State(Collector):
    def __init__(self, store: Store) -> None:
        self._store = store

    def collect(self) -> Iterator[GaugeMetricFamily]:
        with self._store.read() as connection:
            for name, table, states in (
                ("devices", devices, ("good", "offline")),
                ("leases", leases, ("waiting", "active")),
                ("jobs", jobs, ("queued", "running", "finished")),
            ):
                count = sa.select(table.c.state, sa.func.count()).group_by(table.c.state)
                found = {row[0]: row[1] for row in connection.execute(count)}
                family = GaugeMetricFamily(f"labctl_{name}", f"Number of {name} by state", labels=["state"])
                for state in states:
                    family.add_metric([state], found.get(state, 0))
                yield family
