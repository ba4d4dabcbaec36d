"""The web port under hostile requests, slow and half-open connections, and WebSockets that do not behave."""

from __future__ import annotations

import asyncio
import contextlib
import random
import ssl
from collections import Counter
from dataclasses import dataclass, field

from tests.hostile import web_requests

ANSWER_S = 20.0
WAITS_S = 0.5
"""A request that is not whole is answered by nothing but a limit of time: it is left after this."""
FINE = frozenset({100, 503})


@dataclass
class Target:
    """A web port. `token` of somebody; `context` None is plain HTTP. `tally` counts answers by status."""

    host: str
    port: int
    context: ssl.SSLContext | None = None
    token: str = ""
    tally: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)

    async def connect(self, address: str = "") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A new connection, from `address` when one is given."""
        local = (address, 0) if address else None
        return await asyncio.open_connection(self.host, self.port, ssl=self.context, local_addr=local, limit=1 << 20)


@dataclass
class Lane:
    """Sends one request after the other; a connection is kept as long as the server keeps it."""

    target: Target
    address: str = ""
    _open: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def send(self, seed: int) -> None:
        """One hostile request and what is answered to it. A defect of the server is a fault that names the seed."""
        choice = random.Random(f"web-{seed}")
        sent = web_requests.request(choice, self.target.token)
        try:
            async with asyncio.timeout(ANSWER_S):
                status = await self._exchange(sent)
        except (OSError, ssl.SSLError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError):
            status = "connection ended"
            await self.close()
        except TimeoutError:
            status = "no answer"
            self.target.faults.append(f"web {seed}: no answer within {ANSWER_S:g} s; {sent[:80]!r}")
            await self.close()
        self.target.tally[status] += 1
        if status.isdigit() and int(status) >= 500 and int(status) not in FINE:
            again = f"again: python -m tests.hostile web {seed}"
            self.target.faults.append(f"web {seed}: answered {status} to {sent[:120]!r}; {again}")

    async def _exchange(self, sent: bytes) -> str:
        if self._open is None:
            self._open = await self.target.connect(self.address)
        reader, writer = self._open
        writer.write(sent)
        await writer.drain()
        try:
            async with asyncio.timeout(ANSWER_S if _is_whole(sent) else WAITS_S):
                head = await reader.readuntil(b"\r\n\r\n")
        except TimeoutError:
            if _is_whole(sent):
                raise
            await self.close()
            return "left waiting"
        lines = head.decode("latin-1").split("\r\n")
        status = lines[0].split(" ")[1]
        headers = {
            name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])
        }
        length = int(headers.get("content-length", "0"))
        is_framed = "content-length" in headers or status in ("100", "204", "304")
        if length and not sent.startswith(b"HEAD "):
            await reader.readexactly(length)
        # What follows a broken request is not to be told from its answer: begin anew.
        if not is_framed or headers.get("connection", "").lower() != "keep-alive" or not _is_tidy(sent):
            await self.close()
        return status

    async def close(self) -> None:
        """End the connection."""
        if self._open is not None:
            self._open[1].close()
            self._open = None


def _is_tidy(sent: bytes) -> bool:
    return sent.count(b" HTTP/1.1\r\n") == 1 and b"Content-Length: " in sent and sent not in web_requests.BROKEN


def _is_whole(sent: bytes) -> bool:
    return sent not in web_requests.BROKEN


async def storm(target: Target, count: int, lanes: int, first_seed: int = 0) -> None:
    """So many requests by so many lanes, each of an address of its own."""

    async def run(number: int) -> None:
        lane = Lane(target, f"127.0.7.{number + 1}")
        for seed in range(first_seed + number, first_seed + count, lanes):
            await lane.send(seed)
        await lane.close()

    await asyncio.gather(*(run(number) for number in range(lanes)))


async def half_open(target: Target, hellos: int, idle: int, heads: int, bodies: int, within_s: float) -> dict[str, str]:
    """Connections that never go on: no TLS hello, no request, half a head, half a body; how many the server ended."""
    plain = Target(target.host, target.port)
    held: dict[str, list[asyncio.Task[bool]]] = {
        "without a hello": [],
        "without a request": [],
        "slow heads": [],
        "slow bodies": [],
    }
    for number in range(hellos if target.context is not None else 0):
        held["without a hello"].append(asyncio.create_task(_hold(plain, b"", f"127.0.8.{number % 200 + 1}", within_s)))
    for number in range(idle):
        held["without a request"].append(
            asyncio.create_task(_hold(target, b"", f"127.0.9.{number % 200 + 1}", within_s))
        )
    for number in range(heads):
        said = b"GET / HTTP/1.1\r\nHost: x\r\nX: "
        held["slow heads"].append(
            asyncio.create_task(_hold(target, said, f"127.0.10.{number % 200 + 1}", within_s, b"y"))
        )
    for number in range(bodies):
        said = (
            b"POST /api/v1/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9000\r\n\r\n{"
        )
        held["slow bodies"].append(
            asyncio.create_task(_hold(target, said, f"127.0.11.{number % 200 + 1}", within_s, b" "))
        )
    found = {}
    for name, tasks in held.items():
        ended = [await task for task in tasks]
        found[name] = f"{sum(ended)} of {len(ended)} ended by the server"
        if not all(ended):
            target.faults.append(f"{len(ended) - sum(ended)} connections {name} were still open after {within_s:g} s")
    return found


async def _hold(target: Target, said: bytes, address: str, within_s: float, drip: bytes = b"") -> bool:
    """Whether the server ended it in time. `drip` is sent each second."""
    try:
        reader, writer = await target.connect(address)
    except (OSError, ssl.SSLError):
        return True
    ended = asyncio.create_task(reader.read())
    try:
        writer.write(said)
        for _ in range(int(within_s)):
            done, _pending = await asyncio.wait([ended], timeout=1.0)
            if done:
                return True
            if drip:
                writer.write(drip)
    except (OSError, ssl.SSLError):
        return True
    finally:
        ended.cancel()
        with contextlib.suppress(OSError, ssl.SSLError, asyncio.CancelledError):
            await ended
        writer.close()
    return False
