"""Server History and system messages."""

from __future__ import annotations

from typing import Any

import msgspec

from server.actions import history, messages
from server.core.model import ServerHistoryEntry, SystemMessage
from server.ports.numbers import NUMBER_MAX, Whole
from server.storage import server_history, system_messages
from server.web.api.endpoint import AFTER, Answer, Call, Endpoint, shape


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


class UpTo(msgspec.Struct, frozen=True):
    """All messages up to this id, of a severity or, with "", of all."""

    up_to: Whole
    severity: str = ""
    reason: str = ""


async def list_history(call: Call) -> list[HistoryLine]:
    """Server History, newest first, below `after`; of outputs the beginning. `open=1`: what is not adopted yet."""
    after, limit = call.query_number("after", 0, 0, NUMBER_MAX) or None, call.limit()
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


async def list_messages(call: Call) -> list[SystemMessage]:
    """System messages, newest first, below `after`; `open=1`: what nobody acknowledged, `match`: a part of the text."""
    after, limit = call.query_number("after", 0, 0, NUMBER_MAX) or None, call.limit()
    only_open, severity, match = call.query("open") == "1", call.query("severity"), call.query("match")
    return await call.read(lambda c: system_messages.page(c, after, limit, only_open, severity, match))


async def acknowledge_all(call: Call) -> Answer:
    """Say that all messages up to one were read; what came later is not."""
    body = call.body
    change = messages.acknowledge_all(body.up_to, body.severity, call.by, call.now_us, body.reason)
    return await call.write(change, lambda count: {"acknowledged": count})


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
        query=(AFTER, "limit", "match", "open"),
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
        "/api/v1/messages",
        list_messages,
        "System messages",
        answer=list[SystemMessage],
        query=(AFTER, "limit", "open", "severity", "match"),
    ),
    Endpoint(
        "POST",
        "/api/v1/messages/acknowledge",
        acknowledge_all,
        "All messages were read",
        answer=shape(acknowledged=int),
        body=UpTo,
    ),
    Endpoint(
        "POST",
        "/api/v1/messages/{id}/acknowledge",
        acknowledge,
        "A message was read",
        answer=shape(id=int, acknowledged=bool),
    ),
)
