"""Server History, the audit history and system messages."""

from __future__ import annotations

from typing import Any

import msgspec

from server.actions import messages
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


async def list_history(call: Call) -> list[HistoryLine]:
    """Server History, newest first, below `after`."""
    after, limit = call.query_number("after", 0, 1, 2**62) or None, call.limit()
    found = await call.read(lambda connection: server_history.page(connection, after, limit))
    return [_line(entry) for entry in found]


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
        query=("after", "limit"),
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
