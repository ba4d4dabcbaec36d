"""The banner and the login message: rule, rows, actions, API, commands and pages (CRY-4, CRY-5)."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from server.actions import announcements as actions
from server.actions import sessions, users
from server.core.announcements import BANNER, LOGIN_MESSAGE, Announcement, AnnouncementSpec
from server.core.model import SYSTEM, Principal
from server.errors import Conflict, Forbidden, Invalid, NotFound
from server.storage import announcements as rows
from tests.unit.ledger import START_US, Ledger
from tests.unit.web_desk import open_desk

PHC = "$argon2id$v=19$first"
ADMIN = Principal("root", "administrator", "192.0.2.9")
BOB = Principal("bob", "user", "192.0.2.1")


@pytest.fixture
def ledger() -> Ledger:
    """Two users, both signed in."""
    made = Ledger()
    for name, role in (("root", "administrator"), ("bob", "user")):
        made.do(users.create(name, PHC, role, SYSTEM, START_US))
        made.do(sessions.create(name, PHC, f"session-{name}", Principal(name, role), START_US, "browser"))
    return made


def unread(ledger: Ledger, name: str = "bob", role: str = "user", now_us: int = START_US) -> str | None:
    found = rows.unread(ledger.connection, f"session-{name}", role, now_us)
    return found.title if found else None


def say(ledger: Ledger, kind: str, title: str, now_us: int = START_US, **more: object) -> Announcement:
    spec = msgspec.structs.replace(AnnouncementSpec(title=title), **more)
    return ledger.do(actions.put(kind, spec, ADMIN, now_us))


@pytest.mark.parametrize(
    ("changes", "role", "seen"),
    [
        ({}, "user", True),
        ({}, "", True),
        ({"before_sign_in": False}, "", False),
        ({"audience": ("operator",)}, "operator", True),
        ({"audience": ("operator",)}, "user", False),
        ({"audience": ("operator",)}, "", False),
        ({"is_on": False}, "user", False),
        ({"start_us": 11}, "user", False),
        ({"start_us": 10}, "user", True),
        ({"expiry_us": 10}, "user", False),
        ({"expiry_us": 11}, "user", True),
    ],
)
def test_who_sees_it_when(changes: dict[str, object], role: str, seen: bool) -> None:
    """On, within its times, for its roles; before sign-in only what is for everybody and says so."""
    shown = msgspec.structs.replace(Announcement(kind=BANNER, title="t", is_on=True, version=1), **changes)
    assert shown.is_shown(10, role) is seen


def test_what_is_wrong_is_named_by_field(ledger: Ledger) -> None:
    """Title, text, severity, role and times are checked, and all that is wrong is said at once."""
    spec = AnnouncementSpec(
        title="two\nlines", body="x" * 4001, severity="loud", audience=("chef",), start_us=5, expiry_us=5
    )
    with pytest.raises(Invalid) as error:
        ledger.do(actions.put(BANNER, spec, ADMIN, START_US))
    assert set(error.value.fields) == {"title", "body", "severity", "audience", "expiry_us"}
    assert rows.get(ledger.connection, BANNER).version == 0


def test_a_login_message_is_shown_once_per_text(ledger: Ledger) -> None:
    """Each user dismisses a text once; another text is shown again, another severity or time is no other text."""
    say(ledger, LOGIN_MESSAGE, "first")
    assert unread(ledger) is None
    assert ledger.do(actions.switch(LOGIN_MESSAGE, True, ADMIN, START_US))
    assert (unread(ledger), unread(ledger, "root", "administrator")) == ("first", "first")
    assert ledger.do(actions.dismiss(1, BOB, START_US))
    assert not ledger.do(actions.dismiss(1, BOB, START_US))
    assert (unread(ledger), unread(ledger, "root", "administrator")) == (None, "first")
    say(ledger, LOGIN_MESSAGE, "first", severity="danger")
    assert unread(ledger) is None
    say(ledger, LOGIN_MESSAGE, "second")
    assert unread(ledger) == "second"
    assert not ledger.do(actions.dismiss(1, BOB, START_US))
    assert unread(ledger) == "second"
    ledger.do(actions.dismiss(99, BOB, START_US))
    say(ledger, LOGIN_MESSAGE, "third")
    assert unread(ledger) == "third"


def test_banner_and_login_message_do_not_touch_each_other(ledger: Ledger) -> None:
    """CRY-6: each has its own text and its own switch."""
    say(ledger, BANNER, "banner")
    say(ledger, LOGIN_MESSAGE, "login")
    ledger.do(actions.switch(BANNER, True, ADMIN, START_US))
    assert rows.get(ledger.connection, BANNER).is_on
    assert not rows.get(ledger.connection, LOGIN_MESSAGE).is_on
    assert ledger.count("gates") == 0


def test_only_administrators_change_them_and_every_change_is_audited(ledger: Ledger) -> None:
    """messages.change is asked for; who, what before, what after and why are in the audit history; nothing twice."""
    for change in (
        lambda: actions.put(BANNER, AnnouncementSpec(title="t"), BOB, 1),
        lambda: actions.switch(BANNER, True, BOB, 1),
    ):
        with pytest.raises(Forbidden):
            change()
    with pytest.raises(Forbidden):
        actions.show(ledger.connection, BANNER, BOB)
    with pytest.raises(Conflict):
        ledger.do(actions.switch(BANNER, True, ADMIN, START_US))
    for _ in range(2):
        ledger.do(actions.put(BANNER, AnnouncementSpec(title="one"), ADMIN, START_US, "because"))
        ledger.do(actions.switch(BANNER, True, ADMIN, START_US, "now"))
    say(ledger, BANNER, "two")
    query = "SELECT action, who, before, after, reason FROM audit WHERE action LIKE 'messages.%' ORDER BY id"
    found = ledger.connection.execute(query).fetchall()
    assert [row[0] for row in found] == ["messages.put", "messages.on", "messages.put"]
    assert (found[0][1], found[0][2], found[0][4]) == ("root", "", "because")
    assert '"title":"one"' in found[2][2]
    assert '"title":"two"' in found[2][3]


def test_nobody_to_read_it_is_said(ledger: Ledger) -> None:
    """On the local socket there is no user; nothing is written."""
    say(ledger, LOGIN_MESSAGE, "x")
    with pytest.raises(NotFound):
        ledger.do(actions.dismiss(1, Principal("local", "administrator"), START_US))


def test_commands_set_get_and_switch(tmp_path: Path) -> None:
    """`banner set|get|on|off`: what is not given stays, exit codes say on or off, pages show it from then on."""
    with open_desk(Ledger(), tmp_path) as desk:
        assert "There is no banner. Make one" in desk.run("banner", "get")[1]
        assert desk.run("banner", "on")[0] == 1
        code, said = desk.run("banner", "set", "--title", "Tonight", "--body", "**22:00** <b>", "--severity", "warning")
        assert (code, said) == (0, "The banner is set (text 1). It is off. Switch it on: understudy banner on\n")
        assert "Tonight" not in desk.page("/scheduler")[1]
        assert desk.run("banner", "on") == (0, "The banner is on.\n")
        assert desk.run("banner", "on") == (0, "The banner was on already.\n")
        page = desk.page("/scheduler")[1]
        assert "<strong>Tonight</strong>" in page
        assert "<p><strong>22:00</strong> &lt;b&gt;</p>" in page
        code, said = desk.run("banner", "set", "--expiry", "2026-01-01T00:00Z")
        assert (code, "It is on." in said) == (0, True)
        code, said = desk.run("banner", "get")
        assert code == 0
        assert "Tonight (warning; on, outside of its times)" in said
        assert "Tonight" not in desk.page("/scheduler")[1]
        assert desk.run("banner", "set", "--expiry", "soon")[0] == 2
        assert desk.run("banner", "set", "--audience", "chefs")[0] == 2
        assert desk.run("banner", "off") == (0, "The banner is off.\n")
        assert desk.run("login-message", "set", "--title", "Hello", "--body-file", "-", stdin="- a\n- b\n")[0] == 0
        assert "- b" in desk.run("login-message", "get")[1]


def test_the_page_previews_without_saving_and_keeps_what_was_typed(tmp_path: Path) -> None:
    """A preview writes nothing; what is wrong is said beside the field, and the form keeps its values."""
    typed = {
        "kind": "banner",
        "title": "Seen *only* here",
        "body": "- one",
        "severity": "danger",
        "before_sign_in": "1",
    }
    with open_desk(Ledger(), tmp_path) as desk:
        status, page = desk.page("/banner/preview", typed)
        assert status == 200
        assert "<ul><li>one</li></ul>" in page
        assert desk.client.get("/api/v1/banner")["version"] == 0
        status, page = desk.page("/banner", typed | {"title": "", "start": "2026-99-99"})
        assert status == 422
        assert "- one</textarea>" in page
        status, page = desk.page("/banner", typed | {"title": ""})
        assert status == 422
        assert "A title is one line" in page
        assert desk.page("/banner", typed | {"start": "2026-11-22T22:00"}) == (303, "/banner?done=banner-saved")
        assert desk.page("/banner/banner/on", {})[0] == 303
        found = desk.client.get("/api/v1/banner")
        assert (found["is_on"], found["start_us"], found["version"]) == (True, 1_795_384_800_000_000, 1)
        assert 'value="2026-11-22T22:00"' in desk.page("/banner")[1]
