"""Has the door swept once a minute while this node is in office."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from aiohttp import web

from replication.errors import ReplicationError
from server.errors import UnderstudyError
from server.site import SITE, Site

SWEEP_EVERY_S = 60.0


async def keeping_the_door(app: web.Application) -> AsyncIterator[None]:
    """Runs with the application."""
    task = asyncio.create_task(_sweep(app[SITE]))
    yield
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def _sweep(site: Site) -> None:
    while True:
        await asyncio.sleep(SWEEP_EVERY_S)
        if not site.in_office:
            continue
        with contextlib.suppress(UnderstudyError, ReplicationError):
            await site.door.sweep(site.store(), site.clock.utc_us())
