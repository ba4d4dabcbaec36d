"""The agent's durable memory: what is loaded equals what was committed, save by save."""

from __future__ import annotations

import copy
import sqlite3
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from replication.core.types import Epoch
from server.agent.spool import SPOOL_FILE, Spool
from server.core import agent_memory as memory
from server.core import agent_wire as wire
from tests.unit.agent_world import BOOT, START_US, A, order, specification

KEYS = st.sampled_from(["j1.rone.a1", "j1.rtwo.a1"])
NUMBERS = st.integers(1, 4)


def run(key: str, state: str) -> memory.RunRecord:
    return memory.RunRecord(key, specification(), state, 1, START_US, BOOT)


def report(number: int) -> wire.Report:
    return wire.Report(number, "j1.rone.a1", START_US, wire.Trouble("text"))


SAVES = st.one_of(
    st.builds(
        lambda t: memory.SaveDurable(memory.Durable(Epoch(2, A), t, wire.GateSet(1, ("queue_locked",)))), NUMBERS
    ),
    st.builds(lambda k, s: memory.SaveRun(run(k, s)), KEYS, st.sampled_from(["held", "intent", "ended"])),
    st.builds(lambda k: memory.DropRuns((k,)), KEYS),
    st.builds(lambda v: memory.SaveOrder(memory.KeptOrder(order(60, 60, 3, v).order, START_US + v)), NUMBERS),
    st.just(memory.DropOrder(1)),
    st.builds(lambda n, b: memory.SaveSettled(5, n, b), NUMBERS, st.booleans()),
    st.builds(lambda n: memory.PruneSettled(5, n), NUMBERS),
    st.builds(lambda n: memory.SaveReport(report(n)), NUMBERS),
    st.builds(lambda n: memory.MarkReports((n,), memory.Mark(Epoch(2, A), n, START_US)), NUMBERS),
    st.builds(lambda n: memory.DropReports((n,)), NUMBERS),
)


def normal(held: memory.Memory) -> memory.Memory:
    """Reports by id and no empty sets: what equality is about."""
    found = copy.deepcopy(held)
    found.reports = dict(sorted(found.reports.items()))
    found.marks = dict(sorted(found.marks.items()))
    found.settled = {schedule: bits for schedule, bits in found.settled.items() if bits}
    return found


@settings(max_examples=40)
@given(st.lists(st.lists(SAVES, max_size=6), max_size=5))
async def test_loading_gives_what_the_saves_mean(tmp_path_factory: pytest.TempPathFactory, batches: list) -> None:
    """JS7-3: the tables and the values agree, over closing and opening."""
    data = tmp_path_factory.mktemp("spool")
    expected = memory.Memory()
    spool = await Spool.open(data)
    for batch in batches:
        await spool.commit(batch)
        for save in batch:
            expected.apply(save)
    await spool.close()
    spool = await Spool.open(data)
    assert normal(await spool.load()) == normal(expected)
    await spool.close()


async def test_a_batch_that_fails_leaves_nothing_of_itself(tmp_path: Path) -> None:
    """All or nothing: a report without the run that it belongs to would be a lie."""
    spool = await Spool.open(tmp_path)
    await spool.commit([memory.SaveRun(run("j1.rone.a1", "intent"))])
    await spool._connection.execute(
        "CREATE TRIGGER full BEFORE INSERT ON reports BEGIN SELECT RAISE(FAIL, 'full'); END"
    )
    with pytest.raises(sqlite3.Error, match="full"):
        await spool.commit([memory.SaveRun(run("j1.rone.a1", "ended")), memory.SaveReport(report(1))])
    held = await spool.load()
    assert held.runs["j1.rone.a1"].state == "intent"
    await spool.close()


async def test_the_spool_is_synced_at_every_commit(tmp_path: Path) -> None:
    """synchronous=FULL with a write-ahead log: the setting that makes a commit survive a power loss."""
    spool = await Spool.open(tmp_path)
    async for (level,) in await spool._connection.execute("PRAGMA synchronous"):
        assert level == 2
    async for (mode,) in await spool._connection.execute("PRAGMA journal_mode"):
        assert mode == "wal"
    await spool.close()
    assert (tmp_path / SPOOL_FILE).exists()
