"""Waits until a lease that was granted is its holder's: until its devices are prepared, or it is over."""

from __future__ import annotations

import asyncio

import sqlalchemy as sa
from starlette.concurrency import run_in_threadpool

from labctl.store import Store
from labctl.store.tables import lease_devices, leases

_REVIEW_S = 30.0  # should a wake-up be lost


async def until_ready(store: Store, lease: str) -> str:
    """The state of the lease then: "active", or what became of it."""
    with store.bell.listening() as rung:
        while True:
            rung.clear()
            state, ready = await run_in_threadpool(_look, store, lease)
            if ready or state != "active":
                return state
            try:
                await asyncio.wait_for(rung.wait(), _REVIEW_S)
            except TimeoutError:
                continue


def _look(store: Store, lease: str) -> tuple[str, bool]:
    being = sa.select(lease_devices.c.device).where(lease_devices.c.lease_id == lease, lease_devices.c.preparing)
    with store.read() as connection:
        state = connection.execute(sa.select(leases.c.state).where(leases.c.id == lease)).scalar_one()
        return str(state), connection.execute(being).first() is None
