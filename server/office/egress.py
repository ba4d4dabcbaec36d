"""Finds the address of a receiver and refuses what `server.core.egress` does: what was checked is what is dialled."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any

from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver

from server.core.egress import Bounds


class NotAllowed(ValueError):
    """Nothing is sent there; the text says why. No OSError: aiohttp would hide it in one of its own."""


Rule = Callable[[str, str], str]
"""(host, address) to why nothing is sent there, "" when something may be: `why_not` of one of `server.core.egress`."""


async def addresses_of(host: str, port: int, why_not: Rule, kind: socket.SocketKind) -> list[Any]:
    """What `getaddrinfo` says of the host, without what is refused; raises NotAllowed when nothing is left."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=kind)
    kept = [one for one in found if not why_not(host, str(one[4][0]))]
    if not kept:
        raise NotAllowed(why_not(host, str(found[0][4][0])))
    return kept


async def dialled(host: str, port: int, why_not: Rule, timeout_s: float) -> socket.socket:
    """A connection to the first address of the host that is not refused and answers; the caller closes it.

    Raises NotAllowed, OSError and TimeoutError.
    """
    loop, failed = asyncio.get_running_loop(), OSError(f"{host} has no address")
    async with asyncio.timeout(timeout_s):
        for family, kind, protocol, _, place in await addresses_of(host, port, why_not, socket.SOCK_STREAM):
            made = socket.socket(family, kind, protocol)
            try:
                made.setblocking(False)
                await loop.sock_connect(made, place)
            except OSError as error:
                made.close()
                failed = error
            except BaseException:
                made.close()
                raise
            else:
                return made
    raise failed


class Guarded(AbstractResolver):
    """For a session of aiohttp; addresses that are written as numbers pass `check` instead, as none is resolved."""

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._inner = ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """The addresses that may be dialled; raises NotAllowed when there are none."""
        found = await self._inner.resolve(host, port, family)
        kept = [one for one in found if not self._bounds.why_not(host, one["host"])]
        if not kept:
            raise NotAllowed(self._bounds.why_not(host, found[0]["host"]))
        return kept

    async def close(self) -> None:
        """Nothing is kept."""
        await self._inner.close()


def check(host: str, bounds: Bounds) -> None:
    """Raise NotAllowed when the host is written as an address that is refused."""
    try:
        found = socket.getaddrinfo(host, None, flags=socket.AI_NUMERICHOST)
    except OSError:
        return
    address = str(found[0][4][0])
    if why := bounds.why_not(address, address):
        raise NotAllowed(why)
