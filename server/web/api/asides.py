"""What the scheduler put aside because of a defect: listed, done again, dismissed."""

from __future__ import annotations

from server.actions import asides
from server.actions.asides import AsideLine
from server.ports.numbers import NUMBER_MAX
from server.web.api.endpoint import AFTER, Answer, Call, Endpoint
from server.web.api.scheduler import Reason


async def list_asides(call: Call) -> list[AsideLine]:
    """The oldest first, above id `after`."""
    after, limit = call.query_number("after", 0, 0, NUMBER_MAX), call.limit()
    return await call.read(lambda connection: asides.page(connection, after, limit))


async def retry(call: Call) -> Answer:
    """Have it done again."""
    return await call.write(asides.retry(call.number("id"), call.by, call.now_us))


async def dismiss(call: Call) -> Answer:
    """Do not do it."""
    return await call.write(asides.dismiss(call.number("id"), call.by, call.now_us, call.body.reason))


ENDPOINTS = (
    Endpoint(
        "GET",
        "/api/v1/scheduler/aside",
        list_asides,
        "What the scheduler put aside because of a defect",
        answer=list[AsideLine],
        query=(AFTER, "limit"),
    ),
    Endpoint("POST", "/api/v1/scheduler/aside/{id}/retry", retry, "Have it done again", answer=AsideLine),
    Endpoint(
        "POST",
        "/api/v1/scheduler/aside/{id}/dismiss",
        dismiss,
        "Do not do what was put aside",
        body=Reason,
        answer=AsideLine,
    ),
)
