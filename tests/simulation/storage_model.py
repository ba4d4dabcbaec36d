"""Nodes driven by hand in one thread, the model of what they promised, and the judgement of what is found of them."""

from __future__ import annotations

import random
import sqlite3
from dataclasses import dataclass, field
from pathlib import Path

from replication.core.request import DATABASE_FILE, Kind, chain_hash
from replication.core.types import Epoch
from replication.files import OBJECT_DIRECTORY, Disk
from replication.page_sums import PageSums
from replication.redo import Applier, open_node, read_copy
from replication.writer import Transaction, Writer

SEGMENT_BYTES = 96 * 1024
SCHEMA = "CREATE TABLE IF NOT EXISTS item (id INTEGER PRIMARY KEY, value BLOB NOT NULL, tag TEXT) STRICT"
TAGS = "CREATE INDEX IF NOT EXISTS item_by_tag ON item (tag)"
Rows = dict[int, bytes]


class Wrong(Exception):
    """A recovered directory is not what was promised."""


@dataclass(frozen=True)
class Expected:
    """What the files hold after one request."""

    rows: Rows
    objects: dict[str, bytes]
    checksum: int
    hash: bytes


@dataclass
class Model:
    """The history as it should be: by sequence, from 0."""

    states: dict[int, Expected] = field(default_factory=lambda: {0: Expected({}, {}, 0, bytes(32))})

    def check(self, sequence: int, rows: Rows, objects: dict[str, bytes], checksum: int) -> None:
        """Raise Wrong unless this is the state after request `sequence`."""
        expected = self.states[sequence]
        for what, found, wanted in (
            ("rows", rows, expected.rows),
            ("objects", objects, expected.objects),
            ("checksum", checksum, expected.checksum),
        ):
            if found != wanted:
                raise Wrong(f"{what} at request {sequence} are not what they were")


def read_rows(connection: sqlite3.Connection) -> Rows:
    """Return the table, and prove the file's structure."""
    verdict = connection.execute("PRAGMA integrity_check").fetchone()[0]
    if verdict != "ok":
        raise Wrong(f"integrity_check: {verdict}")
    if not connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'item'").fetchone():
        return {}
    return dict(connection.execute("SELECT id, value FROM item").fetchall())


def read_objects(root: Path) -> dict[str, bytes]:
    """Return the objects' bytes by name."""
    return {path.name: path.read_bytes() for path in sorted((root / OBJECT_DIRECTORY).glob("*"))}


class Scribe:
    """Makes random groups of changes and knows what rows and objects they leave."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self.rows: Rows = {}
        self.objects: dict[str, bytes] = {}

    def changes(self) -> list[object]:
        """Return one to four changes; the rows and objects of this object are as they will be after them."""
        return [self._change() for _ in range(self._rng.randint(1, 4))]

    def _change(self) -> object:
        rng = self._rng
        kind = rng.choice(("insert", "insert", "update", "delete", "append", "append", "remove", "vacuum", "fail"))
        if kind in ("insert", "fail") or (kind in ("update", "delete") and not self.rows):
            key, value = rng.randrange(60), rng.randbytes(rng.choice((10, 300, 3000, 9000)))
            if kind != "fail":
                self.rows[key] = value
            return lambda t: self._put(t, key, value, fail=kind == "fail")
        if kind == "update":
            key = rng.choice(sorted(self.rows))
            value = self.rows[key] = rng.randbytes(50)
            return lambda t: self._put(t, key, value)
        if kind == "delete":
            gone = rng.sample(sorted(self.rows), rng.randint(1, len(self.rows)))
            for key in gone:
                del self.rows[key]
            return lambda t: t.connection.executemany("DELETE FROM item WHERE id = ?", [(key,) for key in gone])
        if kind == "vacuum":
            return lambda t: [t.connection.execute("PRAGMA incremental_vacuum(1)").close() for _ in range(3)]
        name = f"object{rng.randrange(4)}"
        if kind == "remove":
            self.objects.pop(name, None)
            return lambda t: t.remove_object(name)
        old = self.objects.get(name, b"")
        part = rng.randbytes(rng.choice((7, 700, 5000)))
        offset = rng.choice((len(old), rng.randint(0, len(old))))
        self.objects[name] = old[:offset] + part + old[offset + len(part) :]
        return lambda t: t.write_object(name, offset, part)

    @staticmethod
    def _put(transaction: Transaction, key: int, value: bytes, *, fail: bool = False) -> None:
        transaction.connection.execute(SCHEMA)
        transaction.connection.execute(TAGS)
        transaction.connection.execute(
            "INSERT OR REPLACE INTO item (id, value, tag) VALUES (?, ?, ?)", (key, value, value[:5].hex())
        )
        if fail:
            raise ValueError("undone on purpose")


class Master:
    """A node in office, driven by hand in one thread. `promised` is what was acknowledged."""

    def __init__(self, disk: Disk, rng: random.Random, *, unsafe: bool) -> None:
        self._disk = disk
        self._rng = rng
        self._unsafe = unsafe
        self.model = Model()
        self.requests: list[bytes] = []
        self.promised = 0
        self._commit = 0
        self._office = 0
        self._scribe = Scribe(rng)
        self._open()

    def _open(self) -> None:
        self._applier = open_node(self._disk, segment_bytes=SEGMENT_BYTES)
        self._commit = self._applier.apply_all()
        self.journal = self._applier.journal
        self._office += 1
        epoch = Epoch(self._office, f"{1:032x}")
        self._writer = Writer(
            self._disk, self.journal, self._applier.control, self._applier.sums, epoch, self._known_commit
        )
        self._record(self._writer.append_control(Kind.EPOCH, b"opened")[1])

    def _known_commit(self) -> int:
        return self.journal.last.sequence if self._unsafe else self._commit

    def _record(self, encoded: bytes | None) -> None:
        if encoded is not None:
            rows, objects = dict(self._scribe.rows), dict(self._scribe.objects)
            state = Expected(rows, objects, self._writer.checksum, chain_hash(encoded))
            self.model.states[self.journal.last.sequence] = state
            self.requests.append(encoded)

    def step(self) -> None:
        """Do one random thing."""
        what = self._rng.choice(("group",) * 6 + ("sync",) * 3 + ("checkpoint", "checkpoint", "restart"))
        if what == "group":
            changes = [lambda t: (t.connection.execute(SCHEMA), t.connection.execute(TAGS)), *self._scribe.changes()]
            self._record(self._writer.run_group(changes).encoded)  # type: ignore[arg-type]  # values are not used
        elif what == "sync":
            self.journal.prepare()
            self._advance(self.journal.sync())
        elif what == "checkpoint" and self._unsafe:
            self._checkpoint_unsafely()
        elif what == "checkpoint":
            self._advance(self.journal.sync())
            self._writer.checkpoint()
        elif self._rng.random() < 0.3:
            self._restart()

    def _advance(self, commit: int) -> None:
        if self._writer.objects.allowed(commit, self.journal.synced_commit) < commit:
            self.journal.mark_commit(commit)
            self.journal.sync()
        self._writer.objects.apply(commit)
        self._commit = self.promised = commit

    def _checkpoint_unsafely(self) -> None:
        """Invariant 3 switched off: pages reach the file although the journal was not fsynced."""
        sync, self.journal.sync = self.journal.sync, lambda: 0  # type: ignore[method-assign]  # broken on purpose
        try:
            self._writer.objects.apply(self.journal.last.sequence)
            self._writer.checkpoint()
        finally:
            self.journal.sync = sync  # type: ignore[method-assign]  # and mended

    def _restart(self) -> None:
        """The process is killed and started again; the power stays."""
        self._advance(self.journal.sync())
        self.close()
        self._open()

    def close(self) -> None:
        """Close SQLite and the journal as a stop does."""
        self._writer.close()
        self._applier.close()


class Standby:
    """A node that appends, fsyncs, acknowledges and applies what a master wrote. `promised` is what it acknowledged."""

    def __init__(self, disk: Disk, rng: random.Random, requests: list[bytes], *, unsafe: bool) -> None:
        self._disk = disk
        self._rng = rng
        self._unsafe = unsafe
        self._requests = requests
        self.promised = 0
        self._applier = open_node(disk, segment_bytes=SEGMENT_BYTES)

    def step(self) -> None:
        """Do one random thing."""
        journal = self._applier.journal
        what = self._rng.choice(("append",) * 4 + ("sync",) * 3 + ("apply",) * 3 + ("checkpoint", "restart"))
        if what == "append":
            for encoded in self._requests[journal.last.sequence :][: self._rng.randint(1, 4)]:
                journal.append(encoded)
        elif what == "sync":
            self.promised = journal.sync()
        elif what == "apply" and self._unsafe:
            sync, journal.sync = journal.sync, lambda: 0  # type: ignore[method-assign]  # broken on purpose
            self._applier.apply(None, journal.last.sequence)
            journal.sync = sync  # type: ignore[method-assign]  # and mended
        elif what == "apply":
            self._applier.apply(None, self._rng.randint(self._applier.applied, self.promised))
        elif what == "checkpoint":
            self._applier.checkpoint()
        elif self._rng.random() < 0.3:
            self.close()
            self._applier = open_node(self._disk, segment_bytes=SEGMENT_BYTES)
            self.promised = self._applier.journal.synced

    def close(self) -> None:
        """Close without making anything durable."""
        self._applier.close()


def check(applier: Applier, model: Model, promised: int) -> None:
    """Raise Wrong unless a recovered node keeps its promises, before and after it takes office."""
    last = applier.journal.last.sequence
    if last < promised:
        raise Wrong(f"request {promised} was acknowledged, the journal ends at {last}")
    for sequence in range(applier.journal.first_sequence, last + 1):
        place = applier.journal.position(sequence)
        if place is None or place.hash != model.states[sequence].hash:
            raise Wrong(f"request {sequence} is not in the chain")
    for _ in ("as found", "in office"):
        check_files(applier, model)
        applier.apply_all()
    if applier.applied != last:
        raise Wrong(f"only {applier.applied} of {last} requests were applied")
    check_files(applier, model)


def check_files(applier: Applier, model: Model) -> None:
    """Raise Wrong unless the files hold the state after `applied`, by content, structure and a full scan."""
    scanned = PageSums()
    scanned.scan(applier.disk.keep(DATABASE_FILE))
    if scanned.sum != applier.checksum:
        raise Wrong(f"a full scan at request {applier.applied} gives another checksum")
    rows = read_copy(applier, read_rows)[0] if applier.disk.size_of(DATABASE_FILE) else {}
    model.check(applier.applied, rows, read_objects(applier.disk.root), applier.checksum)
