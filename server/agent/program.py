"""The agent as a program: opens its data directory, serves until SIGTERM or SIGINT; jobs go on or are drained."""

from __future__ import annotations

import asyncio
import signal
import ssl
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

from server.agent.client import Client
from server.clock import SystemClock
from server.config import ConfigError
from server.identity import directory_lock, load_identity


def run(data: Path, tls: Callable[[], ssl.SSLContext | None], on_stop: str = "") -> int:
    """Run the agent of an enrolled directory; returns the exit code 0 after a clean stop.

    `tls` is asked at each connection, so that a renewed certificate is used; None is plain WebSocket, for tests on
    loopback. Raises `ConfigError` (exit 78) for a directory that is not enrolled or in use. A later start adopts what
    still runs. `on_stop`: auto | keep | drain, "" for what the master has set (`core.agent_drain`).
    """
    identity = load_identity(data)
    if identity is None or identity.kind != "agent":
        raise ConfigError(
            f"{data} is no agent's data directory: enrol it with `understudy agent --data {data} --join TOKEN` "
            "(`understudy agent invite --name NAME` on the master prints a token)"
        )
    with directory_lock(data, "understudy agent"):
        client = Client(data, identity.id, identity.peers, SystemClock(), tls, _version(), on_stop)
        asyncio.run(_serve(client))
    return 0


async def _serve(client: Client) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, client.signalled)
    await client.run()


def _version() -> str:
    try:
        return metadata.version("understudy")
    except metadata.PackageNotFoundError:
        return "0"
