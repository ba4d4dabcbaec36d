"""What surrounds every page: where we are, who you are, and what is in force."""

from __future__ import annotations

from dataclasses import dataclass, replace

from server.core.access import may
from server.core.model import Principal

PRODUCT = "Understudy"


@dataclass(frozen=True, slots=True)
class Link:
    """An entry of the navigation."""

    href: str
    word: str
    icon: str


NAVIGATION: tuple[tuple[str, tuple[Link, ...]], ...] = (
    (
        "Work",
        (
            Link("/", "Home", "house"),
            Link("/jobs", "Jobs", "calendar-clock"),
            Link("/workflows", "Workflows", "workflow"),
            Link("/runs", "Runs", "circle-play"),
            Link("/forecast", "Forecast", "clock"),
            Link("/agents", "Agents", "cpu"),
            Link("/groups", "Groups", "layers"),
        ),
    ),
    (
        "Rules",
        (
            Link("/calendars", "Calendars", "list-checks"),
            Link("/monitors", "Event Monitors", "eye"),
            Link("/shared", "Shared Settings", "settings"),
            Link("/notifications", "Notifications", "activity"),
        ),
    ),
    (
        "Server",
        (
            Link("/scheduler", "Job Scheduler", "timer"),
            Link("/maintenance", "Maintenance", "settings"),
            Link("/replication", "Replication", "database"),
            Link("/swap", "Role Swap", "arrow-left-right"),
            Link("/banner", "Messages", "flag"),
            Link("/messages", "System Messages", "mail-warning"),
            Link("/server-history", "Server History", "history"),
            Link("/properties", "Server Properties", "server"),
            Link("/certificates", "Certificates", "key-round"),
            Link("/users", "Users and Sessions", "users"),
            Link("/tenants", "Tenants", "layers"),
            Link("/audit", "Audit", "scroll-text"),
        ),
    ),
    ("Help", (Link("/api/docs", "API", "link"),)),
)


OF_HOST = frozenset({"/replication", "/swap", "/banner", "/properties", "/tenants"})
"""Pages about machines, or about all tenants at once."""


@dataclass(frozen=True, slots=True)
class GateLine:
    """A gate in force, as the top bar says it: what, since when, by whom, why, and the page that ends it.

    `means` says what it means for who works here (CRY-3).
    """

    word: str
    href: str
    icon: str
    set_by: str
    set_at_us: int
    reason: str = ""
    means: str = ""


@dataclass(frozen=True, slots=True)
class Banner:
    """What everybody is told at the top of every page (CRY-4); `body` is Markdown, `href` a page that says more."""

    severity: str
    title: str
    body: str = ""
    href: str = ""


@dataclass(frozen=True, slots=True)
class LoginMessage:
    """What this person has yet to dismiss (CRY-5). `version` is the text's; `next` is where the person was going."""

    severity: str
    title: str
    body: str
    version: int
    next: str = "/"


@dataclass(frozen=True, slots=True)
class Frame:
    """One per request. `role` is master, standby or none; `user` is empty before sign-in.

    `confirm` names the dialog that is to be open without JavaScript; `notice` and `problem` are one sentence each.
    `exports` is the address of this page's list as a file, without `.csv` or `.json` and `filters`; else empty.
    `exports_word` says what is in it.
    `master_address` is the address of the master when that is another node, else empty.
    """

    title: str
    path: str
    now_us: int
    cluster: str
    node: str
    role: str
    user: str = ""
    user_role: str = ""
    tenant: str = ""
    granted: frozenset[str] | None = None
    gates: tuple[GateLine, ...] = ()
    waiting_for: str = ""
    unconfirmed: bool = False
    notice: str = ""
    problem: str = ""
    confirm: str = ""
    master_address: str = ""
    exports: str = ""
    exports_word: str = ""
    filters: str = ""
    banners: tuple[Banner, ...] = ()
    login_message: LoginMessage | None = None

    @property
    def signed_in(self) -> bool:
        """Whether the navigation is shown."""
        return bool(self.user) and self.role == "master"

    @property
    def navigation(self) -> tuple[tuple[str, tuple[Link, ...]], ...]:
        """The pages that exist, by heading; of those that concern the host alone nothing for a tenant."""
        if not self.tenant:
            return NAVIGATION
        return tuple(
            (heading, tuple(link for link in links if link.href not in OF_HOST)) for heading, links in NAVIGATION
        )

    def may(self, permission: str) -> bool:
        """Whether this person has a permission of `core.access`; nobody has one before sign-in."""
        by = Principal(self.user, self.user_role, tenant=self.tenant, granted=self.granted)
        return bool(self.user) and may(by, permission)

    def with_title(self, title: str) -> Frame:
        """The same frame for another title."""
        return replace(self, title=title)

    def with_problem(self, problem: str) -> Frame:
        """The same frame with what went wrong, in one sentence."""
        return replace(self, problem=problem)
