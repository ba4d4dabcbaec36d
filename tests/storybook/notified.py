"""Notifications, and jobs with job monitors: lists and log, nothing yet, what was typed wrong, what was found."""

from __future__ import annotations

from server.core.exit_rules import ExitRules
from server.core.job_monitors import JobMonitors, read_named
from server.core.monitor_watches import Trip
from server.core.notifications import Delivery, NotificationList, Smtp
from server.core.retry import RetryRule
from server.web.api.notifications import HostsInForce
from server.web.pages.jobs import JobFormPage, JobPage, values_of
from server.web.pages.notifications import EMPTY, SMTP, NotificationsPage, smtp_values_of
from server.web.pages.notifications import values_of as list_values_of
from tests.storybook.fixture import DAY_US, MINUTE_US, NOW_US, Story, frame
from tests.storybook.work import job

OPS = NotificationList(
    name="ops",
    emails=["ops@example.net"],
    webhooks=["https://chat.example.net/hooks/understudy"],
    traps=["nms.example.net:162"],
    alarms=True,
    description="Whoever is on duty",
    updated_at_us=NOW_US - 3 * DAY_US,
    updated_by="admin",
)
NIGHT = NotificationList(
    name="night", emails=["night@example.net"], webhooks=[], traps=[], alarms=False, description="",
    updated_at_us=NOW_US - 40 * MINUTE_US, updated_by="admin",
)  # fmt: skip
SERVER = Smtp(host="mail.example.net", sender="understudy@example.net", user="understudy")


def _delivery(number: int, kind: str, address: str, subject: str, text: str, state: str, error: str = "") -> Delivery:
    return Delivery(
        id=number,
        list="ops",
        kind=kind,
        address=address,
        what="job monitor",
        key=str(number),
        subject=subject,
        text=text,
        created_at_us=NOW_US - number * MINUTE_US,
        state=state,
        attempts=3 if error else 1,
        next_us=NOW_US + MINUTE_US,
        error=error,
        ended_at_us=None if state == "waiting" else NOW_US - (number - 1) * MINUTE_US,
    )


LOG = (
    _delivery(2, "mail", "ops@example.net", "nightly-archive: overrun", "run 41 takes longer than 1 h", "sent"),
    _delivery(
        3, "webhook", "https://chat.example.net/hooks/understudy", "fetch-tariffs: failed",
        "Run 40 of fetch-tariffs is failed: exit code 7, attempt 3. It is not tried again.", "waiting",
        "it answered 503",
    ),
    _delivery(
        9, "mail", "old@example.net", "Understudy: alarm", "alpha works alone in epoch 7", "given up",
        "mail.example.net:587: the mailbox does not exist",
    ),
)  # fmt: skip
TRIPS = (
    Trip(
        id=2, monitor_id=2, run_key="j3.s1.20260101T000000Z.a1", job_id=3, kind="overrun", run=41,
        at_us=NOW_US - 5 * MINUTE_US, text="run 41 of nightly-archive takes longer than 1 h",
    ),
    Trip(
        id=1, monitor_id=1, run_key="j3.s1.20260101T000000Z.a1", job_id=3, kind="late start", run=None,
        at_us=NOW_US - DAY_US,
        text="a run of nightly-archive has not begun 10 min after its due time: dock-1 is silent and may have begun it",
    ),
)  # fmt: skip


ALLOWED = HostsInForce(
    ("mail.example.net", "*.chat.example.net", "192.0.2.0/28"), ("list night shift: hooks.elsewhere.example",)
)


def _rules() -> dict[str, object]:
    return {
        "retry": RetryRule(attempts_max=3, delay_s=60, exit_codes=[75]),
        "exit_rules": ExitRules(success_codes=(0, 3), failure_pattern="(?i)^error"),
        "job_monitors": JobMonitors(
            late_start_s=600,
            overrun_s=3600,
            complete_by="06:30",
            zone="Europe/Berlin",
            underrun_s=5,
            notify=["ops"],
            more=[read_named("slow overrun 7200"), read_named("early complete-by 05:00 Europe/Berlin")],
        ),
    }


def stories() -> list[Story]:
    """Pages of notifications and job monitors."""
    at, jobs = frame("Notifications", "/notifications"), frame("nightly-archive", "/jobs")
    once = "0011223344556677"
    wrong = frame("Notifications", "/notifications", problem="It is not right. Correct it and try again.")
    typed = {**EMPTY, "name": "night shift", "emails": "nobody", "traps": "nms"}
    errors = {"name": "must begin with a letter or digit", "emails": "'nobody' is no e-mail address"}
    monitored = job(**_rules())
    names = ("dock-1", "dock-2")
    return [
        Story(
            "notifications",
            NotificationsPage(at, (OPS, NIGHT), LOG, SERVER, once, smtp_values=smtp_values_of(SERVER), allowed=ALLOWED),
        ),
        Story("notifications-empty", NotificationsPage(at, (), (), None, once)),
        Story("notifications-change", NotificationsPage(at, (OPS,), LOG, SERVER, once, list_values_of(OPS))),
        Story("notifications-wrong", NotificationsPage(wrong, (OPS,), LOG, None, once, typed, errors, SMTP)),
        Story("job-watched", JobPage(jobs, monitored, "dock-1", (), (), (), once, trips=TRIPS)),
        Story("job-rules", JobFormPage(jobs, 3, "nightly-archive", names, values_of(monitored, "dock-1", [], {}))),
    ]
