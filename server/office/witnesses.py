"""Ends a change of witnesses: the former set is asked no more once the new one knows what it has to.

A reader of rows, like the fleet: whichever node is master finds the change pending and goes on; each step may be done
twice. The argument why any two decisions meet in a witness is in `core.witness_seats`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

import structlog

from replication.core.types import State, Status
from replication.errors import Closed, DiskFull, OutcomeUnknown, ReadTimeout, Unavailable
from replication.store import Store
from server.actions import witnesses as actions
from server.core.witness_seats import Pending
from server.ports.witness_links import WitnessLinks
from server.storage import witnesses

RETRY_S = 0.25
LOOK_EVERY_S = 10.0
log = structlog.get_logger(__name__)


class Changeover:
    """Open with the office; `run` ends when office closes.

    A new witness has an empty record and would say that nobody writes alone. So before it counts alone: the standby is
    in sync, which makes "nobody" true; it has applied the change, so that from now on it needs the new set too; and a
    majority of the new and of the former set holds this office's epoch with nobody alone. A former witness that was
    granted a higher epoch, or that still has a master on record as alone, keeps the change pending. Of a former set
    that has lost its majority nothing can be asked, and by it nothing can be decided.
    """

    def __init__(
        self, store: Store, asked: WitnessLinks, status: Callable[[], Status], utc_us: Callable[[], int]
    ) -> None:
        self._store = store
        self._asked = asked
        self._status = status
        self._utc_us = utc_us
        self._seen = (0, 0)

    async def run(self) -> None:
        """End each change as soon as it may be; between changes, hear now and then what the witnesses hold."""
        sequence = 0
        while True:
            try:
                found, read_at = await self._store.read(witnesses.pending)
                if found is None:
                    sequence = await self._rest(max(sequence, read_at))
                elif not await self.end(found, read_at):
                    await asyncio.sleep(RETRY_S)
            except Closed:
                return
            except (Unavailable, OutcomeUnknown, ReadTimeout, DiskFull):
                await asyncio.sleep(RETRY_S)  # as long as the standby is lost; the store says so itself

    async def end(self, change: Pending, read_at: int) -> bool:
        """Drop the former set if it may be dropped now. `read_at` is a sequence at which the change was there."""
        if self._seen[0] != change.number:
            self._seen = (change.number, read_at)
        status = self._status()
        if not is_applied(status, self._seen[1]):
            return False
        sets = [change.present, change.former] if change.former.can_agree else [change.present]
        if not await self._asked.hold_nobody_alone(sets, status.epoch, status.counted_name):
            return False
        done, _ = await self._store.write(actions.drop_former(change.number, self._utc_us()))
        if done:
            log.info("the witnesses are changed", change=change.number)
        return done

    async def _rest(self, sequence: int) -> int:
        """Wait for news; meanwhile look at the witnesses, which changes nothing anywhere."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LOOK_EVERY_S):
                sequence = await self._store.wait_past(sequence)
                await asyncio.sleep(RETRY_S)  # one look at the rows for many commits
                return sequence
        seated, _, _ = await self._store.read_unconfirmed(witnesses.seated, 0.0)
        await self._asked.look([agent.id for agent in seated if agent.removed_at_us is None])
        return sequence


def is_applied(status: Status, sequence: int) -> bool:
    """The other node has applied request `sequence`, and this one counts on it; or there never was another node."""
    if not status.standby_enrolled:
        return True
    counted = [peer for peer in status.peers if peer.connected and peer.state is State.IN_SYNC]
    holds = bool(counted) and all(peer.applied >= sequence for peer in counted)
    return status.state is State.MASTER and status.in_sync and holds
