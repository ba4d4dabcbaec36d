"""The store: what is answered is durable and committed, what fails changes nothing, and closing writes no page."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from pathlib import Path

import pytest

from replication import store as store_module
from replication.core.request import Kind, decode
from replication.errors import Closed, DiskFull, MustEnd, OutcomeUnknown, ReadTimeout, ReplicationError, Unavailable
from replication.gate import STALL_S
from replication.page_sums import PageSums
from replication.store import Transaction
from replication.writer import Group
from tests.unit.engine import Engine, create_table, insert, opened


def count_items(connection: sqlite3.Connection) -> int:
    """A query: the number of rows."""
    return int(connection.execute("SELECT count(*) FROM item").fetchone()[0])


async def journaled(engine: Engine, sequence: int) -> None:
    """Return once a request is journaled and fsynced here."""
    while engine.applier.journal.synced < sequence:
        await asyncio.sleep(0.001)


async def test_a_write_is_answered_when_fsynced_and_committed(tmp_path: Path) -> None:
    """The answer carries the change's value and a sequence that is durable and committed."""
    async with opened(tmp_path) as engine:
        await engine.store.write(create_table)
        value, sequence = await engine.store.write(insert("a"))
        assert (value, sequence) == (1, 2)
        assert engine.applier.journal.synced >= sequence
        assert engine.store.gate.sequence >= sequence
        assert await engine.store.read(count_items) == (1, 2)


async def test_nothing_is_answered_before_the_gate_opens(tmp_path: Path) -> None:
    """Durable here is not committed: without the standby's word the answer waits, no-op writes included."""
    async with opened(tmp_path, alone=False) as engine:
        first = asyncio.create_task(engine.store.write(create_table))
        await journaled(engine, 1)
        nothing = asyncio.create_task(engine.store.write(lambda t: "seen"))
        failing = asyncio.create_task(engine.store.write(lambda t: 1 / 0))
        await asyncio.sleep(0.05)
        assert not any(task.done() for task in (first, nothing, failing))
        value, _, confirmed = await engine.store.read_unconfirmed(count_items, wait_s=0)
        assert (value, confirmed) == (0, False)
        engine.store.gate.advance(1)
        assert (await first)[1] == 1
        assert await nothing == ("seen", 1)
        with pytest.raises(ZeroDivisionError):
            await failing


async def test_an_ungated_write_needs_no_standby(tmp_path: Path) -> None:
    """Sign-in works while the standby is silent: it is answered when durable here."""
    async with opened(tmp_path, alone=False) as engine:
        _, sequence = await engine.store.write_ungated(create_table)
        assert engine.applier.journal.synced >= sequence > engine.store.gate.sequence


async def test_a_failing_change_is_undone_alone(tmp_path: Path) -> None:
    """In one group the rows of a change that raises vanish and those of its neighbours stay."""

    def bad(transaction: Transaction) -> None:
        transaction.connection.execute("INSERT INTO item (value) VALUES ('bad')")
        transaction.write_object("bad", 0, b"bad")
        raise KeyError("no")

    async with opened(tmp_path) as engine:
        await engine.store.write(create_table)
        results = await asyncio.gather(
            *(engine.store.write(change) for change in (insert("a"), bad, insert("b"))),
            return_exceptions=True,
        )
        assert isinstance(results[1], KeyError)
        assert (await engine.store.read(count_items))[0] == 2
        assert not engine.store.object_path("bad").exists()


async def test_a_group_that_changes_nothing_appends_nothing(tmp_path: Path) -> None:
    """Only requests move the sequence; a look inside a change and a failure are none."""
    async with opened(tmp_path) as engine:
        await engine.store.write(create_table)
        before = engine.store.last
        assert (await engine.store.write(lambda t: t.connection.execute("SELECT 7").fetchone()[0]))[0] == 7
        with pytest.raises(sqlite3.IntegrityError):
            await engine.store.write(lambda t: t.connection.execute("INSERT INTO item (id) VALUES ('x')"))
        assert engine.store.last == before


async def test_a_change_of_schema_alone_is_a_request(tmp_path: Path) -> None:
    """DDL moves no row count but must reach the standby."""
    async with opened(tmp_path) as engine:
        await engine.store.write(create_table)
        before = engine.store.last.sequence
        await engine.store.write(lambda t: t.execute_script("DROP TABLE item; CREATE TABLE other (a TEXT);"))
        assert engine.store.last.sequence == before + 1


async def test_concurrent_writes_share_requests(tmp_path: Path) -> None:
    """Group commit: a hundred writers need far fewer requests than writes, and each row is there once."""
    async with opened(tmp_path) as engine:
        await engine.store.write(create_table)
        results = await asyncio.gather(*(engine.store.write(insert(str(n))) for n in range(100)))
        assert {value for value, _ in results} == set(range(1, 101))
        assert len(engine.requests) < 20
        assert [sequence for sequence, _ in engine.requests] == list(range(1, len(engine.requests) + 1))


async def test_writes_are_refused_while_the_commit_stands_still(tmp_path: Path) -> None:
    """Invariant 18: after a second without progress new writes get 503 before SQLite is touched."""
    async with opened(tmp_path, alone=False) as engine:
        waiting = asyncio.create_task(engine.store.write(create_table))
        await journaled(engine, 1)
        engine.store.gate._moved_at -= STALL_S + 1
        with pytest.raises(Unavailable):
            await engine.store.write(create_table)
        await engine.store.write_ungated(lambda t: None)
        assert engine.store.last.sequence == 1
        engine.store.gate.advance(1)
        await waiting


async def test_a_write_that_is_not_committed_in_time_is_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Never "done", never "failed": the answer names the key to look again with."""
    monkeypatch.setattr(store_module, "OUTCOME_S", 0.05)
    async with opened(tmp_path, alone=False) as engine:
        with pytest.raises(OutcomeUnknown, match="key k-1") as caught:
            await engine.store.write(create_table, key="k-1")
        assert caught.value.sequence == 1


async def test_objects_appear_when_committed_and_their_commit_is_recorded(tmp_path: Path) -> None:
    """No byte of an object is in its file above the commit, or before the journal knows that commit."""
    async with opened(tmp_path, alone=False) as engine:
        task = asyncio.create_task(engine.store.write(lambda t: t.write_object("out", 0, b"hello")))
        await journaled(engine, 1)
        path = engine.store.object_path("out")
        assert not path.exists()
        engine.store.gate.advance(1)
        await task
        assert path.read_bytes() == b"hello"
        assert engine.applier.journal.synced_commit == 1
        for change in (lambda t: t.write_object("out", 5, b" you"), lambda t: t.remove_object("gone")):
            task = asyncio.create_task(engine.store.write(change))
            await journaled(engine, engine.store.gate.sequence + 1)
            engine.store.gate.advance(engine.store.gate.sequence + 1)
            await task
        assert path.read_bytes() == b"hello you"


@pytest.mark.parametrize("name", ["../evil", "/etc/passwd", "a/b", "", ".hidden", "x" * 200])
async def test_object_names_stay_in_their_directory(tmp_path: Path, name: str) -> None:
    """A name that is no plain object name is refused, its change undone."""
    async with opened(tmp_path) as engine:
        with pytest.raises(ReplicationError, match="neither"):
            await engine.store.write(lambda t: t.write_object(name, 0, b"x"))
        with pytest.raises(ReplicationError):
            engine.store.object_path(name)
        assert engine.store.last.sequence == 0


async def test_nothing_follows_handoff_until_thawed(tmp_path: Path) -> None:
    """Invariant 13: HANDOFF is the last request; ungated writes are refused too; ABORT and thaw undo it."""
    async with opened(tmp_path) as engine:
        pending = [asyncio.create_task(engine.store.write(create_table))]
        await asyncio.sleep(0)
        position = await engine.store.append_control_request(Kind.HANDOFF, b"to")
        assert engine.store.last == position
        await asyncio.gather(*pending)
        for write in (engine.store.write, engine.store.write_ungated):
            with pytest.raises(Unavailable, match="hands over"):
                await write(lambda t: t.connection.execute("CREATE TABLE late (a)"))
        await engine.store.append_control_request(Kind.ABORT, b"")
        engine.store.thaw()
        assert (await engine.store.write(insert("a")))[1] == position.sequence + 2
        kinds = [decode(encoded).kind for _, encoded in engine.requests]
        assert kinds == [Kind.DATABASE, Kind.HANDOFF, Kind.ABORT, Kind.DATABASE]


async def test_a_checkpoint_waits_for_the_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Invariant 3: while a request is uncommitted no page reaches the database file."""
    monkeypatch.setattr("replication.store_threads.CHECKPOINT_WAIT_S", 0.02)
    async with opened(tmp_path, alone=False) as engine:
        task = asyncio.create_task(engine.store.write(create_table))
        await journaled(engine, 1)
        before = (tmp_path / "scheduler.db").read_bytes()
        assert not await engine.store.checkpoint()
        assert (tmp_path / "scheduler.db").read_bytes() == before
        engine.store.gate.advance(1)
        await task
        assert await engine.store.checkpoint()
        scanned = PageSums()
        scanned.scan(engine.disk.keep("scheduler.db"))
        assert scanned.sum == engine.store.checksum == decode(engine.requests[-1][1]).checksum
        assert engine.applier.control.value.checkpoint == engine.store.last


async def test_the_log_is_checkpointed_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Past its limit SQLite's log is moved without being asked, and segments that nothing needs go."""
    monkeypatch.setattr("replication.store_threads.CHECKPOINT_WAL_BYTES", 100_000)
    monkeypatch.setattr("replication.writer.KEEP_BYTES", 0)
    async with opened(tmp_path) as engine:
        await engine.store.write(create_table)
        await engine.store.checkpoint()
        for _ in range(200):
            await engine.store.write(insert("x" * 2000))
        assert engine.applier.control.value.checkpoint.sequence > 100
        assert (tmp_path / "scheduler.db-wal").stat().st_size < 1_000_000
        assert engine.applier.journal.first_sequence > 1


async def test_closing_moves_no_page_above_the_commit(tmp_path: Path) -> None:
    """SQLite would checkpoint when its last connection closes: the guard keeps the file as it was."""
    async with opened(tmp_path, alone=False) as engine:
        task = asyncio.create_task(engine.store.write(create_table))
        await journaled(engine, 1)
        before = (tmp_path / "scheduler.db").read_bytes()
        await engine.store.close()
        assert (tmp_path / "scheduler.db").read_bytes() == before
        assert (tmp_path / "scheduler.db-wal").stat().st_size > 0
        with pytest.raises(OutcomeUnknown):
            await task
        for call in (engine.store.write(create_table), engine.store.read(count_items), engine.store.committed(9)):
            with pytest.raises(Closed):
                await call


async def test_without_the_guard_the_file_would_change(tmp_path: Path) -> None:
    """The test above can fail: a writer that closes last does write pages above the commit."""
    async with opened(tmp_path, alone=False) as engine:
        await engine.store.write_ungated(create_table)
        before = (tmp_path / "scheduler.db").read_bytes()
        writer = engine.store._writer
        guard, writer._guard = writer._guard, sqlite3.connect(":memory:", check_same_thread=False)
        guard.close()
        await engine.store.close()
        assert (tmp_path / "scheduler.db").read_bytes() != before


async def test_a_cursor_that_outlives_its_group_is_noticed(tmp_path: Path) -> None:
    """A held cursor would keep SQLite's old log alive under a new opening: the process has to end instead."""
    async with opened(tmp_path) as engine:
        await engine.store.write(create_table)
        await engine.store.write(insert("a"))
        held, _ = await engine.store.write(lambda t: t.connection.execute("SELECT * FROM item UNION SELECT 1, 'b'"))
        await engine.store.close()
        assert [str(error) for error in engine.fatal] != []
        assert "cursor" in str(engine.fatal[0])
        del held


async def test_a_held_cursor_only_delays_a_checkpoint(tmp_path: Path) -> None:
    """A change that returns an unfinished cursor keeps SQLite's log in use: later, and nothing worse."""
    async with opened(tmp_path) as engine:
        await engine.store.write(create_table)
        await asyncio.gather(*(engine.store.write(insert(str(number))) for number in range(5)))
        held, _ = await engine.store.write(lambda t: t.connection.execute("SELECT * FROM item"))
        held.fetchone()
        assert not await engine.store.checkpoint()
        del held
        assert await engine.store.checkpoint()
        assert engine.fatal == []


@pytest.mark.parametrize("failing", ["journal", "database"])
async def test_a_failed_fsync_ends_the_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str) -> None:
    """Nothing is answered after it: what the disk holds is unknown until the next start has redone."""
    real = os.fdatasync
    async with opened(tmp_path) as engine:
        await engine.store.write(create_table)
        broken = {file.descriptor for file in (engine.disk.keep("scheduler.db"),)}
        if failing == "journal":
            broken = {segment.file.descriptor for segment in engine.applier.journal._segments if segment.file}

        def fail(descriptor: int) -> None:
            if descriptor in broken:
                raise OSError(5, "Input/output error")
            real(descriptor)

        with monkeypatch.context() as patch:
            patch.setattr(os, "fdatasync", fail)
            act = engine.store.write(insert("lost")) if failing == "journal" else engine.store.checkpoint()
            waiting = asyncio.ensure_future(act)
            while not engine.fatal:
                await asyncio.sleep(0.001)
        assert isinstance(engine.fatal[0], MustEnd)
        assert not waiting.done()
        waiting.cancel()


async def test_a_full_disk_refuses_writes_and_recovers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No room for requests: each write says so with nothing changed, and goes on when there is room again."""
    async with opened(tmp_path) as engine:
        await engine.store.write(create_table)
        with monkeypatch.context() as patch:
            patch.setattr(type(engine.disk), "free_bytes", lambda disk: 0)
            for _ in range(3):
                with pytest.raises(DiskFull, match="free some"):
                    await engine.store.write(insert("a"))
        assert (await engine.store.write(insert("b")))[0] == 1
        assert engine.fatal == []


async def test_a_slow_query_is_interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader has a deadline, so that nobody holds back the checkpoint for ever; the reader works on after it."""
    monkeypatch.setattr(store_module, "READ_S", 0.02)
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n"
    async with opened(tmp_path) as engine:
        await engine.store.write(create_table)
        with pytest.raises(ReadTimeout):
            await engine.store.read(lambda c: c.execute(endless).fetchone())
        assert (await engine.store.read(lambda c: c.execute("SELECT 3").fetchone()[0]))[0] == 3


async def test_a_reader_cannot_write(tmp_path: Path) -> None:
    """One thread writes; a query that tries is refused by SQLite."""
    async with opened(tmp_path) as engine:
        await engine.store.write(create_table)
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            await engine.store.read(lambda c: c.execute("DELETE FROM item").rowcount)


async def test_a_reader_that_holds_back_the_log_is_sent_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Past the hard limit running queries are interrupted and the log is truncated; new ones run afterwards."""
    monkeypatch.setattr("replication.store_threads.TRUNCATE_WAL_BYTES", 50_000)
    monkeypatch.setattr("replication.store_threads.HURRY_S", 0.02)
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n"
    async with opened(tmp_path) as engine:
        await engine.store.write(create_table)
        slow = asyncio.create_task(engine.store.read(lambda c: (count_items(c), c.execute(endless).fetchone())))
        while not engine.store._readers._running:
            await asyncio.sleep(0.001)
        for _ in range(20):
            await engine.store.write(insert("x" * 4000))
        assert await engine.store.checkpoint()
        with pytest.raises(ReadTimeout):
            await slow
        assert (tmp_path / "scheduler.db-wal").stat().st_size == 0
        assert (await engine.store.read(count_items))[0] == 20


async def test_a_change_that_ends_the_transaction_ends_the_process(tmp_path: Path) -> None:
    """executescript commits behind the writer's back: what it wrote would reach no standby."""
    async with opened(tmp_path) as engine:
        await engine.store.write(create_table)
        waiting = asyncio.create_task(engine.store.write(lambda t: t.connection.executescript("SELECT 1;") and None))
        while not engine.fatal:
            await asyncio.sleep(0.001)
        assert "execute_script" in str(engine.fatal[0])
        waiting.cancel()


async def test_another_process_that_restarts_the_log_is_noticed(tmp_path: Path) -> None:
    """Capture asserts that the log's salts change only after our own checkpoint."""
    async with opened(tmp_path) as engine:
        await engine.store.write(create_table)
        await engine.store.run_in_writer(lambda w: w.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall())
        waiting = asyncio.create_task(engine.store.write(insert("a")))
        while not engine.fatal:
            await asyncio.sleep(0.001)
        assert "somebody else" in str(engine.fatal[0])
        waiting.cancel()


async def test_callbacks_run_in_the_loop_and_in_order(tmp_path: Path) -> None:
    """The sender hears of every request, in order, in the event loop."""
    threads: set[object] = set()
    async with opened(tmp_path) as engine:
        engine.store.on_request = lambda sequence, encoded, at: threads.add(asyncio.get_running_loop())
        await engine.store.write(create_table)
        await engine.store.append_control_request(Kind.EPOCH, b"")
        assert threads == {asyncio.get_running_loop()}


def test_a_group_without_a_request_has_no_bytes() -> None:
    """`encoded` is None exactly when nothing was appended."""
    assert Group(3, None).encoded is None
