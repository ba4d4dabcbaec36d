"""Proof that a node's files hold what was applied: each page beside the table of page sums, then SQLite's own check.

Everything works beside a node that goes on: pages are read in parts between two requests, and SQLite looks at a copy.
A page is proven when its file bytes give the sum that the table has for it; the table's own sum is in every request, so
two nodes whose tables are proven and whose checksums are equal at one sequence hold the same, page by page (JS7-10).
"""

from __future__ import annotations

import asyncio
import hashlib
import sqlite3
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

from replication.core.request import DATABASE_FILE, decode
from replication.errors import DiskFull, Forgotten, Retired
from replication.files import OBJECT_DIRECTORY, Disk, File, object_file
from replication.journal import Journal
from replication.redo import Applier
from replication.store import Store
from replication.writer import Writer

PAGES_AT_ONCE = 256
COPY_FILE = "proof.db"
RESERVE_BYTES = 256 * 1024 * 1024
PAUSE_S = 0.002
STEPS = 10_000
FINDINGS_MAX = 20
READ_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Pages:
    """What a reading of the whole file found: `checksum` is the table's at `sequence`, when the last page was read."""

    sequence: int
    checksum: int
    count: int
    bad: tuple[int, ...]


def prove_copy(applier: Applier, goes_on: Callable[[], bool]) -> Pages:
    """Read every page of a standby's file, in parts, while requests are applied between them. Blocks.

    Raises Retired when the node's role changes meanwhile, or when `goes_on` says no.
    """
    bad: list[int] = []
    page = 1
    while True:
        with applier.held():
            if not goes_on() or applier.copying or applier.in_part:
                raise Retired("its copy is in the middle of a change")
            bad += applier.sums.differing(applier.database, page, PAGES_AT_ONCE)
            page += PAGES_AT_ONCE
            if page > applier.sums.pages:
                return Pages(applier.applied, applier.checksum, applier.sums.pages, tuple(bad))


async def prove_master(store: Store) -> Pages:
    """Read every page of the master's file, in parts, between two groups of writes. Raises Closed.

    What is still in SQLite's log is passed over at first and read behind a checkpoint; of pages that are written all
    the time some may stay in the log: they were never read from the file, so they cannot be read wrongly from it.
    """
    bad: set[int] = set()
    for _ in range(2):
        page, count = 1, 1
        while page <= count:
            found, count = await store.run_in_writer(partial(_differing, page))
            bad.update(found)
            page += PAGES_AT_ONCE
            await asyncio.sleep(PAUSE_S)
        await store.checkpoint()
    return await store.run_in_writer(lambda w: Pages(store.last.sequence, w.checksum, w.pages, tuple(sorted(bad))))


def _differing(page: int, writer: Writer) -> tuple[list[int], int]:
    return writer.differing(page, PAGES_AT_ONCE), writer.pages


def check_soundness(disk: Disk, applier: Applier, goes_on: Callable[[], bool]) -> str:
    """Let SQLite check a copy of a standby's database: "ok", its findings, or "" with no room for a copy. Blocks.

    The copy is made while requests are applied; those of the meantime are then redone onto it, so that it is the
    database at one request. It is removed afterwards. Raises Retired.
    """
    if disk.free_bytes() < disk.size_of(DATABASE_FILE) + RESERVE_BYTES:
        return ""
    disk.unlink(COPY_FILE)
    copy = disk.open(COPY_FILE, create=True)
    try:
        _copy_at_border(applier, copy, goes_on)
        return _integrity(disk, goes_on)
    except (DiskFull, Forgotten):
        return ""
    finally:
        copy.close()
        disk.unlink(COPY_FILE)


def _copy_at_border(applier: Applier, copy: File, goes_on: Callable[[], bool]) -> None:
    with applier.held():
        reached = applier.applied
    for _ in copy.copy_from(applier.database):
        if not goes_on() or applier.copying:
            raise Retired("there is no copy to look at now")
    reached = _redo(applier.journal, copy, reached, applier.applied)
    with applier.held():
        _redo(applier.journal, copy, reached, applier.applied)
        copy.truncate(applier.database.size())


def _redo(journal: Journal, copy: File, after: int, upto: int) -> int:
    if upto > after:
        for encoded in journal.read(after + 1):
            request = decode(encoded)
            if request.sequence > upto:
                break
            for file in request.files:
                if file.name == DATABASE_FILE:
                    for offset, data in file.extents:
                        copy.write(offset, data)
                    copy.truncate(file.size_after)
    return upto


def _integrity(disk: Disk, goes_on: Callable[[], bool]) -> str:
    connection = sqlite3.connect(f"file:{disk.path(COPY_FILE)}?mode=ro&immutable=1", uri=True)
    try:
        connection.set_progress_handler(lambda: not goes_on(), STEPS)
        found = [str(row[0]) for row in connection.execute(f"PRAGMA integrity_check({FINDINGS_MAX})")]
        found += [f"a row of {row[0]} refers to a row that is not there" for row in _orphans(connection)]
        return "; ".join(found[:FINDINGS_MAX]) if found != ["ok"] else "ok"
    except sqlite3.OperationalError as error:
        if not goes_on():
            raise Retired("stopped") from error
        return str(error)
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:  # the second: SQLite quotes a damaged byte
        return str(error)
    finally:
        connection.close()


def _orphans(connection: sqlite3.Connection) -> list[tuple[str]]:
    return connection.execute("PRAGMA foreign_key_check").fetchmany(FINDINGS_MAX)


def digest_objects(disk: Disk, names: Iterable[str] = ()) -> dict[str, tuple[int, str]]:
    """Size and SHA-256 of each object (or of those named, without those that are gone). Blocks: reads them all."""
    found = {}
    for name in names or disk.names(OBJECT_DIRECTORY):
        try:
            file = disk.open(object_file(name))
        except FileNotFoundError:
            continue
        try:
            digest, size = hashlib.sha256(), file.size()
            for at in range(0, size, READ_BYTES):
                digest.update(file.read(min(READ_BYTES, size - at), at))
            found[name] = (size, digest.hexdigest())
        finally:
            file.close()
    return found
