"""The agent as a program: opens its data directory, serves until SIGTERM or SIGINT; jobs go on or are drained."""

from __future__ import annotations

import asyncio
import os
import signal
from importlib import metadata
from pathlib import Path

from server.agent.client import Client
from server.agent.credentials import Credentials
from server.agent.platform import why_not_here
from server.agent.reserve import SPOOL_BYTES_MAX
from server.agent.spool import SPOOL_FILE, SpoolDamagedError, SpoolUnusableError
from server.agent.witness import WITNESS_FILE, WitnessDamagedError
from server.clock import SystemClock
from server.config import ConfigError
from server.trust.identity import directory_lock, load_identity

SPOOL_SETTING = "UNDERSTUDY_AGENT_SPOOL_MIB"
"""How many mebibytes of reports and output may wait for a master before nothing begins; 4096 without it."""


def run(data: Path, credentials: Credentials | None, on_stop: str = "") -> int:
    """Run the agent of an enrolled directory; returns the exit code 0 after a clean stop.

    `credentials` None is plain WebSocket, for tests on loopback. `on_stop`: auto | keep | drain, "" for what the master
    has set (`core.agent_drain`). A later start adopts what still runs. Raises `ConfigError` (exit 78) for a directory
    that is not enrolled or in use.
    """
    if reason := why_not_here():
        raise ConfigError(reason)
    identity = load_identity(data)
    if identity is None or identity.kind != "agent":
        raise ConfigError(
            f"{data} is no agent's data directory: enrol it with `understudy agent --data {data} --join TOKEN` "
            "(`understudy agent invite --name NAME` on the master prints a token)"
        )
    with directory_lock(data, "understudy agent"):
        try:
            client = Client(
                data, identity.id, identity.peers, SystemClock(), credentials, _version(), on_stop, _spool_bytes_max()
            )
            asyncio.run(_serve(client))
        except (SpoolDamagedError, WitnessDamagedError) as error:
            raise ConfigError(_damaged(data, identity.name, error)) from error
        except SpoolUnusableError as error:
            raise ConfigError(
                f"{data / SPOOL_FILE} cannot be opened: {error}. Free disk space, or see that this user may write "
                f"{data}; then start the agent again. Nothing was started and nothing is lost; running jobs go on."
            ) from error
    return 0


def _spool_bytes_max() -> int:
    text = os.environ.get(SPOOL_SETTING, "")
    if text and not (text.isdecimal() and 0 < int(text) < 1 << 40):
        raise ConfigError(f"{SPOOL_SETTING}={text} is no number of mebibytes: say {SPOOL_SETTING}=4096")
    return int(text) << 20 if text else SPOOL_BYTES_MAX


def _damaged(data: Path, name: str, error: Exception) -> str:
    file = WITNESS_FILE if isinstance(error, WitnessDamagedError) else SPOOL_FILE
    return (
        f"{data / file} is damaged: {error}. The agent starts nothing: it no longer knows what it has run or promised. "
        f"On the master type `understudy agent replace {name}`, then on this machine `understudy agent --data "
        f"NEW-DIRECTORY --join TOKEN` with the token that it prints. Keep {data}: jobs that run go on, and the outputs "
        "and exit statuses that were not reported yet are in its directory runs/."
    )


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
