"""What will run when: the forecast of any period."""

from __future__ import annotations

import asyncio
import sqlite3
from datetime import UTC, datetime
from functools import partial

from server.actions import jobs, outlooks
from server.core.model import DAY_US, HOUR_US
from server.core.outlook import Outlook
from server.errors import Invalid
from server.ports.numbers import is_number
from server.storage import forecasts
from server.storage.forecasts import Material
from server.web.api.endpoint import Call, Endpoint

DAYS_MAX = 366
AHEAD_US_MAX = 10 * DAYS_MAX * DAY_US
STEPS_MAX = 500


async def show_forecast(call: Call) -> Outlook:
    """What is due in a period: counted by place and step, and the first lines of it."""
    after_us = _moment(call, "from", call.now_us)
    until_us = _moment(call, "to", after_us + DAY_US)
    if after_us > call.now_us + AHEAD_US_MAX:
        raise Invalid("`from` is more than ten years from now.", field="from")
    if not after_us < until_us <= after_us + DAYS_MAX * DAY_US:
        raise Invalid(f"`to` must be later than `from`, by at most {DAYS_MAX} days.", field="to")
    limit, name = call.limit(), call.query("job")
    step_us = max(HOUR_US, -(-(until_us - after_us) // STEPS_MAX))

    def query(connection: sqlite3.Connection) -> tuple[Material, int]:
        return forecasts.read(connection, after_us, until_us), jobs.find(connection, name).id if name else 0

    found, job_id = await call.read(query)
    return await asyncio.to_thread(partial(outlooks.make, found, after_us, until_us, step_us, limit, job_id))


def _moment(call: Call, name: str, default: int) -> int:
    """An instant as ISO 8601 with a zone, or in microseconds since 1970 UTC."""
    text = call.query(name)
    if not text:
        return default
    if is_number(text):
        return int(text)
    try:
        moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise Invalid(f"{name}={text} is no instant: write it like 2026-12-24T10:00Z.", field=name)
    return int(moment.astimezone(UTC).timestamp()) * 1_000_000


ENDPOINTS = (
    Endpoint(
        "GET", "/api/v1/forecast", show_forecast, "What is due in a period", answer=Outlook,
        query=("from", "to", "job", "limit"),
    ),
)  # fmt: skip
