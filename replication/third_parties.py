"""Whom a node asks besides its peer: witnesses and the fence hook. Each answer becomes an event of the role machine.

Protocol: docs/protocol.md, sections 5.3 and 6.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from replication.core import effects, events
from replication.core.events import Event
from replication.core.types import NodeId
from replication.core.witness import WitnessVerdict
from replication.errors import ReplicationError
from replication.ports import Fence, Witnesses


class ThirdParties:
    """`address` is where the roster says that a node listens; `post` takes events, `log` a sentence for people;
    `unfollowed` returns once nothing is followed any more and no thread applies."""

    def __init__(
        self,
        witnesses: Witnesses,
        fence: Fence | None,
        address: Callable[[NodeId], str],
        unfollowed: Callable[[], Awaitable[None]],
        post: Callable[[Event], None],
        log: Callable[[str, NodeId], None],
    ) -> None:
        self._witnesses = witnesses
        self._fence = fence
        self._address = address
        self._unfollowed = unfollowed
        self._post = post
        self._log = log

    async def ask(self, effect: effects.AskWitnesses | effects.RecordAlone | effects.Fence) -> None:
        """Carry out one question; its answer, or the silence, is posted."""
        match effect:
            case effects.AskWitnesses():
                self._post(await self._ask_witnesses(effect))
            case effects.RecordAlone():
                self._post(await self._record_alone(effect))
            case effects.Fence():
                self._post(await self._run_fence(effect))

    async def _ask_witnesses(self, effect: effects.AskWitnesses) -> Event:
        """A standby asks the witnesses that its copy names: the copy stands still from before the question on, so that
        nobody takes its word for a change of witnesses that the question did not heed."""
        await self._unfollowed()
        try:
            verdict = await self._witnesses.grant(effect.claim)
        except ReplicationError as error:
            self._log(f"Cannot tell who the witnesses are: {error}", "")
            verdict = WitnessVerdict(asked=1, answered=0, granted=0)
        return events.WitnessesAnswered(effect.claim, verdict)

    async def _record_alone(self, effect: effects.RecordAlone) -> Event:
        try:
            done = await self._witnesses.record_alone(effect.epoch, effect.alone, effect.counter)
        except ReplicationError as error:
            self._log(f"Cannot tell who the witnesses are: {error}", "")
            done = False
        return events.AloneRecorded(effect.epoch, effect.alone, effect.counter, done)

    async def _run_fence(self, effect: effects.Fence) -> Event:
        assert self._fence is not None, "the machine was told of a hook"
        held, text = await self._fence.fence(effect.old, self._address(effect.old), effect.epoch)
        self._log(f"The fence command {'succeeded' if held else 'failed'}: {text}", effect.old)
        return events.FenceEnded(effect.request, held, text)
