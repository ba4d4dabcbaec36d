"""Asking the witness agents from a node: how many have to answer, and what none of them means."""

from __future__ import annotations

import pytest

from replication.core.types import Epoch
from replication.core.witness import Claim
from server import agent_links
from server.agent_links import Links

NODE = "a" * 32
EPOCH = Epoch(5, NODE)


def links(witnesses: list[str]) -> Links:
    """A node's links with these witnesses enrolled and none connected; its clock stands still."""

    async def witness_ids() -> list[str]:
        return witnesses

    return Links(NODE, lambda: 0, lambda: 0.0, witness_ids)


async def test_without_witnesses_the_operators_word_is_enough() -> None:
    """None enrolled: writing alone is recorded nowhere, and go-alone must not wait for ever."""
    assert await links([]).record_alone(EPOCH, NODE, 1)
    verdict = await links([]).grant(Claim(EPOCH, EPOCH, 0))
    assert (verdict.asked, verdict.has_majority) == (0, False)


async def test_a_silent_witness_is_not_a_missing_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """One is enrolled and does not answer: nothing is recorded, nothing granted."""
    monkeypatch.setattr(agent_links, "WITNESS_S", 0.01)
    assert not await links(["w"]).record_alone(EPOCH, NODE, 1)
    verdict = await links(["w"]).grant(Claim(EPOCH, EPOCH, 0))
    assert (verdict.asked, verdict.answered, verdict.has_majority) == (1, 0, False)
