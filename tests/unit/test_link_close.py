"""Closing a link while whoever closes it is cancelled: a lost cancellation left nobody in office after a swap."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from server.ports.cluster_port import WebSocketConnection


class Closing:
    """A socket whose good-bye is answered when `answered` is set."""

    def __init__(self) -> None:
        self.answered = asyncio.Event()

    async def close(self) -> None:
        """Wait for the other side."""
        await self.answered.wait()


async def test_a_cancellation_at_the_end_of_closing_is_not_lost() -> None:
    """The peer says good-bye in the very turn in which the task is cancelled: it ends, and does not go on dialling.

    A standby that takes office cancels its stream and waits for its end; a lost cancellation left nobody in office.
    """
    socket = Closing()
    task = asyncio.create_task(WebSocketConnection("a" * 32, cast(Any, socket)).close())
    for _ in range(3):
        await asyncio.sleep(0)
    socket.answered.set()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
