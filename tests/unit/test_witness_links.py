"""Asking the witness agents from a node: how many have to answer, of which sets, and what a new one is told first."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

import aiohttp
import pytest

from replication.core.decide import judge_promotion
from replication.core.events import Facts
from replication.core.memory import Memory
from replication.core.types import NO_EPOCH, ORIGIN, Epoch
from replication.core.witness import Claim, Seats, WitnessRecord, decide_alone, decide_claim
from server.core import agent_wire as wire
from server.ports import witness_links
from server.ports.agent_links import Links
from server.ports.witness_links import WitnessLinks
from tests.unit.test_agent_links import NODE, Node, node

EPOCH = Epoch(5, NODE)
OTHER = "b" * 32


def links(sets: Sequence[Seats]) -> WitnessLinks:
    """A node with these witnesses enrolled and none connected; its clock stands still."""

    async def read() -> Sequence[Seats]:
        return sets

    return WitnessLinks(Links(NODE, lambda: 0, lambda: 0.0), read, lambda: 0, lambda: 0.0)


def seats(names: str, lost: int = 0) -> Seats:
    """A set of witnesses with one letter each."""
    return Seats(frozenset(names), lost)


class Agents:
    """Agents that answer as the shipped rule says, from records in memory; `silent` ones say nothing."""

    def __init__(self, names: str) -> None:
        self.records = {name: WitnessRecord() for name in names}
        self.silent: set[str] = set()

    async def serve(self, name: str, socket: aiohttp.ClientWebSocketResponse) -> None:
        """Answer until the link ends."""
        async for frame in socket:
            question = wire.decode_from_node(frame.data)
            if isinstance(question, wire.AskGrant | wire.AskAlone) and name not in self.silent:
                await socket.send_bytes(wire.encode(self._answer(name, question)))

    def _answer(self, name: str, question: wire.AskGrant | wire.AskAlone) -> wire.WitnessSays:
        before = self.records[name]
        if isinstance(question, wire.AskGrant):
            claim = Claim(question.epoch, question.seen, question.last_sequence, question.forced)
            self.records[name], verdict = decide_claim(before, claim)
            granted = verdict.granted
        else:
            self.records[name], granted = decide_alone(before, question.epoch, question.alone, question.counter)
        return wire.WitnessSays(
            question.question, granted, before.epoch, before.alone, before.alone_epoch, before.counter
        )


@contextlib.asynccontextmanager
async def agents(names: str) -> AsyncIterator[tuple[Node, Agents]]:
    """A node with these agents connected and answering."""
    async with node() as here:
        them = Agents(names)
        tasks = [asyncio.create_task(them.serve(name, await here.agent(name))) for name in names]
        try:
            while len(here.links.connected()) < len(names):
                await asyncio.sleep(0.005)
            yield here, them
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def test_without_witnesses_the_operators_word_is_enough() -> None:
    """None enrolled: writing alone is recorded nowhere, and go-alone must not wait for ever."""
    assert await links([]).record_alone(EPOCH, NODE, 1)
    verdict = await links([]).grant(Claim(EPOCH, EPOCH, 0))
    assert (verdict.asked, verdict.has_majority) == (0, False)


async def test_a_silent_witness_is_not_a_missing_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """One is enrolled and does not answer: nothing is recorded, nothing granted."""
    monkeypatch.setattr(witness_links, "WITNESS_S", 0.01)
    assert not await links([seats("w")]).record_alone(EPOCH, NODE, 1)
    verdict = await links([seats("w")]).grant(Claim(EPOCH, EPOCH, 0))
    assert (verdict.asked, verdict.answered, verdict.has_majority) == (1, 0, False)


async def test_two_of_three_witnesses_are_a_majority_and_one_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Silent witnesses count as asked; who was alone is read from the newest record, of one that answers."""
    monkeypatch.setattr(witness_links, "WITNESS_S", 0.3)
    async with agents("xy") as (here, them):
        here.sets = [seats("xyz")]
        them.records["y"] = WitnessRecord(Epoch(5, OTHER), OTHER, Epoch(5, OTHER), 7)
        claim = Claim(Epoch(6, NODE), Epoch(5, OTHER), 1)
        verdict = await here.asked.grant(claim)
        assert (verdict.asked, verdict.answered, verdict.granted, verdict.has_majority) == (3, 2, 2, True)
        assert (verdict.alone, verdict.highest) == (OTHER, Epoch(5, OTHER))
        them.silent = {"y"}
        verdict = await here.asked.grant(claim)
        assert (verdict.answered, verdict.has_majority) == (1, False)
        assert verdict.unknown_since_s is not None


async def test_alone_is_recorded_only_by_a_majority(monkeypatch: pytest.MonkeyPatch) -> None:
    """One of three is not enough; two that have it are; two that refuse it are not."""
    monkeypatch.setattr(witness_links, "WITNESS_S", 0.3)
    async with agents("xy") as (here, them):
        here.sets = [seats("xyz")]
        them.silent = {"y"}
        assert not await here.asked.record_alone(Epoch(3, NODE), NODE, 1)
        them.silent = set()
        assert await here.asked.record_alone(Epoch(3, NODE), NODE, 2)
        assert not await here.asked.record_alone(Epoch(2, NODE), NODE, 3)


async def test_while_a_change_is_pending_each_set_needs_its_own_majority(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three of four answers are not enough when the former witness is the one that is silent."""
    monkeypatch.setattr(witness_links, "WITNESS_S", 0.3)
    async with agents("axyz") as (here, them):
        here.sets = [seats("xyz"), seats("a")]
        claim = Claim(Epoch(6, NODE), EPOCH, 1)
        assert (await here.asked.grant(claim)).has_majority
        assert await here.asked.record_alone(Epoch(6, NODE), NODE, 1)
        them.silent = {"a"}
        verdict = await here.asked.grant(claim)
        assert (verdict.asked, verdict.granted, verdict.has_majority) == (4, 3, False)
        said = judge_promotion(Memory(enlisted=True), Facts(ORIGIN), NODE, verdict, False, False).text
        assert "Only 3 of 4 witnesses answered, and while they are being changed" in said
        assert not await here.asked.record_alone(Epoch(6, NODE), NODE, 2)
        them.silent = {"x", "y"}
        assert not (await here.asked.grant(claim)).has_majority


async def test_an_empty_seat_counts_and_never_answers() -> None:
    """A replaced witness leaves two of three: both have to agree. With two gone nobody can."""
    async with agents("xyz") as (here, _):
        claim = Claim(Epoch(6, NODE), EPOCH, 1)
        here.sets = [seats("xy", lost=1)]
        verdict = await here.asked.grant(claim)
        assert (verdict.asked, verdict.has_majority) == (3, True)
        here.sets = [seats("x", lost=2)]
        assert not (await here.asked.grant(claim)).has_majority
        assert not await here.asked.record_alone(Epoch(6, NODE), NODE, 1)


async def test_an_answer_counts_for_the_sets_of_its_time_only() -> None:
    """The rows change while the witnesses are asked: everybody is asked again, by the new rows."""
    async with agents("ax") as (here, them):
        reads = [[seats("a")], [seats("x"), seats("a")]]

        async def changing() -> list[Seats]:
            return reads.pop(0) if len(reads) > 1 else reads[0]

        asked = WitnessLinks(here.links, changing, lambda: 5, lambda: asyncio.get_running_loop().time())
        assert await asked.record_alone(EPOCH, NODE, 1)
        assert them.records["x"] == them.records["a"] == WitnessRecord(EPOCH, NODE, EPOCH, 1)


async def test_a_new_witness_holds_this_office_before_it_counts() -> None:
    """It learns epoch and "nobody"; what the role machine says next in that epoch is newer for it."""
    async with agents("ax") as (here, them):
        them.records["a"] = WitnessRecord(EPOCH, "", EPOCH, 4)
        assert await here.asked.hold_nobody_alone([seats("x"), seats("a")], EPOCH)
        assert them.records == {"x": WitnessRecord(EPOCH, "", EPOCH, 0), "a": WitnessRecord(EPOCH, "", EPOCH, 4)}
        here.sets = [seats("x")]
        assert await here.asked.record_alone(EPOCH, NODE, 5)


@pytest.mark.parametrize(
    "known",
    [
        WitnessRecord(EPOCH, NODE, EPOCH, 4),
        WitnessRecord(Epoch(6, OTHER), "", EPOCH, 4),
        WitnessRecord(Epoch(6, OTHER), "", NO_EPOCH, 0),
    ],
    ids=["the clear is on its way", "a later office was granted", "granted, never told"],
)
async def test_what_a_former_witness_knows_keeps_it(known: WitnessRecord) -> None:
    """As long as it holds a master as alone, or has granted a later epoch, the former set is not dropped."""
    async with agents("ax") as (here, them):
        them.records["a"] = known
        assert not await here.asked.hold_nobody_alone([seats("x"), seats("a")], EPOCH)
        assert them.records["a"] == known
        them.records["a"] = replace(known, epoch=EPOCH, alone="", alone_epoch=EPOCH)
        assert await here.asked.hold_nobody_alone([seats("x"), seats("a")], EPOCH)


async def test_a_look_changes_no_record() -> None:
    """What was heard is the record as it is, also of a witness that has none yet; a silent one is not waited for."""
    async with agents("xy") as (here, them):
        them.records["x"] = WitnessRecord(EPOCH, OTHER, EPOCH, 4)
        before = dict(them.records)
        await here.asked.look(["x", "y", "gone"])
        assert them.records == before
        heard = {name: here.asked.heard(name) for name in ("x", "y", "gone")}
        assert {name: found.record for name, found in heard.items() if found} == before
        assert here.asked.silent_since_us("gone") is None
        assert await here.asked.hold_nobody_alone([seats("y")], EPOCH)
        again = here.asked.heard("y")
        assert again is not None
        assert again.record == them.records["y"]
