"""Role swap: check, start, watch, abort.

The row is written here; `server/office/swap.py` reads it and drives the swap.
"""

from __future__ import annotations

from typing import Any

import msgspec

from server.actions import swap
from server.core.model import Swap
from server.core.swap_plan import SwapCheck
from server.errors import Conflict
from server.storage import swaps
from server.web.api.endpoint import Answer, Call, Endpoint, shape


class SwapRequest(msgspec.Struct, frozen=True):
    """`to` is a node's id or name, "" for the standby; `yes` accepts what the check lists as acceptable."""

    to: str = ""
    timeout_s: float = 60.0
    yes: bool = False
    reason: str = ""


class Reason(msgspec.Struct, frozen=True):
    """Why, for the audit history."""

    reason: str = ""


class SwapView(msgspec.Struct, frozen=True):
    """The running swap, or the last one; and the newest before it."""

    swap: Swap | None
    history: list[Swap]


async def check(call: Call) -> Any:
    """Whether a swap would be safe now, each reason, and what would be lost. Changes nothing."""
    guide = call.site.guide()
    return await guide.check(call.query("to"))


async def start(call: Call) -> Answer:
    """Begin a planned swap; refused when the check says not safe and `yes` does not accept it."""
    body = call.body
    guide = call.site.guide()
    change = await guide.begin(body.to, body.timeout_s, body.yes, call.by, call.now_us)
    return await call.write(change, lambda row: {"id": row.id, "state": row.state, "to": row.to_node}, 202)


async def show(call: Call) -> SwapView:
    """The running swap with its steps, or the last one."""
    limit = call.limit()
    found = await call.read(lambda connection: swaps.page(connection, None, limit))
    return SwapView(found[0] if found else None, found)


async def abort(call: Call) -> dict[str, Any]:
    """Ask the running swap to go back; possible until the point of no return. It waits for this node alone."""
    change = swap.request_abort(call.by, call.now_us, call.body.reason)
    row, _ = await call.site.store().write_ungated(change)
    if row.state != "running":
        raise Conflict(f"Swap {row.id} is {row.state} already.")
    return {"id": row.id, "abort_requested_by": row.abort_requested_by}


ENDPOINTS = (
    Endpoint("GET", "/api/v1/swap/check", check, "Would a swap be safe now", answer=SwapCheck, query=("to",)),
    Endpoint(
        "POST",
        "/api/v1/swap",
        start,
        "Swap roles",
        answer=shape(id=int, state=str, to=str),
        body=SwapRequest,
        status=202,
    ),
    Endpoint("GET", "/api/v1/swap", show, "The swap that runs, or the last", answer=SwapView, query=("limit",)),
    Endpoint(
        "POST",
        "/api/v1/swap/abort",
        abort,
        "Abort the running swap",
        answer=shape(id=int, abort_requested_by=str),
        body=Reason,
    ),
)
