"""What administrators tell people: the banner on every page (CRY-4) and the message after sign-in (CRY-5). Pure.

Independent of maintenance and of each other (CRY-6). Both are one row each; a text is Markdown (`markdown_subset`).
"""

from __future__ import annotations

from collections.abc import Collection
from typing import ClassVar

import msgspec

from server.core.model import Row

BANNER = "banner"
LOGIN_MESSAGE = "login_message"
KINDS = (BANNER, LOGIN_MESSAGE)
WORDS = {BANNER: "banner", LOGIN_MESSAGE: "login message"}
SEVERITIES = ("info", "warning", "danger")
TITLE_MAX = 200
BODY_MAX = 4000


class AnnouncementSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What people may set. Shown from `start_us` (at once without) until before `expiry_us` (for ever without).

    `audience` are names of roles, none: everybody. `before_sign_in`: also to who is not signed in, on the sign-in page
    and on the standby's own page; only of a banner for everybody.
    """

    title: str = ""
    body: str = ""
    severity: str = "info"
    audience: tuple[str, ...] = ()
    before_sign_in: bool = True
    start_us: int | None = None
    expiry_us: int | None = None

    def wrong(self, roles: Collection[str]) -> dict[str, str]:
        """What is wrong, by field; `roles` are the roles that there are."""
        found = {}
        if not self.title.strip() or len(self.title) > TITLE_MAX or not self.title.isprintable():
            found["title"] = f"A title is one line of 1 to {TITLE_MAX} characters."
        if len(self.body) > BODY_MAX:
            found["body"] = f"A text has at most {BODY_MAX:,} characters; this one has {len(self.body):,}."
        if self.severity not in SEVERITIES:
            found["severity"] = f"{self.severity} is no severity: {', '.join(SEVERITIES)}."
        unknown = [role for role in self.audience if role not in roles]
        if unknown:
            found["audience"] = f"There is no role {unknown[0]}. There are: {', '.join(roles)}."
        if self.start_us is not None and self.expiry_us is not None and self.expiry_us <= self.start_us:
            found["expiry_us"] = "It would end before it starts."
        return found


class Announcement(Row, frozen=True, kw_only=True):
    """A row. `version` counts the texts: it is raised by a change of title or body. 0: nothing was ever set."""

    JSON: ClassVar[frozenset[str]] = frozenset({"audience"})
    kind: str
    title: str = ""
    body: str = ""
    severity: str = "info"
    audience: tuple[str, ...] = ()
    before_sign_in: bool = True
    is_on: bool = False
    start_us: int | None = None
    expiry_us: int | None = None
    version: int = 0
    changed_by: str = ""
    changed_at_us: int = 0

    def is_due(self, now_us: int) -> bool:
        """Whether it is switched on and within its times."""
        begun = self.start_us is None or self.start_us <= now_us
        return self.is_on and begun and (self.expiry_us is None or now_us < self.expiry_us)

    def is_shown(self, now_us: int, role: str = "") -> bool:
        """Whether somebody of `role` ("": not signed in) sees it now."""
        if not self.is_due(now_us):
            return False
        if not role:
            return self.before_sign_in and not self.audience
        return not self.audience or role in self.audience


def next_version(before: Announcement, spec: AnnouncementSpec) -> int:
    """The version of the text of `spec`: another one when title or body differ."""
    same = before.version and (before.title, before.body) == (spec.title, spec.body)
    return before.version if same else before.version + 1
