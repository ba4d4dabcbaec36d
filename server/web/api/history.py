"""Server History, the audit history and system messages."""

from __future__ import annotations

from typing import Any

import msgspec

from server.actions import history, messages
from server.actions.change import require
from server.core.model import AuditEntry, ServerHistoryEntry, SystemMessage
from server.storage import audit, server_history, system_messages
from server.web.api.endpoint import Answer, Call, Endpoint


class HistoryLine(msgspec.Struct, frozen=True):
    """SKY-11: a completion that no known run matches."""

    id: int
    run_key: str
    agent_id: str
    job_name: str
    started_at_us: int | None
    ended_at_us: int | None
    exit_code: int | None
    signal: int | None
    output: str
    why: str
    recorded_at_us: int
    adopted_run: str
    adopted_by: str
    from_fork: str
    state: str = ""
    command: str = ""
    output_cut: bool = False


class Adopt(msgspec.Struct, frozen=True):
    """The job that the run shall belong to, "" for the one that its name or key means, and why."""

    job: str = ""
    reason: str = ""


async def list_history(call: Call) -> list[HistoryLine]:
    """Server History, newest first, below `after`; of outputs the beginning. `open=1`: what is not adopted yet."""
    after, limit = call.query_number("after", 0, 1, 2**62) or None, call.limit()
    match, only_open = call.query("match"), call.query("open") == "1"
    found = await call.read(lambda connection: server_history.page(connection, after, limit, match, only_open))
    return [_line(entry) for entry in found]


async def show_history(call: Call) -> HistoryLine:
    """One entry, with all of its output that is kept."""
    number = call.number("id")
    return _line(await call.read(lambda connection: history.find(connection, number)))


async def adopt(call: Call) -> Answer:
    """Put an entry into Job History as a run of a job here. It is not run by that, and twice is once."""
    change = history.adopt(call.number("id"), call.body.job, call.by, call.now_us, call.body.reason)
    return await call.write(change)


def _line(entry: ServerHistoryEntry) -> HistoryLine:
    values: dict[str, Any] = msgspec.structs.asdict(entry)
    return HistoryLine(**values | {"output": entry.output.decode(errors="replace")})


async def list_audit(call: Call) -> list[AuditEntry]:
    """Who did what, newest first, below `after`; `match` is a part of who, action or object."""
    require(call.by, "audit.read")
    after, match, limit = call.query_number("after", 0, 1, 2**62) or None, call.query("match"), call.limit()
    return await call.read(lambda connection: audit.page(connection, after, limit, match))


async def list_messages(call: Call) -> list[SystemMessage]:
    """System messages, newest first, below `after`."""
    after, limit = call.query_number("after", 0, 1, 2**62) or None, call.limit()
    return await call.read(lambda connection: system_messages.page(connection, after, limit))


async def acknowledge(call: Call) -> Answer:
    """Say that a system message was read."""
    number = call.number("id")
    change = messages.acknowledge(number, call.by, call.now_us)
    return await call.write(change, lambda _: {"id": number, "acknowledged": True})


ENDPOINTS = (
    Endpoint(
        "GET",
        "/api/v1/server-history",
        list_history,
        "Completions that no run matches",
        answer=list[HistoryLine],
        query=("after", "limit", "match", "open"),
    ),
    Endpoint("GET", "/api/v1/server-history/{id}", show_history, "One entry with its output", answer=HistoryLine),
    Endpoint(
        "POST",
        "/api/v1/server-history/{id}/adopt",
        adopt,
        "Put an entry into Job History",
        body=Adopt,
        answer=history.Adopted,
    ),
    Endpoint(
        "GET",
        "/api/v1/audit",
        list_audit,
        "Who did what",
        answer=list[AuditEntry],
        query=("after", "limit", "match"),
    ),
    Endpoint(
        "GET",
        "/api/v1/messages",
        list_messages,
        "System messages",
        answer=list[SystemMessage],
        query=("after", "limit"),
    ),
    Endpoint("POST", "/api/v1/messages/{id}/acknowledge", acknowledge, "A message was read"),
)
