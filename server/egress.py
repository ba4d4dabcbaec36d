"""Finds the address of a receiver and refuses what `server.core.egress` does: what was checked is what is dialled."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver

from server.core.egress import why_not


class NotAllowed(ValueError):
    """Nothing is sent there; the text says why. No OSError: aiohttp would hide it in one of its own."""


async def addresses_of(host: str, port: int, tenant: str, kind: socket.SocketKind) -> list[Any]:
    """What `getaddrinfo` says of the host, without what is refused; raises NotAllowed when nothing is left."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=kind)
    kept = [one for one in found if not why_not(str(one[4][0]), tenant)]
    if not kept:
        raise NotAllowed(why_not(str(found[0][4][0]), tenant))
    return kept


class Guarded(AbstractResolver):
    """For a session of aiohttp; addresses that are written as numbers pass `check` instead, as none is resolved."""

    def __init__(self, tenant: str) -> None:
        self._tenant = tenant
        self._inner = ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """The addresses that may be dialled; raises NotAllowed when there are none."""
        found = await self._inner.resolve(host, port, family)
        kept = [one for one in found if not why_not(one["host"], self._tenant)]
        if not kept:
            raise NotAllowed(why_not(found[0]["host"], self._tenant))
        return kept

    async def close(self) -> None:
        """Nothing is kept."""
        await self._inner.close()


def check(host: str, tenant: str) -> None:
    """Raise NotAllowed when the host is written as an address that is refused."""
    try:
        found = socket.getaddrinfo(host, None, flags=socket.AI_NUMERICHOST)
    except OSError:
        return
    if why := why_not(str(found[0][4][0]), tenant):
        raise NotAllowed(why)
