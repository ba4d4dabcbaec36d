"""What jobs ask of the agent, on its way through the session: answered once it is durable."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from server.core.agent_ledger import CheckpointAnswer, FireAnswer, Outcome
from server.core.agent_session import Session
from server.core.agent_trust import Moment


class JobCalls:
    """`handle` takes an outcome to be carried out, `now` reads both clocks. Call `answer` with what was decided."""

    def __init__(self, session: Session, handle: Callable[[Outcome], None], now: Callable[[], Moment]) -> None:
        self._session = session
        self._handle = handle
        self._now = now
        self._asked: dict[int, asyncio.Future[Any]] = {}
        self._questions = 0

    def answer(self, question: int, answer: FireAnswer | CheckpointAnswer) -> None:
        """The outcome of a question is durable: tell whoever asked, if somebody still waits."""
        asked = self._asked.pop(question, None)
        if asked is not None and not asked.done():
            asked.set_result(answer)

    async def fire(self, monitor: str, request: str, variables: dict[str, str]) -> FireAnswer:
        """Answers once the event is durable; an agent that stops meanwhile answers nothing."""
        question, asked = self._ask()
        self._handle(self._session.fire(question, monitor, request, variables, self._now()))
        found: FireAnswer = await asked
        return found

    async def checkpoint(self, run: str, data: bytes | None, request: str, suspends: bool) -> CheckpointAnswer:
        """Answers once the checkpoint is durable; nobody is answered whose run ends at it, before it has ended."""
        question, asked = self._ask()
        self._handle(self._session.checkpoint(question, run, data, request, suspends, self._now()))
        found: CheckpointAnswer = await asked
        return found

    def is_replicated(self, run: str, number: int) -> tuple[bool, bool]:
        """Whether a checkpoint is on every node, and whether a master is connected at all."""
        return self._session.checkpoints.is_replicated(run, number), self._session.admitted

    def progress(self, run: str, percent: int, text: str) -> CheckpointAnswer:
        """Say how far a run is; told with the next heartbeat, or never."""
        return self._session.checkpoints.note_progress(run, percent, text, self._now())

    def _ask(self) -> tuple[int, asyncio.Future[Any]]:
        self._questions += 1
        asked: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._asked[self._questions] = asked
        return self._questions, asked
