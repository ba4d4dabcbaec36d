"""A job whose agents have not heard of everything, and the form for one occurrence."""

from __future__ import annotations

from server.storage.exceptions import ExceptionLine
from server.storage.orders import OrderLine
from server.web.pages.exceptions import EMPTY, ExceptionFormPage, JobOrders, OrderView
from server.web.pages.job_schedules import instants_of, lines_of
from server.web.pages.jobs import JobPage
from tests.storybook.fixture import DAY_US, HOUR_US, MINUTE_US, NOW_US, Story, frame
from tests.storybook.home import FAILED
from tests.storybook.work import WHEN, job

NEXT_US = instants_of(WHEN, NOW_US, 4)


def order(agent: str, state: str, version: int, acknowledged: int, connected: bool) -> OrderView:
    """An order of the nightly archive."""
    line = OrderLine(
        id=3,
        schedule_id=3,
        cron="30 1 * * *",
        zone="Europe/Berlin",
        agent_id=f"{agent}-id",
        agent=agent,
        state=state,
        version=version,
        acknowledged_version=acknowledged,
        acknowledged_until_us=NOW_US + 5 * DAY_US if acknowledged else 0,
        valid_until_us=NOW_US + 5 * DAY_US,
    )
    return OrderView(line, connected)


def exception(number: int, instant_us: int, **more: object) -> ExceptionLine:
    """One occurrence that differs."""
    values: dict[str, object] = {
        "skipped": False, "moved_to_us": None, "command": None, "reason": "", "run": None, "run_state": None,
        "cause": None, "resolution": None,
    }  # fmt: skip
    return ExceptionLine(
        id=number, schedule_id=3, cron="30 1 * * *", zone="Europe/Berlin", instant_us=instant_us,
        created_by="operator", created_at_us=NOW_US - HOUR_US, **(values | more),  # type: ignore[arg-type]  # as they are
    )  # fmt: skip


EXCEPTIONS = (
    exception(1, NOW_US - 4 * HOUR_US, command="tar --full", run=9120, run_state="succeeded"),
    exception(2, NEXT_US[0].due_us, skipped=True, reason="the archive is being moved"),
    exception(3, NEXT_US[1].due_us, moved_to_us=NEXT_US[1].due_us + 90 * MINUTE_US),
)


def _page(told: JobOrders) -> JobPage:
    at = frame("nightly-archive", "/jobs")
    instants = instants_of(WHEN, NOW_US, 5, told.exceptions)
    return JobPage(at, job(), "dock-1", lines_of(WHEN, {}), instants, FAILED[:1], "0011223344556677", told=told)


def stories() -> list[Story]:
    """All of them."""
    at = frame("One occurrence", "/jobs")
    wrong = frame("One occurrence", "/jobs", problem="Write the time as 2026-11-23 02:30, in the zone Europe/Berlin.")
    values = {**EMPTY, "to": "2026-10-26 01:30:00", "command": job().command}
    errors = {"to": "Write the time as 2026-11-23 02:30, in the zone Europe/Berlin."}
    away = (order("dock-1", "active", 6, 5, False),)
    moving = (order("dock-1", "releasing", 7, 6, False), order("dock-2", "active", 1, 0, True))
    form = (job(), WHEN[0], NEXT_US[0].due_us)
    return [
        Story("job-exceptions", _page(JobOrders(away, EXCEPTIONS))),
        Story("job-moving", _page(JobOrders(moving))),
        Story("job-exception-new", ExceptionFormPage(at, *form, values)),
        Story("job-exception-wrong", ExceptionFormPage(wrong, *form, {**values, "to": "tomorrow"}, errors)),
    ]
