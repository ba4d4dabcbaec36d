"""Trouble between whole nodes: second processes, dead links, full disks, copies cut short, late stops.

Protocol: docs/protocol.md, sections 3 and 10.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from replication.copy_target import CopyTarget
from replication.core import codec
from replication.core.messages import Follow, Hello
from replication.core.types import State
from replication.errors import ChecksumMismatch, Corrupt, DiskFull, OutcomeUnknown, ReplicationError
from replication.files import Disk
from replication.fork import list_forks
from replication.journal import Journal
from replication.redo import Applier
from tests.pair.pair import A, B, Pair


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[Pair]:
    made = Pair(tmp_path)
    yield made
    await made.close()


def full(*arguments: Any) -> None:
    """A journal without room."""
    raise DiskFull("no space left on the disk: free some, then try again")


def lose_tail(directory: Path, after: int) -> None:
    """What a power loss does to requests that were sent and not yet fsynced."""
    disk = Disk(directory)
    journal = Journal.open(disk)
    journal.cut(after)
    journal.close()
    disk.close()


async def test_a_full_disk_at_the_standby_is_said_and_passes(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is acknowledged meanwhile, the standby says why, and goes on by itself when there is room."""
    await pair.found()
    node = pair.nodes[B]
    with monkeypatch.context() as patch:
        patch.setattr(node.journal, "reserve", full)
        write = asyncio.ensure_future(pair.books[A].write("waits"))
        await pair.until(lambda: "no space left" in node.status().waiting_for)
        assert not write.done()
    await write
    await pair.settle()
    assert await pair.lines(B) == ["waits"]


async def test_without_room_for_handoff_the_master_stays(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """A swap on a full disk is aborted in time; the node neither ends nor stops taking writes."""
    await pair.found()
    ended: list[BaseException] = []
    monkeypatch.setattr(pair.nodes[A], "fatal", ended.append)
    store = pair.nodes[A].office.store  # type: ignore[union-attr]  # in office
    with monkeypatch.context() as patch:
        patch.setattr(store._writer._journal, "reserve", full)  # type: ignore[union-attr]  # in office
        with pytest.raises(Exception, match="did not confirm"):
            await pair.nodes[A].swap(B, b"", 0.5)
    await pair.until(lambda: not store.frozen)  # type: ignore[union-attr]  # in office
    await pair.books[A].write("still master")
    assert ended == []


async def test_another_process_of_the_standby_gets_no_stream(pair: Pair) -> None:
    """A clone that only dials the bulk channel is turned away: its fsync would prove nothing of the standby's disk."""
    await pair.found()
    connection = await pair.network.dialler(B)(A, "a:1", "bulk")
    node = pair.nodes[B]
    question = Follow(
        cluster=node.cluster, node=B, last=node.journal.last, applied=0, checksum=0, history=[], empty=False,
        copying=False, instance="another process",
    )  # fmt: skip
    await connection.send(codec.encode(question))
    with pytest.raises(ConnectionError):
        await connection.receive()
    await pair.books[A].write("the pair goes on")


async def test_an_incompatible_peer_is_told_so(pair: Pair) -> None:
    """A HELLO whose protocol range does not meet ours ends the link with a sentence that names the way out."""
    await pair.found()
    said: list[str] = []
    node = pair.nodes[A]
    node.links._log = lambda text, peer: said.append(text)
    await pair.stop(B)
    connection = await pair.network.dialler(B)(A, "a:1", "control")
    hello = codec.decode(await connection.receive())
    assert isinstance(hello, Hello)
    newer = msgspec.structs.replace(hello, node=B, instance="x", protocol_min=8, protocol_max=9)
    await connection.send(codec.encode(newer))
    await pair.until(lambda: any("update the older node" in text for text in said))


async def test_a_copy_that_does_not_add_up_is_compared_again(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """ChecksumMismatch at the end of a copy begins a new COMPARE instead of streaming to the same end again."""
    first = await pair.start(A)
    await first.found()
    await pair.books[A].write("one")
    finish: Callable[[Applier, int], int] = Applier.finish_copy
    failed: list[int] = []

    def finish_wrongly(applier: Applier, until: int) -> int:
        if len(failed) < 2:
            failed.append(until)
            raise ChecksumMismatch(until, 1, 2)
        return finish(applier, until)

    monkeypatch.setattr(Applier, "finish_copy", finish_wrongly)
    second = await pair.start(B)
    first.set_peers({B: "b:1"})
    decided: list[str] = []
    second.log = lambda text, peer: decided.append(text)  # type: ignore[method-assign]  # only listens
    await second.join({A: "a:1"})
    await pair.until(lambda: pair.is_standing_by(B))
    assert sum("decided compare" in text for text in decided) == 3
    assert await pair.lines(B) == ["one"]


async def test_copies_that_never_add_up_become_rare_and_say_what_to_type(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page damaged on the master's disk fails every copy: no endless hashing, no folder for each attempt."""
    first = await pair.start(A)
    await first.found()
    await pair.books[A].write("one")
    failed: list[int] = []

    def finish_wrongly(applier: Applier, until: int) -> int:
        failed.append(until)
        raise ChecksumMismatch(until, 1, 2)

    monkeypatch.setattr(Applier, "finish_copy", finish_wrongly)
    second = await pair.start(B)
    first.set_peers({B: "b:1"})
    await second.join({A: "a:1"})
    await pair.until(lambda: "understudy verify" in second.status().waiting_for)
    assert "3 in a row" in second.status().waiting_for
    assert "again in 2 s" in second.status().waiting_for
    assert len(failed) == 3
    assert len(list((pair.root / "b" / "forks").glob("damaged-*"))) == 1


async def test_a_stop_during_a_handoff_does_not_spoil_the_token(pair: Pair) -> None:
    """Stopped behind HANDOFF the old master says no CLOSED: its journal ends where the token says."""
    await pair.found()
    await pair.books[A].write("one")
    node = pair.nodes[A]
    node.machine.memory = msgspec.structs.replace(node.machine.memory, state=State.HANDING_OFF)
    last = node.journal.last
    await pair.stop(A)
    assert pair.nodes[B].journal.last == last
    await pair.start(A)
    await pair.until(lambda: pair.in_office(A) and pair.is_standing_by(B))
    assert list_forks(pair.nodes[B].disk) == []


async def test_a_tail_larger_than_a_frame_is_fetched(pair: Pair) -> None:
    """A resuming master gets a request back that travels in parts: its journal lost it, the standby holds it."""
    await pair.found()
    await pair.books[A].write("x" * 6_000_000)
    await pair.settle()
    last = pair.nodes[A].journal.last
    await pair.crash(A)
    lose_tail(pair.root / "a", last.sequence - 1)
    node = await pair.start(A)
    await pair.until(lambda: pair.in_office(A) and pair.is_standing_by(B))
    assert node.journal.position(last.sequence) == last
    assert [len(line) for line in await pair.lines(A)] == [6_000_000]


async def test_a_copy_interrupted_by_a_restart_still_keeps_what_it_replaces(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Invariant 14: the old master's applied divergence is copied over only block by kept block, in one fork."""
    await pair.found()
    await pair.crash(B)
    await pair.nodes[A].go_alone(b"")
    await pair.books[A].write("only here")
    await pair.nodes[A].office.store.checkpoint()  # type: ignore[union-attr]  # in office
    await pair.crash(A)
    node = await pair.start(B)
    await node.promote(allow_data_loss=True, stopped=True, note=b"")
    await pair.until(lambda: pair.in_office(B))
    await pair.books[B].write("new life")
    tried: list[CopyTarget] = []

    async def interrupted(copy: CopyTarget) -> int:
        tried.append(copy)
        raise ConnectionError("interrupted")

    with monkeypatch.context() as patch:
        patch.setattr(CopyTarget, "run", interrupted)
        await pair.start(A)
        await pair.until(lambda: bool(tried) and pair.nodes[A].machine.state is State.COPYING)
        await pair.crash(A)
    await pair.start(A)
    await pair.until(lambda: pair.is_standing_by(A))
    forks = list_forks(pair.nodes[A].disk)
    assert len(forks) == 1
    assert b"only here" in (pair.root / "a" / "forks" / forks[0].name / "blocks").read_bytes()
    assert await pair.lines(A) == ["new life"]


async def test_a_write_in_flight_at_a_stand_down_is_unknown_and_kept(pair: Pair) -> None:
    """An old master cut off with a write that waits: it ends as unknown, never as done or dropped, and is in a fork."""
    await pair.found()
    await pair.network.cut()
    write = asyncio.ensure_future(pair.books[A].write("in flight"))
    await pair.until(lambda: pair.nodes[A].journal.last.sequence > pair.nodes[B].journal.last.sequence)
    await pair.until(lambda: not pair.nodes[B].machine.connected(A))
    await pair.nodes[B].promote(allow_data_loss=False, stopped=False, note=b"")
    await pair.until(lambda: pair.in_office(B))
    pair.network.heal()
    with pytest.raises(OutcomeUnknown):
        await write
    await pair.until(lambda: pair.is_standing_by(A))
    await pair.settle()
    assert await pair.lines(A) == await pair.lines(B) == []
    assert pair.nodes[A].status().forks == 1


async def test_writes_in_flight_at_a_swap_are_on_both_nodes_or_refused(pair: Pair) -> None:
    """Each write that is answered as done is on the new master; each other one is told so."""
    await pair.found()
    done: list[str] = []
    refused: list[str] = []

    async def client(number: int) -> None:
        for turn in range(40):
            text = f"{number}/{turn}"
            try:
                await pair.books[A].write(text)
                done.append(text)
            except (ReplicationError, AssertionError):
                refused.append(text)
                return

    clients = asyncio.gather(*(client(number) for number in range(8)))
    await pair.until(lambda: len(done) > 20)
    await pair.nodes[A].swap(B, b"", 5.0)
    await clients
    await pair.until(lambda: pair.in_office(B) and pair.is_standing_by(A))
    await pair.settle()
    lines = await pair.lines(A)
    assert lines == await pair.lines(B)
    assert set(done) <= set(lines)
    assert set(lines) <= set(done) | set(refused)


async def test_a_node_that_cannot_read_its_database_says_where_to_take_over(pair: Pair) -> None:
    """A byte of the schema is flipped at the standby, so that not even SQLite's error is text; then the roles are
    swapped. The new master ends and names the command; at the other node it works, without loss."""
    await pair.found()
    sequence = max([await pair.books[A].write("kept") for _ in range(3)])
    await pair.until(lambda: pair.nodes[B].status().applied_sequence >= sequence)
    database = pair.root / "b" / "scheduler.db"
    data = database.read_bytes()
    at = data.index(b"CREATE TABLE lines") + len("CREATE ")
    database.write_bytes(data[:at] + b"\xc5" + data[at + 1 :])
    await pair.nodes[A].swap(B, b"", 10.0)
    await pair.until(lambda: bool(pair.ended))
    assert isinstance(pair.ended[0], Corrupt)
    assert "standby-to-master" in str(pair.ended[0])
    pair.ended.clear()
    await pair.crash(B)
    await pair.nodes[A].promote(allow_data_loss=False, stopped=False, note=b"")
    await pair.until(lambda: pair.in_office(A))
    assert await pair.lines(A) == ["kept"] * 3
