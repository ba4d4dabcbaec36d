"""The agent's durable memory: what is loaded equals what was committed, save by save."""

from __future__ import annotations

import asyncio
import copy
import json
import sqlite3
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from replication.core.types import Epoch
from server.agent import program
from server.agent.spool import SPOOL_FILE, Spool, SpoolDamagedError, SpoolUnusableError
from server.agent.witness import Witness, WitnessDamagedError
from server.config import ConfigError
from server.core import agent_memory as memory
from server.core import agent_wire as wire
from server.core.chain_messages import Chain, ChainStep, KeptChain
from tests.unit.agent_world import BOOT, START_US, A, order, specification

KEYS = st.sampled_from(["j1.rone.a1", "j1.rtwo.a1"])
MIB = 1 << 20
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
    st.builds(
        lambda n, t: memory.SaveChain(KeptChain(Chain(n, t, (ChainStep("a", "k"),)), {"a": "failed"})), NUMBERS, NUMBERS
    ),
    st.builds(lambda n: memory.DropChain(n), NUMBERS),
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
    trigger = "CREATE TRIGGER full BEFORE INSERT ON reports BEGIN SELECT RAISE(FAIL, 'full'); END"
    await spool._connection.execute(trigger)
    with pytest.raises(sqlite3.Error, match="full"):
        await spool.commit([memory.SaveRun(run("j1.rone.a1", "ended")), memory.SaveReport(report(1))])
    held = await spool.load()
    assert held.runs["j1.rone.a1"].state == "intent"
    await spool.close()


async def test_the_spool_is_synced_at_every_commit(tmp_path: Path) -> None:
    """synchronous=FULL with a write-ahead log: the setting that makes a commit survive a power loss."""
    spool = await Spool.open(tmp_path)
    assert list(await spool._connection.execute_fetchall("PRAGMA synchronous")) == [(2,)]
    assert list(await spool._connection.execute_fetchall("PRAGMA journal_mode")) == [("wal",)]
    await spool.close()
    assert (tmp_path / SPOOL_FILE).exists()


async def test_a_commit_that_is_cancelled_is_done_and_does_not_stand_in_the_way(tmp_path: Path) -> None:
    """A clean stop cancels whoever commits, and then commits what is left: BEGIN came twice, and that was lost."""
    spool = await Spool.open(tmp_path)
    for turn in range(20):
        numbers = range(turn * 1000 + 1, turn * 1000 + 300)
        task = asyncio.create_task(spool.commit([memory.SaveReport(report(number)) for number in numbers]))
        await asyncio.sleep(0.0005 * turn)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await spool.commit([memory.SaveReport(report(turn * 1000 + 999))])
    held = await spool.load()
    assert {turn * 1000 + 999 for turn in range(20)} <= set(held.reports)
    counts = Counter(number // 1000 for number in held.reports)
    assert set(counts.values()) <= {1, 300}, "a batch is there whole or not at all"
    await spool.close()


async def test_the_file_shrinks_after_acknowledgement(tmp_path: Path) -> None:
    """Pages go back to the disk a few thousand at a time; 1 MiB stays for what comes next."""
    spool = await Spool.open(tmp_path)
    text = wire.Trouble("x" * 1000)
    await spool.commit([memory.SaveReport(wire.Report(n, "j1.rone.a1", START_US, text)) for n in range(1, 8001)])
    full = held_bytes(tmp_path)
    for begin in range(1, 8001, 500):
        await spool.commit([memory.DropReports(tuple(range(begin, begin + 500)))])
    await spool.close()
    assert full > 8 * MIB
    assert held_bytes(tmp_path) < 2 * MIB


def held_bytes(data: Path) -> int:
    return sum(path.stat().st_size for path in data.iterdir())


async def test_a_flipped_byte_is_named_or_harmless(tmp_path: Path) -> None:
    """At any place: the agent loads something, or says that its spool is damaged; nothing else is raised."""
    (tmp_path / "whole").mkdir()
    spool = await Spool.open(tmp_path / "whole")
    await spool.commit([memory.SaveRun(run(f"j1.r{number}.a1", "ended")) for number in range(60)])
    await spool.commit([memory.SaveReport(report(number)) for number in range(1, 60)])
    await spool.close()
    whole = (tmp_path / "whole" / SPOOL_FILE).read_bytes()
    damaged = 0
    for place in [*range(0, 100, 3), *range(100, len(whole), 997), len(whole) - 1]:
        data = tmp_path / str(place)
        data.mkdir()
        (data / SPOOL_FILE).write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        try:
            spool = await Spool.open(data)
        except (SpoolDamagedError, SpoolUnusableError):
            damaged += 1
            continue
        try:
            await spool.load()
        except SpoolDamagedError:
            damaged += 1
        await spool.close()
    assert damaged > 5


@pytest.mark.parametrize("name", ["spool.db", "witness.json"])
def test_an_agent_with_a_damaged_file_says_what_to_type(tmp_path: Path, name: str) -> None:
    """No traceback: the file, what is wrong, and the commands that make a new agent of it."""
    (tmp_path / "identity.json").write_text(
        json.dumps({"kind": "agent", "cluster": "c" * 32, "id": "b" * 32, "name": "alpha", "peers": {}})
    )
    (tmp_path / name).write_bytes(b"not what was written, and long enough to be a page" * 100)
    with pytest.raises(ConfigError) as caught:
        program.run(tmp_path, None)
    for said in (name, "is damaged", "understudy agent replace alpha", "--join TOKEN"):
        assert said in str(caught.value)


def test_a_flipped_digit_of_the_witness_is_noticed(tmp_path: Path) -> None:
    """An epoch that reads as another number would be granted twice: the record carries its sum."""
    witness = Witness(tmp_path)
    witness.answer(wire.AskGrant(1, Epoch(7, A), Epoch(1, A), 10), 1.0)
    assert Witness(tmp_path).record.epoch == Epoch(7, A)
    path = tmp_path / "witness.json"
    path.write_text(path.read_text().replace("[7,", "[6,").replace('"number":7', '"number":6'))
    with pytest.raises(WitnessDamagedError):
        Witness(tmp_path)
