"""Runs with their jobs, for whoever acts on many. Parts of a change.

A job whose row does not decode keeps no other run from what is to be done: its runs are put aside.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator

import msgspec

from server.actions.quarantine import put_aside
from server.core.model import Job, Run
from server.storage import jobs


def with_jobs(connection: sqlite3.Connection, page: Iterable[Run], now_us: int) -> Iterator[tuple[Run, Job | None]]:
    """The runs of a page with their jobs, None for one that is gone; inside the caller's change."""
    for run in page:
        try:
            yield run, jobs.get(connection, run.job_id)
        except msgspec.MsgspecError as error:
            put_aside(connection, "begin", str(run.number), run.job_id, error, now_us)
