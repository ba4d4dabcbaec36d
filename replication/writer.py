"""The one writer: commit, capture, append order and checkpoint of scheduler.db. Straight-line and synchronous.

Every method runs in one thread (the store's writer thread; a simulation's only one). It knows no queue and no clock but
the wall clock that stamps requests for people.
"""

from __future__ import annotations

import gc
import sqlite3
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

from replication import threads
from replication.capture import Capture
from replication.control import ControlFile, merge_epochs
from replication.core import request as requests
from replication.core.request import DATABASE_FILE, FileChange, Kind, Request
from replication.core.types import Epoch, Position
from replication.errors import CaptureBroken, Corrupt, DiskFull, MustEnd, ReplicationError
from replication.files import SHM_FILE, WAL_FILE, Disk, object_file
from replication.journal import Journal
from replication.objects import Objects
from replication.page_sums import PageSums

T = TypeVar("T")
OBJECT_BYTES_MAX = 8 * 1024 * 1024
GROUP_RESERVE_BYTES = 4 * 1024 * 1024
KEEP_BYTES = 64 * 1024 * 1024
UNREADABLE = (
    "SQLite cannot read it ({}), so this node cannot be master. Stop it, and type at the other node, which says first "
    "what it holds: standby-to-master. This one follows it then; `understudy verify` fetches what is damaged"
)
_POSITION_TABLE = (
    "CREATE TABLE IF NOT EXISTS replication_position"
    " (id INTEGER PRIMARY KEY CHECK (id = 1), sequence INTEGER NOT NULL) STRICT"
)
_SET_POSITION = (
    "INSERT INTO replication_position (id, sequence) VALUES (1, ?)"
    " ON CONFLICT (id) DO UPDATE SET sequence = excluded.sequence"
)
_SHAPE = ("PRAGMA schema_version", "PRAGMA user_version", "PRAGMA page_count", "PRAGMA freelist_count")


class Transaction:
    """Given to a change, inside its savepoint, in the writer thread. Keep nothing of it."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self.objects: list[tuple[str, int, bytes | None]] = []

    def execute_script(self, script: str) -> None:
        """Run several statements, as a migration has them, inside this transaction. sqlite3's own executescript would
        commit first."""
        statement = ""
        for part in script.split(";"):
            statement += part + ";"
            if sqlite3.complete_statement(statement):
                self.connection.execute(statement)
                statement = ""

    def write_object(self, name: str, offset: int, data: bytes) -> None:
        """Write bytes of an object (made when absent) once this is committed. At most OBJECT_BYTES_MAX per change."""
        if len(data) > OBJECT_BYTES_MAX or offset < 0:
            raise ValueError(f"an object is written in parts of up to {OBJECT_BYTES_MAX} bytes, not {len(data)}")
        self.objects.append((object_file(name), offset, data))

    def remove_object(self, name: str) -> None:
        """Remove an object once this is committed; absent is fine."""
        self.objects.append((object_file(name), 0, None))


Change = Callable[[Transaction], T]


class Outcome(NamedTuple):
    """What became of one change: its value, or the exception that undid its rows."""

    value: Any
    error: BaseException | None


@dataclass
class Group:
    """Changes committed together. `encoded` is None when nothing changed: then `sequence` is the last one before."""

    sequence: int
    encoded: bytes | None
    outcomes: list[Outcome] = field(default_factory=list)


def connect(path: str, *, read_only: bool) -> sqlite3.Connection:
    """Open scheduler.db as every connection of the store is opened; one thread at a time may use it."""
    mode = "ro" if read_only else "rwc"
    connection = sqlite3.connect(
        f"file:{path}?mode={mode}",
        uri=True,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=512,
        timeout=1.0,
    )
    connection.execute("PRAGMA trusted_schema = OFF")
    if read_only:
        connection.execute("PRAGMA query_only = ON")
    return connection


def _without_frames(error: Exception) -> Exception:
    """Let go of what the change's frames hold: a cursor in a traceback would keep SQLite open after `close`."""
    inner = error.__traceback__.tb_next if error.__traceback__ else None
    traceback.clear_frames(inner)
    return error.with_traceback(inner)


class Writer:
    """Owns the write connection from construction to `close`. The files must be redone, `-wal` and `-shm` gone.

    `sums` is the table of exactly that file, and says how large its pages are. `commit` returns the commit
    sequence known now.
    """

    def __init__(
        self,
        disk: Disk,
        journal: Journal,
        control: ControlFile,
        sums: PageSums,
        epoch: Epoch,
        commit: Callable[[], int],
    ) -> None:
        self._disk = disk
        self._journal = journal
        self._control = control
        self._sums = sums
        self._commit = commit
        self.epoch = epoch
        self.newest = (journal.last, sums.sum)
        """The last request journaled and the checksum after it: one value, never of two moments for other threads."""
        self.objects = Objects(disk)
        self.keep_from: int | None = None
        self.unmoved: set[int] = set()
        """Pages whose newest image is not yet, or not surely, in the file: in SQLite's log."""
        self._database = disk.keep(DATABASE_FILE)
        self.connection = connect(str(disk.path(DATABASE_FILE)), read_only=False)
        created = (f"page_size = {sums.page_size}", "auto_vacuum = INCREMENTAL") if not self._database.size() else ()
        try:
            self._prepare(created)
            self._guard = connect(str(disk.path(DATABASE_FILE)), read_only=True)
            self._guard.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:  # the second: SQLite quotes a damaged byte
            if isinstance(error, sqlite3.OperationalError):
                raise
            raise Corrupt(DATABASE_FILE, 0, 0, UNREADABLE.format(error)) from error
        disk.keep(SHM_FILE)
        disk.keep(WAL_FILE)
        self._capture = Capture(disk, self._database, sums.page_size)
        self._capture.check_empty()

    def _prepare(self, created: tuple[str, ...]) -> None:
        """Open the connection for writing: SQLite's settings, and whether there is a position."""
        for pragma in (
            *created,  # on a database with tables the second would write a page
            "journal_mode = WAL",
            "synchronous = NORMAL",
            "wal_autocheckpoint = 0",
            "cache_spill = OFF",
            "foreign_keys = ON",
        ):
            self.connection.execute(f"PRAGMA {pragma}")
        self._has_table = bool(
            self.connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'replication_position'").fetchone()
        )

    @property
    def checksum(self) -> int:
        """The rolling checksum after the last request."""
        return self.newest[1]

    def differing(self, first: int, count: int) -> list[int]:
        """Which of these pages the file holds otherwise than it should; those still in SQLite's log are passed over."""
        return [page for page in self._sums.differing(self._database, first, count) if page not in self.unmoved]

    @property
    def pages(self) -> int:
        """How many pages the database has."""
        return self._sums.pages

    @property
    def wal_bytes(self) -> int:
        """The part of SQLite's log that a checkpoint has to move."""
        return self._capture.wal_bytes

    def run_group(self, changes: list[Change[Any]]) -> Group:
        """Run each change in its own savepoint, commit once, journal what was written. Not yet durable.

        A change that raises is undone alone. Raises DiskFull before anything is touched; an sqlite3.Error of BEGIN or
        COMMIT after undoing everything; CaptureBroken and JournalFailed when the process must end.
        """
        self._journal.reserve(GROUP_RESERVE_BYTES)
        self.connection.execute("BEGIN IMMEDIATE")
        sequence = self._journal.last.sequence + 1
        objects: list[tuple[str, int, bytes | None]] = []
        outcomes: list[Outcome] = []
        changed = 0
        try:
            shape = self._shape()
            if self._has_table:  # before the changes: they may note in their rows which request they are
                self.connection.execute(_SET_POSITION, (sequence,))
            for change in changes:
                changed += self._run_change(change, outcomes, objects)
            if not changed and not objects and shape == self._shape():
                self.connection.execute("ROLLBACK")
                return Group(sequence - 1, None, outcomes)
            if not self._has_table:
                self.connection.execute(_POSITION_TABLE)
                self.connection.execute(_SET_POSITION, (sequence,))
            self.connection.execute("COMMIT")
        except BaseException:
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")
            raise
        self._has_table = True
        return Group(sequence, self._append_group(objects), outcomes)

    def _shape(self) -> list[Any]:
        return [self.connection.execute(pragma).fetchone()[0] for pragma in _SHAPE]

    def _run_change(
        self, change: Change[Any], outcomes: list[Outcome], objects: list[tuple[str, int, bytes | None]]
    ) -> int:
        """Run one change; returns the number of rows it changed (0 when it was undone)."""
        transaction = Transaction(self.connection)
        before = self.connection.total_changes
        self.connection.execute("SAVEPOINT change")
        try:
            value = change(transaction)
        except Exception as error:
            self.connection.execute("ROLLBACK TO change")
            self.connection.execute("RELEASE change")
            outcomes.append(Outcome(None, _without_frames(error)))
            return 0
        if not self.connection.in_transaction:
            raise CaptureBroken("a change ended the group's transaction (executescript does): use execute_script")
        self.connection.execute("RELEASE change")
        outcomes.append(Outcome(value, None))
        objects.extend(transaction.objects)
        return self.connection.total_changes - before

    def _append_group(self, objects: list[tuple[str, int, bytes | None]]) -> bytes:
        captured = self._capture.take()
        self._sums.resize(captured.page_count)
        for page, data in captured.pages.items():
            self._sums.put(page, data)
        self.unmoved.update(captured.pages)
        size = self._sums.page_size
        extents = tuple(((page - 1) * size, data) for page, data in sorted(captured.pages.items()))
        files = [FileChange(DATABASE_FILE, captured.page_count * size, extents)]
        files += self.objects.plan(objects)
        return self._append(Kind.OBJECT if objects else Kind.DATABASE, tuple(files), b"")

    def _append(self, kind: Kind, files: tuple[FileChange, ...], note: bytes) -> bytes:
        last = self._journal.last
        encoded = requests.encode(
            Request(
                sequence=last.sequence + 1,
                epoch=self.epoch,
                kind=kind,
                previous_hash=last.hash,
                commit=min(self._commit(), last.sequence),
                checksum=self._sums.sum,
                at_us=threads.utc_us(),
                page_size=self._sums.page_size,
                files=files,
                note=note,
            )
        )
        position = self._journal.append(encoded)
        self.newest = (position, self._sums.sum)
        self.objects.hold(position.sequence, files)
        return encoded

    def append_control(self, kind: Kind, note: bytes) -> tuple[Position, bytes]:
        """Append a request that changes no file. Raises DiskFull before, JournalFailed when the process must end."""
        self._journal.reserve(len(note) + 4096)
        encoded = self._append(kind, (), note)
        return self._journal.last, encoded

    def checkpoint(self, *, truncate: bool = False) -> bool:
        """Move SQLite's log into the file, then make files, page sums and the control slot durable, in that order.

        Runs only when commit = last captured; returns False when it is not, or a reader held SQLite back (then the
        checkpoint sequence stays). Afterwards segments that nothing needs are gone. Raises DiskFull
        (nothing is lost, the log stays) and MustEnd.
        """
        last = self._journal.last
        if self._commit() < last.sequence or not self._sums.pages:
            return False
        self._journal.mark_commit(last.sequence)
        self._journal.sync()
        how = "TRUNCATE" if truncate else "PASSIVE"
        with self._disk.sqlite_writing():
            try:
                busy, frames, moved = self.connection.execute(f"PRAGMA wal_checkpoint({how})").fetchone()
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode in (sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_BUSY):
                    return False  # a cursor of an earlier group is still held: later
                if error.sqlite_errorcode == sqlite3.SQLITE_FULL:
                    raise DiskFull("no room to checkpoint: free some disk space; nothing is lost meanwhile") from error
                raise MustEnd(f"SQLite could not checkpoint ({error}): check the disk, then start again") from error
        if busy or frames != moved:
            return False
        self._capture.allow_restart()
        self.unmoved.clear()
        self._database.sync()
        self.objects.sync()
        self._sums.save(self._disk, last.sequence)
        epochs = merge_epochs(self._control.value.epochs, self._journal.epochs())
        self._control.update(checkpoint=last, epochs=epochs)
        self._journal.forget(self._forget_before(last.sequence))
        return True

    def forget(self) -> None:
        """Drop the segments that nothing needs any more: a slot was let go since the last checkpoint."""
        self._journal.forget(self._forget_before(self._control.value.checkpoint.sequence))

    def _forget_before(self, checkpoint: int) -> int:
        """The lowest sequence to keep: above the checkpoint, pinned by a slot, or within the last KEEP_BYTES."""
        keep = checkpoint + 1 if self.keep_from is None else min(checkpoint + 1, self.keep_from)
        return self._journal.newest_within(KEEP_BYTES, keep)

    def close(self) -> None:
        """Close SQLite without a checkpoint and without unlinking its log, then the kept descriptors.

        A writer that closes last would move pages above the commit into the file. The guard, which cannot write, is
        still open then and closes after it. The next open unlinks the log and redoes.
        """
        if self.connection.in_transaction:
            raise ReplicationError("the writer is closed inside a transaction")
        self.connection.close()
        self._await_closed(1)
        self._guard.close()
        self._await_closed(0)
        self._disk.release_kept()

    def _await_closed(self, remaining: int) -> None:
        """A cursor left in a cycle of references keeps its connection half open: it would close last, and write."""
        if self._disk.sqlite_connections() > remaining:
            gc.collect()
            if self._disk.sqlite_connections() > remaining:
                raise MustEnd("a cursor of scheduler.db is still held somewhere: this process must end")
