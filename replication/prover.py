"""When a node proves its files: some minutes after it began its role, then on a schedule, and whenever asked (BEY-11).

A standby that finds a damaged page compares its files with the master's anew: only what differs is fetched, and its own
version is kept. A master goes on; it is told which command makes it a standby that can be healed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING

from replication import threads
from replication.core.request import peek
from replication.core.types import IN_OFFICE, Proof, State
from replication.errors import Forgotten, MustEnd, ReplicationError, Retired, Unavailable
from replication.proof import Pages, check_soundness, digest_objects, prove_copy, prove_master
from replication.threads import finished

if TYPE_CHECKING:
    from replication.node import Node

FIRST_S = 300.0
AGAIN_S = 10.0
PROVABLE = IN_OFFICE | {State.SYNCING, State.IN_SYNC}


class Prover:
    """One per node. `last` is the newest proof of this process, of whichever role."""

    def __init__(self, node: Node, interval_s: float) -> None:
        self._node = node
        self._interval_s = interval_s
        self._one_at_a_time = asyncio.Lock()
        self._closing = False
        self.last: Proof | None = None

    async def run(self) -> None:
        """Prove on the schedule until cancelled; never with an interval of 0."""
        wait_s = min(FIRST_S, self._interval_s)
        while self._interval_s > 0:
            await asyncio.sleep(wait_s)
            try:
                await self.prove()
                wait_s = self._interval_s
            except Unavailable:
                wait_s = min(AGAIN_S, self._interval_s)

    async def prove(self) -> Proof:
        """Read and check everything now; what was found is acted upon. Raises Unavailable while there is nothing."""
        async with self._one_at_a_time:
            began = threads.monotonic()
            try:
                pages, soundness = await self._look()
            except MustEnd:
                raise
            except (ReplicationError, OSError) as error:  # also no room for the checkpoint: a proof ends no process
                raise Unavailable(f"this node's files cannot be looked at now ({error}); try again") from error
            self.last = Proof(
                at_us=self._node.utc_us(),
                seconds=threads.monotonic() - began,
                sequence=pages.sequence,
                checksum=pages.checksum,
                pages=pages.count,
                bad_pages=pages.bad,
                soundness=soundness,
                in_office=self._node.machine.state in IN_OFFICE,
            )
            self._act_on(self.last)
            return self.last

    async def checksum_at(self, sequence: int) -> int | None:
        """The rolling checksum behind a request of this node's journal; None while that is not held."""
        journal = self._node.journal
        if sequence > journal.last.sequence:
            return None
        try:
            encoded = await asyncio.to_thread(lambda: next(journal.read(sequence), None))
        except Forgotten:
            return None
        return peek(encoded).checksum if encoded is not None else None

    async def digest_objects(self, names: Iterable[str] = ()) -> dict[str, tuple[int, str]]:
        """Size and SHA-256 of each object, or of those named that are there."""
        return await asyncio.to_thread(digest_objects, self._node.disk, names)

    async def _look(self) -> tuple[Pages, str]:
        node = self._node
        if node.machine.state not in PROVABLE:
            raise Retired("its copy is not whole yet; wait until it is in sync")
        if node.office is not None:
            if node.office.store is None or not node.office.ready:
                raise Retired("its office is being opened")
            return await prove_master(node.office.store), ""
        applier = node.applier

        def goes_on() -> bool:
            return not self._closing and node.applier is applier and node.office is None

        pages = await finished(prove_copy, applier, goes_on)
        return pages, await finished(check_soundness, node.disk, applier, goes_on)

    def _act_on(self, proof: Proof) -> None:
        node = self._node
        node.links.announce()
        node.notify()
        if proof.is_whole:
            return
        node.log(proof.text, "")
        if proof.bad_pages and node.following is not None and not proof.in_office:
            node.following.doubt(proof.text)

    def close(self) -> None:
        """Let whatever looks stop soon."""
        self._closing = True
