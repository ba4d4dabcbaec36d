"""The hash chain of the audit history: what is changed by SQL is found and named, retention keeps it, both releases."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from server.actions import audit as actions
from server.actions import gates, retention, settings, tenants
from server.actions.change import for_tenant
from server.core.audit_chain import Entry, Walk
from server.core.model import DAY_US, SYSTEM, Principal
from server.errors import Forbidden
from server.office.audit_watch import AuditWatch
from server.storage import audit as rows
from server.storage import system_messages
from tests.unit.ledger import START_US, HandClock, Ledger, LocalStore
from tests.unit.web_desk import open_desk

FORMER = "INSERT INTO audit (at_us, who, address, action, object) VALUES (?, 'old', '', 'jobs.update', 'backup')"
"""As a release writes that makes no hashes."""


def note(ledger: Ledger, count: int, now_us: int = START_US) -> None:
    """Some entries."""
    for number in range(count):
        ledger.do(actions.note("jobs.update", f"job-{number}", SYSTEM, now_us + number, "after", "why"))


def walk(ledger: Ledger) -> Walk:
    """The whole verification."""
    found, chain = actions.read_on(ledger.connection, None)
    while chain is None:
        found, chain = actions.read_on(ledger.connection, found)
    return found


def problems(ledger: Ledger) -> list[str]:
    return [problem.text for problem in walk(ledger).problems]


@pytest.fixture
def ledger() -> Ledger:
    made = Ledger()
    note(made, 9)
    return made


def test_what_is_written_is_whole(ledger: Ledger) -> None:
    """Each entry holds the hash of the one before; the head is the newest."""
    found = rows.entries(ledger.connection, 0, 100)
    assert [e.previous_hash for e in found[1:]] == [e.hash for e in found[:-1]]
    chain = rows.chain_of(ledger.connection)
    assert (chain.head_id, chain.head_hash) == (found[-1].id, found[-1].hash)
    assert walk(ledger) == Walk(found[-1].id, found[-1].hash, entries=9)


def test_every_column_is_in_the_hash(ledger: Ledger) -> None:
    """A column that the hash left out could be changed unseen; a new one cannot be forgotten."""
    columns = [str(row[1]) for row in ledger.connection.execute("PRAGMA table_info(audit)")]
    assert sorted(columns) == sorted(Entry.__struct_fields__)
    for column in columns:
        ledger.connection.execute("SAVEPOINT tampered")
        kind = type(ledger.connection.execute(f"SELECT {column} FROM audit WHERE id = 5").fetchone()[0])
        value = 77 if kind is int else "f" * 64
        ledger.connection.execute(f"UPDATE audit SET {column} = ? WHERE id = 5", (value,))
        assert problems(ledger), column
        ledger.connection.execute("ROLLBACK TO tampered")
    assert problems(ledger) == []


@pytest.mark.parametrize(
    ("sql", "named"),
    [
        ("UPDATE audit SET who = 'nobody' WHERE id = 5", "Entry 5 (2026-09-21 14:13:20 UTC, jobs.update by nobody)"),
        ("UPDATE audit SET hash = previous_hash WHERE id = 9", "Entry 9"),
        ("DELETE FROM audit WHERE id = 4", "Entry 4 is missing."),
        ("DELETE FROM audit WHERE id IN (4, 5, 6)", "Entries 4 to 6 are missing."),
        ("DELETE FROM audit WHERE id < 4", "Entries 1 to 3 are missing."),
        ("DELETE FROM audit WHERE id > 7", "The newest entries are missing: 8 to 9."),
        ("UPDATE audit SET id = id + 1 WHERE id > 8", "Entry 10 ("),
        ("UPDATE audit SET hash = '', who = 'x' WHERE id = 5", "One of the entries 5 to 5, written without hashes"),
        (
            "INSERT INTO audit (at_us, who, address, action, object, previous_hash, hash)"
            " SELECT at_us, 'x', '', 'a', 'b', hash, hash FROM audit WHERE id = 9",
            "Entry 10",
        ),
    ],
)
def test_what_is_changed_by_sql_is_found_and_named(ledger: Ledger, sql: str, named: str) -> None:
    """Changed, removed, inserted, renumbered: the verification says which entry, and goes on behind it."""
    ledger.connection.execute(sql)
    found = problems(ledger)
    assert found
    assert found[0].startswith(named)
    assert len(found) <= 2


def test_entries_of_a_former_release_are_links_too(ledger: Ledger) -> None:
    """Without a hash of their own they are proven together by the next entry: before the chain, and between."""
    made = Ledger()
    for number in range(5):
        made.connection.execute(FORMER, (START_US + number,))
    note(made, 2)
    made.connection.execute(FORMER, (START_US + 9,))
    assert walk(made).loose_from == 8
    note(made, 1)
    found = walk(made)
    assert (found.problems, found.entries, found.unhashed, found.loose_from) == ((), 9, 6, None)
    made.connection.execute("UPDATE audit SET object = 'else' WHERE id = 2")
    assert problems(made) == ["One of the entries 1 to 5, written without hashes, was changed or is missing."]


def test_a_long_history_is_read_in_pieces(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """However it is cut, the result is the same; what retention removes meanwhile is passed over."""
    whole = walk(ledger)
    monkeypatch.setattr(rows, "CHUNK", 2)
    assert walk(ledger) == whole
    first, chain = actions.read_on(ledger.connection, None)
    assert chain is None
    rows.prune(ledger.connection, START_US + 6, START_US + DAY_US)
    after, chain = actions.read_on(ledger.connection, first)
    while chain is None:
        after, chain = actions.read_on(ledger.connection, after)
    assert (after.id, after.problems) == (9, ())


def test_retention_removes_the_oldest_and_the_chain_goes_on(ledger: Ledger) -> None:
    """The anchor holds the hash of the last that was removed: the rest is proven, and a wrong anchor is found."""
    now_us = START_US + 3650 * DAY_US
    assert not retention.has_work(ledger.connection, now_us)
    assert not retention.has_work(ledger.connection, now_us + DAY_US)
    note(ledger, 1, now_us)
    assert retention.has_work(ledger.connection, now_us + 2 * DAY_US)
    assert ledger.do(retention.prune(now_us + 2 * DAY_US)) == 9
    assert not retention.has_work(ledger.connection, now_us + 2 * DAY_US)
    chain = rows.chain_of(ledger.connection)
    assert (chain.anchor_id, chain.removed, chain.head_id) == (9, 9, 10)
    note(ledger, 1, now_us)
    assert (problems(ledger), walk(ledger).entries) == ([], 2)
    ledger.connection.execute("UPDATE audit_chain SET anchor_hash = head_hash")
    assert problems(ledger) != []


def test_the_newest_entry_is_never_removed(ledger: Ledger) -> None:
    """An old history without new entries keeps its last one, so that numbers and hashes go on from there."""
    late_us = START_US + 9000 * DAY_US
    assert ledger.do(retention.prune(late_us)) == 8
    assert ledger.do(retention.prune(late_us)) == 0
    assert not retention.has_work(ledger.connection, late_us)
    note(ledger, 1, late_us)
    assert (problems(ledger), rows.chain_of(ledger.connection).head_id) == ([], 10)


def test_retention_of_a_history_without_hashes(ledger: Ledger) -> None:
    """A database right after its migration: entries without hashes are removed by age like all others."""
    made = Ledger()
    for number in range(5):
        made.connection.execute(FORMER, (START_US + number,))
    assert made.do(retention.prune(START_US + 9000 * DAY_US)) == 4
    note(made, 1)
    assert (problems(made), walk(made).entries) == ([], 2)


def test_a_broken_chain_is_told_before_it_is_removed(ledger: Ledger) -> None:
    """What age removes is checked on the way out: an alarm names what nobody could find later."""
    ledger.connection.execute("UPDATE audit SET who = 'nobody' WHERE id = 3")
    ledger.do(retention.prune(START_US + 9000 * DAY_US))
    text = system_messages.page(ledger.connection)[0].text
    assert text.startswith("The audit history was changed: Entry 3 ")


def test_messages_are_kept_until_somebody_read_them(ledger: Ledger) -> None:
    """Those that were acknowledged go after `message_days`; the others never."""
    ledger.do(settings.put("message_days", "10", SYSTEM, START_US))
    for number in range(3):
        system_messages.insert(ledger.connection, "info", f"message {number}", START_US)
    system_messages.acknowledge(ledger.connection, 1, "bob", START_US)
    system_messages.acknowledge(ledger.connection, 2, "bob", START_US + 5 * DAY_US)
    assert not retention.has_work(ledger.connection, START_US + 11 * DAY_US)
    assert retention.has_work(ledger.connection, START_US + 11 * DAY_US + 1)
    ledger.do(retention.prune(START_US + 11 * DAY_US + 1))
    assert [m.id for m in system_messages.page(ledger.connection)] == [3, 2]
    ledger.do(retention.prune(START_US + 900 * DAY_US))
    assert [m.id for m in system_messages.page(ledger.connection)] == [3]


def test_it_is_verified_once_a_day_and_an_alarm_names_what_is_wrong(ledger: Ledger) -> None:
    """The watch verifies by itself, once a day, and says what it found; a whole history raises nothing."""
    clock = HandClock()
    watch = AuditWatch(LocalStore(ledger), clock.utc_us)
    assert asyncio.run(watch.look())
    assert not asyncio.run(watch.look())
    assert rows.chain_of(ledger.connection).problem == ""
    clock.now_us += DAY_US
    ledger.connection.execute("UPDATE audit SET reason = '' WHERE id = 3")
    assert asyncio.run(watch.look())
    assert rows.chain_of(ledger.connection).problem.startswith("Entry 3 ")
    alarm = system_messages.page(ledger.connection)[0]
    assert (alarm.severity, "Entry 3 " in alarm.text) == ("alarm", True)


def test_only_auditors_verify() -> None:
    """It is the auditors' and administrators'; an operator is refused."""
    with pytest.raises(Forbidden):
        actions.put_verified(Walk(0, ""), Principal("olga", "operator"), START_US)


def test_a_tenants_entries_are_links_of_the_one_chain(ledger: Ledger) -> None:
    """Its people's changes are hashed with all others', and with whose they are; its auditors do not verify."""
    ana = Principal("ana", "administrator", tenant="acme")
    ledger.do(tenants.create("acme", "", SYSTEM, START_US))
    ledger.do(for_tenant("acme", actions.note("jobs.update", "backup", ana, START_US)))
    note(ledger, 1)
    assert ledger.connection.execute("SELECT tenant FROM audit WHERE id = 11").fetchone() == ("acme",)
    assert (problems(ledger), walk(ledger).entries) == ([], 12)
    ledger.connection.execute("UPDATE audit SET tenant = 'other' WHERE id = 11")
    assert problems(ledger)[0].startswith("Entry 11 ")
    with pytest.raises(Forbidden):
        actions.put_verified(Walk(0, ""), ana, START_US)


def test_commands_and_page_say_what_is_wrong(ledger: Ledger, tmp_path: Path) -> None:
    """`audit verify` prints whole or which entry was changed; the page shows up to where it was verified."""
    ledger.do(gates.stop_scheduler(SYSTEM, START_US))
    with open_desk(ledger, tmp_path) as desk:
        assert "Not verified yet" in desk.page("/audit")[1]
        said = desk.run("audit", "verify")[1]
        assert said.startswith("WHOLE: entries 1 to 10 are as they were written\nhash of entry 10, to keep elsewhere: ")
        assert "Verified up to entry 10 of 11" in desk.page("/audit")[1]
        ledger.connection.execute("UPDATE audit SET who = 'nobody' WHERE id = 10")
        said = desk.run("audit", "verify")[1]
        assert said.startswith("CHANGED: 1 problems among the entries 1 to 11\nEntry 10 (")
        assert desk.page("/audit/verify", {}) == (303, "/audit?done=audit-verified")
        assert "Entry 10 (" in desk.page("/audit")[1]
        assert "gates.stop_scheduler" in desk.run("audit", "list")[1]


def test_messages_are_filtered_and_acknowledged_at_once(ledger: Ledger, tmp_path: Path) -> None:
    """By severity, text and whether somebody read them; *all* means all that were there, in one entry of the audit."""
    for number, severity in enumerate(("info", "alarm", "alarm", "warning")):
        system_messages.insert(ledger.connection, severity, f"Disk {number} is full", START_US)
    with open_desk(ledger, tmp_path) as desk:
        assert len(desk.client.get("/api/v1/messages?severity=alarm")) == 2
        assert [m["id"] for m in desk.client.get("/api/v1/messages?match=DISK+3")] == [4]
        assert desk.run("message", "acknowledge", "--all", "--severity", "alarm") == (
            0,
            "2 messages are acknowledged.\n",
        )
        assert "Disk 1" not in desk.run("message", "list", "--open")[1]
        page = desk.page("/messages?open=1")[1]
        assert ("Disk 0" in page, "Disk 2" in page) == (True, False)
        assert "2 messages are not acknowledged" in page
        assert desk.page("/messages/acknowledge", {"up_to": "3"}) == (303, "/messages?done=acknowledged")
        assert [m["id"] for m in desk.client.get("/api/v1/messages?open=1")] == [4]
        assert desk.run("message", "acknowledge", "4")[0] == 0
        assert desk.run("message", "acknowledge")[0] == 2
        said = [(e["object"], e["after"]) for e in desk.client.get("/api/v1/audit?match=messages.acknowledge")]
        assert said[1:] == [("all up to 3", "1 messages"), ("all alarm up to 4", "2 messages")]
