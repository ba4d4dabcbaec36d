"""The operator's fence command: makes sure that an old master is off before this node takes office.

It is a command line of this node's settings, run without a shell in a process group of its own. It gets the old master
in its environment: UNDERSTUDY_FENCE_NODE (node id), UNDERSTUDY_FENCE_ADDRESS ("host:port", or empty when nobody knows),
UNDERSTUDY_FENCE_EPOCH (the number of its last known office).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import signal

from replication.core.types import Epoch, NodeId
from server.config import Config

OUTPUT_BYTES_MAX = 65_536


class FenceCommand:
    """A `replication.ports.Fence`. The command has to exit 0 within `timeout_s`; else its whole group is killed."""

    def __init__(self, command: str, timeout_s: float) -> None:
        self._words = shlex.split(command)
        self.timeout_s = timeout_s

    async def fence(self, old: NodeId, address: str, epoch: Epoch) -> tuple[bool, str]:
        """Run it once. Returns whether it exited 0, and what it said last or why it failed."""
        environment = os.environ | {
            "UNDERSTUDY_FENCE_NODE": old,
            "UNDERSTUDY_FENCE_ADDRESS": address,
            "UNDERSTUDY_FENCE_EPOCH": str(epoch.number),
        }
        try:
            process = await asyncio.create_subprocess_exec(
                *self._words,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                env=environment,
                start_new_session=True,
            )
        except OSError as error:
            return False, f"{self._words[0]}: {error.strerror}."
        try:
            async with asyncio.timeout(self.timeout_s):
                last = await _last_line(process)
                code = await process.wait()
        except TimeoutError:
            return False, f"it did not end within {self.timeout_s:g} s."
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        said = f" Its last line: {last}" if last else " It printed nothing."
        return (True, last or "it printed nothing") if code == 0 else (False, f"it exited with {code}.{said}")


def fence_of(config: Config) -> FenceCommand | None:
    """The hook of these settings, if there is one."""
    return FenceCommand(config.fence_command, config.fence_timeout_s) if config.fence_command else None


async def _last_line(process: asyncio.subprocess.Process) -> str:
    """The last line that is not empty; of long output only the end is kept."""
    assert process.stdout is not None
    kept = b""
    while piece := await process.stdout.read(4096):
        kept = (kept + piece)[-OUTPUT_BYTES_MAX:]
    lines = [line.strip() for line in kept.decode(errors="replace").splitlines() if line.strip()]
    return lines[-1][:300] if lines else ""
