"""Redo: bringing the files up to the journal, on either node, at every start; and the standby's way of applying.

The same routine for every crash: unlink SQLite's logs, take the page sums of the last checkpoint, apply every request
from there to the highest commit sequence that the journal records. What lies behind is kept, unapplied.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from replication import threads
from replication.control import ControlFile, merge_epochs
from replication.core.request import DATABASE_FILE, FileChange, Request, decode, peek
from replication.core.types import Position, State
from replication.errors import ChecksumMismatch, Forgotten, NotNext, Retired, Unavailable
from replication.files import OBJECT_DIRECTORY, SHM_FILE, WAL_FILE, Disk, File, checked_name
from replication.journal import SEGMENT_BYTES, Journal
from replication.objects import sync_objects, write_file
from replication.page_sums import PageSums, page_size_of
from replication.readers import read_sequence

T = TypeVar("T")
HOLD_S = 0.1
KEEP_BYTES = 64 * 1024 * 1024
ROLLBACK_FILE = DATABASE_FILE + "-journal"


def open_node(disk: Disk, *, segment_bytes: int = SEGMENT_BYTES) -> Applier:
    """Open a data directory after whatever happened to it: control, journal, redo to the recorded commit.

    Raises Corrupt (fetch from the peer), ChecksumMismatch (COMPARE). Takes no office and needs no network.
    """
    control = ControlFile(disk)
    journal = Journal.open(
        disk,
        checkpoint=control.value.checkpoint,
        copying=control.value.state == State.COPYING,
        segment_bytes=segment_bytes,
    )
    return Applier(disk, journal, control)


class Applier:
    """Applies requests to the files; construction redoes to the recorded commit. No SQLite connection may be open.

    One thread at a time calls `apply`, `apply_all` and `checkpoint`; `read_copy` may come from another. While the node
    is COPYING nothing is applied: blocks and requests overtake each other, so redo waits for `finish_copy`.
    """

    def __init__(self, disk: Disk, journal: Journal, control: ControlFile) -> None:
        self.disk = disk
        self.journal = journal
        self.control = control
        self._hold = threads.Lock()
        self._is_retired = False
        self.in_part = False
        """A request is applied in part, because the disk was full: sums and file differ until it is applied again."""
        self._dirty: set[str] = set()
        self.keep_from: int | None = None
        for name in (WAL_FILE, SHM_FILE, ROLLBACK_FILE):
            disk.unlink(name)
        disk.make_directory(OBJECT_DIRECTORY)
        self._database = disk.keep(DATABASE_FILE)
        checkpoint = control.value.checkpoint
        if checkpoint.sequence == 0 and control.value.state != State.COPYING:
            self._database.truncate(0)
        disk.sync_directory()
        self._position = checkpoint
        self.applied = checkpoint.sequence
        """The sequence up to which the files hold everything, not necessarily durable."""
        self.copying = control.value.state == State.COPYING
        self._take_sums(checkpoint)
        if not self.copying:
            self.apply(None, max(checkpoint.sequence, journal.recorded_commit))

    def _take_sums(self, checkpoint: Position) -> None:
        """Use the saved table, or read the file: then pages may already be newer than the checkpoint, and only the
        end of redo can be checked."""
        if self.copying:
            self._exact, self.sums = False, PageSums()  # finish_copy reads the file
            return
        sums = PageSums.load(self.disk, checkpoint.sequence) if checkpoint.sequence else PageSums()
        self._exact = sums is not None
        self.sums = sums or PageSums(page_size_of(self._database))
        if sums is None:
            self.sums.scan(self._database)

    @property
    def position(self) -> Position:
        """The place of `applied` in the history."""
        if self._position.sequence != self.applied:
            place = self.journal.position(self.applied)
            assert place is not None, "what was applied is behind the checkpoint, so the journal holds it"
            self._position = place
        return self._position

    @property
    def checksum(self) -> int:
        """The rolling checksum of the database as applied."""
        return self.sums.sum

    def apply(self, encoded: Sequence[bytes] | None, upto: int) -> int:
        """Apply every request up to `upto` (a commit sequence) that the journal holds; returns `applied`.

        `encoded` spares reading the journal when the caller still has the requests that come next, without a gap; None
        or others: they are read. The commit is made durable before a page is written. Raises ChecksumMismatch: then
        this node applies no more until a COMPARE; DiskFull; MustEnd when an fsync fails.
        """
        upto = min(upto, self.journal.last.sequence)
        if self.copying or upto <= self.applied:
            return self.applied
        if self.journal.synced_commit < upto:
            self.journal.mark_commit(upto)
            self.journal.sync()
        fits = encoded and peek(encoded[0]).sequence <= self.applied + 1 and peek(encoded[-1]).sequence >= upto
        for each in encoded if encoded and fits else self.journal.read(self.applied + 1):
            request = decode(each)
            if request.sequence <= self.applied:
                continue
            if request.sequence > upto:
                break
            self._apply_one(request, request.sequence == upto)
        if self.applied < upto:
            raise Forgotten(
                f"the journal does not hold request {self.applied + 1}; this node copies "
                "what differs from the master by itself"
            )
        return self.applied

    def apply_all(self) -> int:
        """Apply the whole journal, recording its end as the commit: only for a node that takes office. Returns its end.

        Then `Store.open` on these files, with `sums`; this object must not be used again.
        """
        self.journal.sync()
        self.apply(None, self.journal.last.sequence)
        self._sync_objects()
        return self.applied

    def _sync_objects(self) -> None:
        dirty, self._dirty = self._dirty, set()
        sync_objects(self.disk, dirty)

    def _apply_one(self, request: Request, is_last: bool) -> None:
        if request.sequence != self.applied + 1:
            raise NotNext(f"request {request.sequence} cannot be applied on top of {self.applied}")
        for file in request.files:
            checked_name(file.name)
        with self._hold:
            self.in_part = True
            for file in request.files:
                if file.name == DATABASE_FILE:
                    self._sum(request, file)
            if self._exact or is_last:
                if self.sums.sum != request.checksum:
                    raise ChecksumMismatch(request.sequence, request.checksum, self.sums.sum)
                self._exact = True
            for file in request.files:
                if file.name == DATABASE_FILE:
                    self._write_database(file)
                else:
                    write_file(self.disk, file)
                    self._dirty.add(file.name)
            self.applied = request.sequence
            self.in_part = False

    def _sum(self, request: Request, file: FileChange) -> None:
        size = request.page_size
        if not self.sums.pages:
            self.sums = PageSums(size)
        if size != self.sums.page_size:
            raise NotNext(f"request {request.sequence} has pages of {size} bytes, this database {self.sums.page_size}")
        self.sums.resize(file.size_after // size)
        for offset, data in file.extents:
            for at in range(0, len(data), size):
                self.sums.put((offset + at) // size + 1, data[at : at + size])

    def _write_database(self, file: FileChange) -> None:
        run: list[bytes | memoryview] = []
        start = end = 0
        for offset, data in file.extents:
            if run and (offset != end or len(run) >= 256):
                self._database.write(start, *run)
                run = []
            if not run:
                start = offset
            run.append(data)
            end = offset + len(data)
        if run:
            self._database.write(start, *run)
        if self._database.size() != file.size_after:
            self._database.truncate(file.size_after)

    def checkpoint(self) -> None:
        """Make everything applied durable and let the journal's older segments go: files, page sums, control, forget.

        Call it every few MiB. Raises DiskFull with nothing forgotten; MustEnd when an fsync fails.
        """
        if self.copying or self.in_part or self.position == self.control.value.checkpoint or not self._exact:
            return
        self._database.sync()
        self._sync_objects()
        self.sums.save(self.disk, self.applied)
        epochs = merge_epochs(self.control.value.epochs, self.journal.epochs())
        self.control.update(checkpoint=self.position, epochs=epochs)
        keep = self.applied + 1 if self.keep_from is None else min(self.applied + 1, self.keep_from)
        self.journal.forget(self.journal.newest_within(KEEP_BYTES, keep))

    def finish_copy(self, until: int) -> int:
        """Every block is in place and durable: redo from the pin to `until`, the sequence at the end of the last block.

        The journal holds the pin to `until`, fsynced. The file's pages may be newer than the pin, so the checksum is
        checked at `until`. The caller persists the state after it, then calls `checkpoint`. When it raises the files
        are a mixture as before: still COPYING, and it may be called again (a disk that was full).
        """
        self.copying = False
        try:
            self._exact = False
            self.sums = PageSums(page_size_of(self._database))
            self.sums.scan(self._database)
            return self.apply(None, until)
        except BaseException:
            self.copying = True
            raise

    @property
    def database(self) -> File:
        """The kept descriptor of scheduler.db."""
        return self._database

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Hold apply at a request border: keep it short. Raises Retired once the files are somebody else's."""
        with self._hold:
            if self._is_retired:
                raise Retired("the files of this node are being opened anew")
            yield

    def retire(self) -> None:
        """Let nobody look through this object any more; returns when whoever looks is done. For good."""
        with self._hold:
            self._is_retired = True

    def close(self) -> None:
        """Close the files; nothing is made durable by it. The data directory stays open."""
        self.retire()
        self.journal.close()
        self.control.close()
        self.disk.release_kept()


def read_copy(applier: Applier, query: Callable[[sqlite3.Connection], T]) -> tuple[T, int]:
    """Run a query on a standby's copy while apply is held at a request border, at most 100 ms. Blocks: use a thread.

    Returns the value and the sequence in the copy. Leaves no files. Raises Unavailable while there is no copy, or when
    the query takes longer.
    """
    disk = applier.disk
    if applier.copying or disk.size_of(DATABASE_FILE) == 0:
        raise Unavailable("this node holds no copy yet; ask the master")
    if not applier._hold.acquire(timeout=1.0):
        raise Unavailable("this node is busy applying; try again")
    try:
        connection = sqlite3.connect(f"file:{disk.path(DATABASE_FILE)}?mode=ro&immutable=1", uri=True)
        try:
            deadline = threads.monotonic() + HOLD_S
            connection.set_progress_handler(lambda: threads.monotonic() > deadline, 1000)
            return query(connection), read_sequence(connection)
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:  # the second: SQLite quotes a damaged byte
            if type(error) not in (sqlite3.OperationalError, sqlite3.DatabaseError, UnicodeDecodeError):
                raise  # the query is wrong, not the copy: "malformed" is a request applied in part, on a full disk
            raise Unavailable(f"the copy cannot answer this ({error}); ask the master") from error
        finally:
            connection.close()
    finally:
        applier._hold.release()
