"""The journal: the only truth on a node. Ordered, hash-chained, fsynced requests in preallocated segments.

Threads: one thread appends (and cuts, forgets, restarts); `mark_commit`, `sync`, `prepare` and `read` may run in others
meanwhile. A failed write or fsync of the journal leaves the disk's content unknown: every later call raises
JournalFailed and the process must end; the next start redoes from what can be read.
"""

from __future__ import annotations

from collections.abc import Iterator

from replication import threads
from replication.control import EpochStart
from replication.core.request import chain_hash, continues, peek, position_of
from replication.core.types import ORIGIN, Position
from replication.errors import Corrupt, DiskFull, Forgotten, JournalFailed, NotNext, SyncFailed
from replication.files import Disk, File
from replication.journal_scan import CUT_FILE, Found, read_directory, zero_behind
from replication.segments import (
    COMMIT_MARK,
    DIRECTORY,
    HEADER_BYTES,
    MARK,
    PREPARED,
    RECORD,
    REQUEST,
    Segment,
    bytes_behind,
    create_zeroed,
    newest_within,
    pack_header,
    pack_record,
    segment_name,
)

SEGMENT_BYTES = 16 * 1024 * 1024


class Journal:
    """Open with `Journal.open`. `last` is the newest request appended, `synced` the newest that is durable here.

    `recorded_commit` is the highest commit sequence that a record states; `synced_commit` the same, durable.
    """

    def __init__(self, disk: Disk, segment_bytes: int) -> None:
        self._disk = disk
        self._segment_bytes = segment_bytes
        self._segments: list[Segment] = []
        self._epochs: list[EpochStart] = []
        self._lock = threads.Lock()
        self._append_lock = threads.RLock()
        self._sync_lock = threads.RLock()
        self._prepare_lock = threads.Lock()
        self._prepared: File | None = None
        self._dirty: set[str] = set()
        self._dirty_directory = False
        self._failure: BaseException | None = None
        self.last: Position = ORIGIN
        self.recorded_commit = 0
        self.synced = 0
        self.synced_commit = 0

    @classmethod
    def open(
        cls,
        disk: Disk,
        *,
        checkpoint: Position = ORIGIN,
        copying: bool = False,
        segment_bytes: int = SEGMENT_BYTES,
    ) -> Journal:
        """Read and verify everything, cut a torn tail, and make what was found durable.

        Everything up to `checkpoint` (from the control file) must be there. Raises Corrupt when a record that had been
        fsynced is bad: nothing is cut then. While `copying` such a journal starts again behind the checkpoint, because
        its caller saved what it held. A new journal starts at ORIGIN.
        """
        disk.make_directory(DIRECTORY)
        journal = cls(disk, segment_bytes)
        disk.unlink(PREPARED)
        try:
            journal._load(read_directory(disk, checkpoint.sequence), checkpoint)
        except Corrupt:
            if not copying:
                raise
            journal._segments = [Segment(f"{DIRECTORY}/{n}", ORIGIN, 0) for n in disk.names(DIRECTORY)]
            journal.restart_at(checkpoint)
        journal._dirty.update(segment.name for segment in journal._segments)
        journal._dirty_directory = True
        journal.sync()
        if disk.exists(CUT_FILE):
            disk.unlink(CUT_FILE)
            disk.sync_directory(DIRECTORY)
        return journal

    def _load(self, found: Found, checkpoint: Position) -> None:
        self._segments = found.segments
        if not found.segments:
            self._start(ORIGIN)
            return
        self.last = found.last
        self._epochs = found.epochs
        self.recorded_commit = min(found.commit, found.last.sequence)
        if found.cut_after is not None and found.cut_after < self.last.sequence:
            self._drop_behind(found.cut_after)
        if self.last.sequence < checkpoint.sequence:
            raise Corrupt(found.segments[-1].name, found.segments[-1].end, self.last.sequence + 1, "its end is missing")

    # writing

    def _fail(self, error: BaseException) -> JournalFailed:
        self._failure = error
        return JournalFailed(f"the journal cannot be written ({error}); this process ends, start it again to redo")

    def _check(self) -> None:
        if self._failure is not None:
            raise self._fail(self._failure)

    def _start(self, before: Position, capacity: int = 0) -> None:
        """Begin a new segment behind `before`, from the prepared file when that is large enough."""
        name = segment_name(before.sequence + 1)
        capacity = max(capacity, self._segment_bytes)
        with self._prepare_lock:
            file, self._prepared = self._prepared, None
            if file is None or file.size() < capacity:
                if file is not None:
                    file.close()
                file = create_zeroed(self._disk, PREPARED, capacity)
            self._disk.rename(PREPARED, name)
            file.name = name
        file.write(0, pack_header(before, self.synced))
        with self._lock:
            self._segments.append(Segment(name, before, file.size(), file=file))
            self._dirty.add(name)
            self._dirty_directory = True
            self.last = before

    def _put(self, kind: int, payload: bytes) -> tuple[Segment, int]:
        """Write one record at the end; returns its segment and the offset of the payload."""
        self._check()
        segment = self._segments[-1]
        needed = RECORD.size + len(payload)
        try:
            if segment.end + needed > segment.capacity:
                self._start(self.last, HEADER_BYTES + needed)
                segment = self._segments[-1]
            assert segment.file is not None
            segment.file.write(segment.end, pack_record(kind, self.synced, payload), payload)
        except (OSError, DiskFull) as error:
            raise self._fail(error) from error
        at = segment.end + RECORD.size
        segment.end += needed
        return segment, at

    def append(self, encoded: bytes) -> Position:
        """Append the next request; not durable before a `sync` that starts later. Raises NotNext, JournalFailed."""
        with self._append_lock:
            return self._append(encoded)

    def _append(self, encoded: bytes) -> Position:
        header = peek(encoded)
        if not continues(header, self.last):
            raise NotNext(f"request {header.sequence} does not follow {self.last.sequence} here")
        position = Position(header.epoch, header.sequence, chain_hash(encoded))
        segment, at = self._put(REQUEST, encoded)
        with self._lock:
            segment.offsets.append(at)
            segment.lengths.append(len(encoded))
            if position.epoch != self.last.epoch:
                self._epochs.append(EpochStart(position.epoch, position.sequence, position.hash))
            self.last = position
            self.recorded_commit = max(self.recorded_commit, min(header.commit, position.sequence))
            self._dirty.add(segment.name)
        return position

    def mark_commit(self, sequence: int) -> None:
        """Record a commit sequence without moving the sequence. Durable after the next `sync`."""
        with self._append_lock:
            sequence = min(sequence, self.last.sequence)
            if sequence <= self.recorded_commit:
                return
            segment, _ = self._put(COMMIT_MARK, MARK.pack(sequence))
            with self._lock:
                self.recorded_commit = sequence
                self._dirty.add(segment.name)

    def sync(self) -> int:
        """Make durable everything appended before this call; returns the highest durable sequence.

        May run in a thread of its own while another appends. Raises JournalFailed, after which nothing is retried.
        """
        with self._sync_lock:
            with self._lock:
                self._check()
                target, commit = self.last.sequence, self.recorded_commit
                files = [s.file for s in self._segments if s.name in self._dirty and s.file is not None]
                directory, self._dirty_directory = self._dirty_directory, False
                self._dirty.clear()
            try:
                for file in files:
                    file.sync()
                if directory:
                    self._disk.sync_directory(DIRECTORY)
            except (OSError, SyncFailed) as error:
                raise self._fail(error) from error
            with self._lock:
                self.synced = max(self.synced, target)
                self.synced_commit = max(self.synced_commit, commit)
                return self.synced

    @property
    def is_prepared(self) -> bool:
        """Whether the next segment is ready."""
        return self._prepared is not None

    def prepare(self) -> None:
        """Have the next segment ready, written with zeros. Raises DiskFull; nothing is lost by it."""
        with self._prepare_lock:
            if self._prepared is None:
                if self._disk.free_bytes() < 2 * self._segment_bytes:
                    raise DiskFull("the disk has no room for the journal's next segment: free some, then try again")
                self._prepared = create_zeroed(self._disk, PREPARED, self._segment_bytes)

    def reserve(self, needed: int) -> None:
        """Make sure that `needed` bytes of requests can be appended. Raises DiskFull *before* a group commits.

        A group beyond what was asked for is still written if the disk has room; if not, JournalFailed.
        """
        self._check()
        segment = self._segments[-1]
        if segment.capacity - segment.end < needed + RECORD.size:
            self.prepare()
            if needed > self._segment_bytes and self._disk.free_bytes() < needed + self._segment_bytes:
                raise DiskFull(f"no room for {needed} bytes of requests: free some disk space, then try again")

    # reading

    @property
    def first_sequence(self) -> int:
        """The lowest request that can be read; `last.sequence + 1` while there is none."""
        return self._segments[0].first

    def _find(self, sequence: int) -> tuple[str, int, int] | None:
        with self._lock:
            for segment in reversed(self._segments):
                if segment.first <= sequence <= segment.last:
                    index = sequence - segment.first
                    return segment.name, segment.offsets[index], segment.lengths[index]
        return None

    def read(self, first: int) -> Iterator[bytes]:
        """Yield the encoded requests from `first` to the end as it is when the iterator gets there.

        Reads the disk through its own descriptors: run it in a thread. Raises Forgotten when `first` is gone.
        """
        if first < self.first_sequence:
            raise Forgotten(f"request {first} is no longer in the journal (it starts at {self.first_sequence})")
        name, file = "", None
        try:
            while (found := self._find(first)) is not None:
                if file is None or found[0] != name:
                    if file is not None:
                        file.close()
                    name = found[0]
                    file = self._open_segment(name, first)
                yield file.read(found[2], found[1])
                first += 1
        finally:
            if file is not None:
                file.close()

    def _open_segment(self, name: str, sequence: int) -> File:
        try:
            return self._disk.open(name)
        except FileNotFoundError as error:
            raise Forgotten(f"request {sequence} was dropped after a checkpoint") from error

    def position(self, sequence: int) -> Position | None:
        """Return the place of a request, or None when it is not (or no longer) held."""
        if sequence == self.last.sequence:
            return self.last
        with self._lock:
            for segment in self._segments:
                if segment.before.sequence == sequence:
                    return segment.before
        encoded = next(self.read(sequence), None) if sequence >= self.first_sequence else None
        return None if encoded is None else position_of(encoded)

    def epochs(self) -> list[EpochStart]:
        """Return the epochs that begin in the segments held, in order. Older ones are in the control file."""
        with self._lock:
            return list(self._epochs)

    # dropping

    def cut(self, after: int) -> None:
        """Remove every request behind `after`. The caller has saved them first: they may be the only copy.

        Crash-safe: a durable note names the cut before anything goes, and `open` finishes it.
        """
        if after >= self.last.sequence:
            return
        if after < self._segments[0].before.sequence:
            raise Forgotten(f"request {after} is no longer in the journal; compare with the master instead")
        note = self._disk.open(CUT_FILE, create=True)
        note.write(0, pack_record(COMMIT_MARK, 0, MARK.pack(after)), MARK.pack(after))
        note.sync()
        note.close()
        self._disk.sync_directory(DIRECTORY)
        self._drop_behind(after)
        self._disk.unlink(CUT_FILE)
        self._disk.sync_directory(DIRECTORY)

    def _drop_behind(self, after: int) -> None:
        while len(self._segments) > 1 and self._segments[-1].before.sequence >= after:
            self._unlink_segment(-1)
        self._disk.sync_directory(DIRECTORY)
        segment = self._segments[-1]
        place = self._place_in(segment, after)
        with self._lock:
            keep = after - segment.before.sequence
            del segment.offsets[keep:]
            del segment.lengths[keep:]
            segment.end = segment.offsets[-1] + segment.lengths[-1] if keep else HEADER_BYTES
            self.last = place
            self._epochs = [start for start in self._epochs if start.sequence <= after]
            self.recorded_commit = min(self.recorded_commit, after)
            self.synced = min(self.synced, after)
            self.synced_commit = min(self.synced_commit, after)
        zero_behind(segment)
        commit = self.recorded_commit
        self.recorded_commit = 0
        self.mark_commit(commit)
        self.sync()

    def _place_in(self, segment: Segment, sequence: int) -> Position:
        if sequence == segment.before.sequence:
            return segment.before
        assert segment.file is not None
        index = sequence - segment.first
        return position_of(segment.file.read(segment.lengths[index], segment.offsets[index]))

    def _unlink_segment(self, index: int) -> None:
        with self._sync_lock:
            with self._lock:
                segment = self._segments.pop(index)
                self._dirty.discard(segment.name)
            self._disk.unlink(segment.name)
            if segment.file is not None:
                segment.file.close()

    def forget(self, before: int) -> None:
        """Drop whole segments whose requests all lie before sequence `before`; never the last one.

        The caller has made the checkpoint and the epoch history durable in the control file.
        """
        held = len(self._segments)
        while len(self._segments) > 1 and self._segments[1].first <= before:
            self._unlink_segment(0)
        if len(self._segments) < held:
            with self._lock:
                self._epochs = [start for start in self._epochs if start.sequence >= self._segments[0].first]
            self._disk.sync_directory(DIRECTORY)

    def restart_at(self, position: Position) -> None:
        """Empty the journal and begin behind `position`: the files are a copy pinned there. Durable when it returns.

        The caller has saved what is of use and recorded in the control file that a copy is under way.
        """
        while self._segments:
            self._unlink_segment(-1)
        self._disk.sync_directory(DIRECTORY)
        self._epochs.clear()
        self.recorded_commit = self.synced_commit = self.synced = 0
        self._start(position)
        self.sync()

    def newest_within(self, keep_bytes: int, before: int) -> int:
        """Return the lowest sequence not above `before` whose segments take up to `keep_bytes` in all."""
        with self._lock:
            return newest_within(self._segments, keep_bytes, before)

    def bytes_behind(self, sequence: int) -> int:
        """Return the number of bytes of the requests behind `sequence`: the backlog's size."""
        with self._lock:
            return bytes_behind(self._segments, sequence)

    def kept_bytes(self, sequence: int) -> int:
        """Return what the files take that hold requests behind `sequence`: what keeping them costs the disk."""
        with self._lock:
            return sum(segment.capacity for segment in self._segments if segment.last > sequence)

    def close(self) -> None:
        """Close the files. What was not synced is not durable."""
        for segment in self._segments:
            if segment.file is not None:
                segment.file.close()
        if self._prepared is not None:
            self._prepared.close()
        self._prepared = None
