"""The outbox: what happened is followed once, in order, by everybody, in the change that forgets it."""

from __future__ import annotations

import sqlite3

import pytest

from server.actions.happenings import PAGE, follow
from server.core.happenings import Happening
from server.core.run_states import RunState
from server.storage import happenings, runs
from tests.unit.ledger import START_US, Ledger


@pytest.fixture
def ledger() -> Ledger:
    made = Ledger()
    made.add_agent()
    return made


def test_only_what_is_watched_is_written(ledger: Ledger) -> None:
    """A run of a watched job is in the outbox with each of its states; of another job with none."""
    watched, other = ledger.add_job(), ledger.add_job(name="other")
    happenings.watch(ledger.connection, "run", watched.id, "somebody")
    for job in (watched, other):
        number = runs.insert(ledger.connection, f"j{job.id}.rx.a1", job.id, job.agent_id, "true", "starting", START_US)
        runs.set_state(ledger.connection, number, RunState.RUNNING, START_US + 1)
    found = happenings.page(ledger.connection, 10)
    assert [(one.source_id, one.status, one.at_us) for one in found] == [
        (watched.id, "starting", START_US),
        (watched.id, "running", START_US + 1),
    ]


def test_a_lost_agent_is_told_run_by_run(ledger: Ledger) -> None:
    """Runs that become unknown together are each in the outbox."""
    job = ledger.add_job()
    happenings.watch(ledger.connection, "run", job.id, "somebody")
    for name in "ab":
        key = f"j{job.id}.r{name}.a1"
        runs.insert(ledger.connection, key, job.id, job.agent_id, "true", "running", START_US, dispatched_epoch=1)
    runs.lose_agent(ledger.connection, job.agent_id, "silent", START_US + 5)
    assert [one.status for one in happenings.page(ledger.connection, 10)][2:] == ["unknown", "unknown"]


def test_what_nobody_watches_any_more_is_not_written(ledger: Ledger) -> None:
    """`unwatch` ends it for that watcher only."""
    for name in ("one", "two"):
        happenings.watch(ledger.connection, "event", 7, name)
    happenings.unwatch(ledger.connection, "event", 7, "one")
    happenings.happened(ledger.connection, "event", 7, 1, "fired", START_US)
    happenings.unwatch(ledger.connection, "event", 7, "two")
    happenings.happened(ledger.connection, "event", 7, 2, "fired", START_US)
    assert [one.subject for one in happenings.page(ledger.connection, 10)] == [1]


def test_each_follower_sees_each_happening_once_and_in_order(ledger: Ledger) -> None:
    """More than a page: two turns, the same order for both followers, and nothing is left."""
    happenings.watch(ledger.connection, "event", 7, "somebody")
    for number in range(PAGE + 5):
        happenings.happened(ledger.connection, "event", 7, number, "fired", START_US)
    seen: tuple[list[int], list[int]] = ([], [])

    def first(connection: sqlite3.Connection, happening: Happening, now_us: int) -> None:
        seen[0].append(happening.subject)

    def second(connection: sqlite3.Connection, happening: Happening, now_us: int) -> None:
        seen[1].append(happening.subject)

    counts = [ledger.do(follow(START_US, (first, second))) for _ in range(3)]
    assert counts == [PAGE, 5, 0]
    assert seen == (list(range(PAGE + 5)), list(range(PAGE + 5)))


def test_ids_are_never_used_again(ledger: Ledger) -> None:
    """A happening after an emptied outbox has a higher id than all before it."""
    happenings.watch(ledger.connection, "event", 7, "somebody")
    happenings.happened(ledger.connection, "event", 7, 1, "fired", START_US)
    before = happenings.page(ledger.connection, 1)[0].id
    happenings.followed(ledger.connection, before)
    happenings.happened(ledger.connection, "event", 7, 2, "fired", START_US)
    assert happenings.page(ledger.connection, 1)[0].id > before


def test_a_happening_that_cannot_be_followed_stops_nothing(ledger: Ledger) -> None:
    """What the broken follower wrote of it is undone, it is kept aside with an alarm; the rest is followed."""
    happenings.watch(ledger.connection, "event", 7, "somebody")
    for number in range(3):
        happenings.happened(ledger.connection, "event", 7, number, "fired", START_US)
    seen: list[int] = []

    def broken(connection: sqlite3.Connection, happening: Happening, now_us: int) -> None:
        happenings.watch(connection, "event", 100 + happening.subject, "broken")
        if happening.subject == 1:
            raise LookupError("nobody thought of this")

    def sound(connection: sqlite3.Connection, happening: Happening, now_us: int) -> None:
        seen.append(happening.subject)

    assert ledger.do(follow(START_US, (broken, sound))) == 3
    assert (seen, happenings.page(ledger.connection, 10)) == ([0, 1, 2], [])
    assert ledger.count("watches", "watcher = 'broken'") == 2
    aside = ledger.connection.execute("SELECT subject, error FROM asides").fetchall()
    assert aside == [("2 test_happenings.broken", "LookupError: nobody thought of this")]
    assert ledger.count("system_messages", "severity = 'alarm' AND text LIKE '%nobody thought of this%'") == 1


def test_a_full_disk_puts_no_happening_aside(ledger: Ledger) -> None:
    """No room is not the happening's fault: the change is undone as a whole and the outbox stays as it is."""
    happenings.watch(ledger.connection, "event", 7, "somebody")
    happenings.happened(ledger.connection, "event", 7, 1, "fired", START_US)

    def full(connection: sqlite3.Connection, happening: Happening, now_us: int) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    with pytest.raises(sqlite3.OperationalError):
        ledger.do(follow(START_US, (full,)))
    assert len(happenings.page(ledger.connection, 10)) == 1
    assert ledger.count("asides") == 0
