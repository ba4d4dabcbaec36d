"""The ledger of what did not start: listed, run now or dismissed, one or all that a filter names (SKY-12, BEY-9)."""

from __future__ import annotations

import sqlite3
from typing import Any

import msgspec

from server.actions import jobs, missed
from server.actions.missed import Resolved, Which
from server.ports.numbers import NUMBER_MAX, Whole
from server.storage import missed as rows
from server.storage.missed import MissedLine
from server.web.api.endpoint import AFTER, Answer, Call, Endpoint, shape
from server.web.api.runs import Reason, Started, started


class Chosen(msgspec.Struct, frozen=True):
    """Which open rows: of a job, by name, and of a cause as the list says it; without either all.

    `after`: those with ids above it. `reason`: why, for the audit history.
    """

    job: str = ""
    cause: str = ""
    after: Whole = 0
    reason: str = ""

    def which(self) -> Which:
        """The same for the action."""
        return Which(job=self.job, cause=self.cause, after=self.after)


async def list_missed(call: Call) -> list[MissedLine]:
    """Newest first, below id `after`; of one job or cause; `all=1` with what is resolved."""
    after, limit, job = call.query_number("after", 0, 0, NUMBER_MAX) or None, call.limit(), call.query("job")
    only_open, cause = call.query("all") != "1", call.query("cause")

    def query(connection: sqlite3.Connection) -> list[MissedLine]:
        job_id = jobs.find(connection, job).id if job else 0
        return rows.page(connection, after, limit, only_open, job_id, cause)

    return await call.read(query)


async def run_one(call: Call) -> Answer:
    """Run a missed occurrence now."""
    return await call.write(missed.run(call.number("id"), call.by, call.now_us), started, 202)


async def dismiss_one(call: Call) -> Answer:
    """Close a missed occurrence without a run."""
    number = call.number("id")
    change = missed.dismiss(number, call.by, call.now_us, call.body.reason)
    return await call.write(change, lambda _: {"id": number, "dismissed": True})


async def run_all(call: Call) -> Answer:
    """Run missed occurrences, a batch at a time."""
    return await call.write(missed.run_all(call.by, call.now_us, call.body.which()))


async def dismiss_all(call: Call) -> Answer:
    """Dismiss missed occurrences, a batch at a time."""
    return await call.write(missed.dismiss_all(call.by, call.now_us, call.body.reason, call.body.which()))


def _post(path: str, handle: Any, summary: str, body: Any, answer: Any, status: int = 200) -> Endpoint:
    return Endpoint("POST", f"/api/v1/missed/{path}", handle, summary, body=body, answer=answer, status=status)


ENDPOINTS = (
    Endpoint(
        "GET",
        "/api/v1/missed",
        list_missed,
        "What did not start",
        answer=list[MissedLine],
        query=(AFTER, "limit", "all", "job", "cause"),
    ),
    _post("run", run_all, "Run missed occurrences", Chosen, Resolved),
    _post("dismiss", dismiss_all, "Dismiss missed occurrences", Chosen, Resolved),
    _post("{id}/run", run_one, "Run a missed occurrence", None, Started, 202),
    _post("{id}/dismiss", dismiss_one, "Dismiss a missed occurrence", Reason, shape(id=int, dismissed=bool)),
)
