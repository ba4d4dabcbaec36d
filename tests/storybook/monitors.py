"""Event monitors in their states, and the events of one."""

from __future__ import annotations

import msgspec

from server.core.monitors import Settings
from server.storage.events import EventLine
from server.storage.monitors import MonitorLine
from server.web.pages.monitors import EMPTY, MonitorFormPage, MonitorPage, MonitorsPage, values_of, view
from tests.storybook.fixture import DAY_US, HOUR_US, MINUTE_US, NOW_US, Story, frame

ONCE = "0011223344556677"
INVOICES = Settings(path="/srv/in/invoices/*.pdf", on=["created", "steady"], steady_s=30)


def line(number: int, name: str, kind: str = "file", **more: object) -> MonitorLine:
    """A row of the list."""
    base = MonitorLine(
        id=number,
        name=name,
        agent_id="dock-1-id",
        agent="dock-1",
        kind=kind,
        settings=INVOICES,
        enabled=True,
        description="",
        version=3,
        acknowledged_version=3,
        problem="",
        jobs="import-invoice",
        last_event=90,
        last_at_us=NOW_US - 4 * MINUTE_US,
    )
    return msgspec.structs.replace(base, **more)


def event(number: int, at_us: int, what: str, runs: list[tuple[int, str, str, str]], **variables: str) -> EventLine:
    """A row of the history."""
    return EventLine(
        id=number,
        monitor_id=1,
        monitor="invoices",
        token=str(number),
        what=what,
        at_us=at_us,
        variables={"MONITOR": "invoices", "KIND": "file", "WHAT": what} | variables,
        fired_by="",
        recorded_at_us=at_us,
        runs=runs,
    )


FULL = "More than 10000 files match: nothing is watched. Use a narrower pattern."
LINES = (
    line(4, "backup-done", "process", settings=Settings(pid_file="/run/backup.pid", on=["ended"]), agent="warehouse"),
    line(1, "invoices", description="Scans of the post room"),
    line(5, "labels", acknowledged_version=2, last_at_us=NOW_US - DAY_US),
    line(6, "old-scanner", acknowledged_version=0, last_event=None, last_at_us=None),
    line(3, "outbox-full", "directory", settings=Settings(path="/srv/out", on=["count"], at_least=500), enabled=False),
    line(7, "photos", problem=FULL),
    line(2, "released", "manual", settings=Settings(), jobs="publish, tell", last_event=None, last_at_us=None),
)
EVENTS = (
    event(9, NOW_US - 4 * MINUTE_US, "steady", [(9131, "import-invoice", "running", "")],
          PATH="/srv/in/invoices/2026-10-25 Müller.pdf", SIZE="184211"),
    event(8, NOW_US - 5 * MINUTE_US, "created", [(9130, "tell-customers", "waiting", "no agent")],
          PATH="/srv/in/invoices/2026-10-25 Müller.pdf", SIZE="0"),
    event(7, NOW_US - HOUR_US, "steady", [(9092, "import-invoice", "missed", "scheduler stopped")],
          PATH="/srv/in/invoices/very/long/name/of/a/file/that/does/not/fit/into/one/line/0001.pdf", SIZE="9"),
    event(6, NOW_US - 2 * HOUR_US, "steady", [], PATH="/srv/in/invoices/a.pdf", SIZE="21984211"),
)  # fmt: skip
FIRED = (
    msgspec.structs.replace(
        event(12, NOW_US - MINUTE_US, "manual", [(9140, "publish", "succeeded", "")], KIND="manual", CITY="Bonn"),
        fired_by="operator",
    ),
    event(11, NOW_US - HOUR_US, "manual", [(9120, "publish", "failed", "")], KIND="manual", SIZE="XL"),
)


def stories() -> list[Story]:
    """The list, one monitor in four states, and the form."""
    seen = tuple(view(one, one.name != "old-scanner") for one in LINES)
    by_name = {one.line.name: one for one in seen}
    jobs = ((3, "import-invoice", True), (4, "tell-customers", False))
    wrong = {**EMPTY, "name": "in voices", "path": "srv/in", "steady_s": "30"}
    errors = {"name": "must begin with a letter or digit", "path": "must be an absolute path", "on": "choose one"}
    names = ("dock-1", "dock-2")

    def page(name: str, found: tuple[EventLine, ...] = ()) -> MonitorPage:
        return MonitorPage(frame(name, "/monitors"), by_name[name], jobs, found, ONCE, 6 if found else None)

    form = frame("Change a monitor", "/monitors")
    fresh = {**EMPTY, "agent": "dock-1"}
    changed = values_of(LINES[1])
    return [
        Story("monitors", MonitorsPage(frame("Event Monitors", "/monitors"), seen)),
        Story("monitors-empty", MonitorsPage(frame("Event Monitors", "/monitors"), ())),
        Story("monitor", page("invoices", EVENTS)),
        Story("monitor-manual", page("released")),
        Story("monitor-fired", page("released", FIRED)),
        Story("monitor-problem", page("photos")),
        Story("monitor-old-agent", page("old-scanner")),
        Story("monitor-new", MonitorFormPage(frame("New monitor", "/monitors"), 0, "", names, fresh)),
        Story("monitor-change", MonitorFormPage(form, 1, "invoices", names, changed, frozenset({"file-created"}))),
        Story("monitor-wrong", MonitorFormPage(form, 0, "", names, wrong, frozenset(), errors)),
    ]
