"""Banner and login message: the page that sets them, and how they look on others."""

from __future__ import annotations

import msgspec

from server.core.announcements import BANNER, LOGIN_MESSAGE, Announcement
from server.core.maintenance_windows import Window
from server.web.frame import Banner, LoginMessage
from server.web.pages.announcements import (
    AnnouncementForm,
    AnnouncementsPage,
    Fields,
    LoginMessagePage,
    form_of,
    values_of,
)
from server.web.pages.maintenance_windows import EMPTY, WindowsPage
from server.web.pages.sign_in import SignInPage
from tests.storybook.fixture import DAY_US, HOUR_US, MINUTE_US, NOW_US, STOPPED, Story, changed, frame

BODY = (
    "The storage is exchanged **tonight from 22:00 to 23:00**. Runs that are due wait.\n\n"
    "- Ask the [operators](https://wiki.example/storage) what is affected\n- Do not start `copy-archive` by hand"
)
SHOWN = Announcement(
    kind=BANNER, title="Storage is exchanged tonight", body=BODY, severity="warning", is_on=True, version=3,
    start_us=NOW_US - HOUR_US, expiry_us=NOW_US + DAY_US, changed_by="admin", changed_at_us=NOW_US - 20 * MINUTE_US,
)  # fmt: skip
LOGIN = Announcement(
    kind=LOGIN_MESSAGE, title="New rules for passwords", body="From Monday they have *14 characters*.",
    audience=("user",), version=1, changed_by="admin", changed_at_us=NOW_US - DAY_US,
)  # fmt: skip
BANNER_LINE = Banner("warning", SHOWN.title, BODY)
MESSAGE = LoginMessage("info", LOGIN.title, LOGIN.body + "\n\n1. Change yours\n2. Sign in again", 1, "/jobs")


def window(number: int, state: str, **more: object) -> Window:
    """A window that begins in ten minutes."""
    base = Window(
        id=number, title="Storage", scope="", expression="", zone="UTC", duration_us=HOUR_US, lead_us=HOUR_US,
        start_us=NOW_US + 10 * MINUTE_US, end_us=NOW_US + 70 * MINUTE_US, state=state, created_by="admin",
        created_at_us=NOW_US - DAY_US,
    )  # fmt: skip
    return msgspec.structs.replace(base, **more)


WINDOWS = (
    window(1, "open", title="", scope="agent:dock-3", said="begun", said_at_us=NOW_US - MINUTE_US),
    window(2, "planned", expression="0 22 * * 7", zone="Europe/Berlin"),
    window(3, "over", said="nobody was master in its time: it did not begin", said_at_us=NOW_US - DAY_US),
)


def window_stories() -> list[Story]:
    """What is planned, nothing planned, and what is wrong."""
    here = frame("Planned maintenance", "/maintenance")
    ahead = Banner("warning", "Maintenance from 2026-10-25 01:13 to 02:13 UTC: Storage", "What falls due then waits.")
    wrong = {"start": "It would be over already."}
    return [
        Story("windows", WindowsPage(changed(here, banners=(ahead,)), WINDOWS)),
        Story("windows-wrong", WindowsPage(here.with_problem(wrong["start"]), (), EMPTY, wrong)),
    ]


def stories() -> list[Story]:
    """Nothing set, both set, a preview, wrong; a banner over sign-in; the login message as page and as dialog."""
    here = frame("Messages", "/banner")
    none = tuple(form_of(Announcement(kind=kind), NOW_US) for kind in (BANNER, LOGIN_MESSAGE))
    both = (form_of(SHOWN, NOW_US), form_of(LOGIN, NOW_US, 12))
    preview = changed(both[1], preview=Banner("danger", "Disk almost full", "Delete what you do not need, **today**."))
    wrong = AnnouncementForm(
        BANNER, "banner", SHOWN, Fields(values_of(SHOWN), {"title": ""}), True,
        Fields({"title": "A title is one line of 1 to 200 characters.", "expiry": "It would end before it starts."}),
    )  # fmt: skip
    signed_out = frame("Sign in", "/login", user="", user_role="", banners=(BANNER_LINE,))
    all_three = tuple(Banner(tone, f"A banner: {tone}", "One *line*.") for tone in ("info", "warning", "danger"))
    return [
        *window_stories(),
        Story("announcements-none", AnnouncementsPage(here, none)),
        Story("announcements", AnnouncementsPage(changed(here, banners=(BANNER_LINE,)), both)),
        Story("announcements-preview", AnnouncementsPage(here, (both[0], preview))),
        Story("announcements-wrong", AnnouncementsPage(here, (wrong, both[1]))),
        Story("announcements-tones", AnnouncementsPage(changed(here, banners=all_three, gates=(STOPPED,)), none)),
        Story("sign-in-banner", SignInPage(signed_out)),
        Story("login-message", LoginMessagePage(frame("Message", "/login-message"), MESSAGE)),
        Story("login-message-dialog", AnnouncementsPage(changed(here, login_message=MESSAGE), both)),
    ]
