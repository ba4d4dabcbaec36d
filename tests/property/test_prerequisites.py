"""Prerequisites over any expression and any order of events: whatever can be met is released, and once (SKY-14).

The shipped follower on SQLite. What is checked are promises, not a second implementation.
"""

from __future__ import annotations

import contextlib
import sqlite3

from hypothesis import given, settings
from hypothesis import strategies as st

from server.actions import happenings as happening_actions
from server.actions import jobs, prerequisite_runs, retries
from server.core.happenings import Happening
from server.core.model import SYSTEM
from server.storage import happenings, prerequisites
from server.storage import jobs as job_rows
from server.storage import runs as run_rows
from tests.unit.ledger import START_US, Ledger

NORTH = ("north" * 32)[:32]
SOURCES = "abcd"
STATUSES = {
    "completed": "succeeded", "failed": "failed", "cancelled": "cancelled", "skipped": "skipped",
    "running": "running", "submitted": "starting", "unknown": "unknown",
}  # fmt: skip

conditions = st.builds(
    lambda source, statuses, flags: " ".join([source, "|".join(statuses), *flags]),
    st.sampled_from(SOURCES),
    st.lists(st.sampled_from(["completed", "failed", "ended", "running"]), min_size=1, max_size=2, unique=True),
    st.lists(st.sampled_from(["dont-overwrite", "dont-clear"]), unique=True),
)
expressions = st.recursive(
    conditions,
    lambda inner: st.builds(
        lambda operator, parts: "(" + f" {operator} ".join(parts) + ")",
        st.sampled_from(["and", "or"]),
        st.lists(inner, min_size=2, max_size=3),
    ),
    max_leaves=6,
)
events = st.lists(st.tuples(st.sampled_from(SOURCES), st.sampled_from(sorted(STATUSES))), max_size=14)


class Site:
    """Four jobs without a schedule, and `t` that waits for them."""

    def __init__(self, text: str) -> None:
        self.ledger = Ledger()
        self.ledger.add_agent()
        for name in SOURCES:
            self.ledger.add_job(name, cron="")
        self.ledger.do(
            jobs.create(jobs.JobSpec(name="t", command="true", agent="north", prerequisites=text), SYSTEM, 1)
        )
        self.numbers = 0

    def happen(self, source: str, status: str) -> None:
        """A new run of a source has that status; the outbox has it."""
        self.numbers += 1
        job = job_rows.by_name(self.ledger.connection, source)
        assert job is not None
        key, state = f"j{job.id}.rx-{self.numbers}.a1", STATUSES[status]
        now_us = START_US + self.numbers
        run_rows.insert(self.ledger.connection, key, job.id, NORTH, "true", state, now_us, dispatched_epoch=1)

    def follow(self) -> None:
        while self.ledger.do(happening_actions.follow(START_US + 10**9)):
            pass

    def follow_one(self) -> None:
        """The oldest happening alone, with a crash after each follower first: the change is rolled back."""
        connection = self.ledger.connection
        (first,) = happenings.page(connection, 1)

        def crash(inner: sqlite3.Connection, happening: Happening, now_us: int) -> None:
            prerequisite_runs.follow(inner, happening, now_us)
            raise KeyboardInterrupt

        with contextlib.suppress(KeyboardInterrupt):
            self.ledger.do(happening_actions.follow(START_US, (retries.follow_failure, crash)))
        assert happenings.page(connection, 1) == [first]
        rest = happenings.page(connection, 1000)[1:]
        connection.execute("DELETE FROM happenings WHERE id > ?", (first.id,))
        self.ledger.do(happening_actions.follow(START_US + 10**9))
        for one in rest:
            values = (one.id, one.kind, one.source_id, one.subject, one.status, one.at_us)
            connection.execute("INSERT INTO happenings VALUES (?, ?, ?, ?, ?, ?)", values)

    def keys(self) -> list[str]:
        """The keys of the released runs, in order."""
        query = "SELECT key FROM runs WHERE job_id = (SELECT id FROM jobs WHERE name = 't') ORDER BY number"
        return [str(row[0]) for row in self.ledger.connection.execute(query)]

    def is_met(self) -> bool:
        """Whether the expression is true now."""
        job = job_rows.by_name(self.ledger.connection, "t")
        assert job is not None
        return job.prerequisites.is_met(prerequisites.met(self.ledger.connection, job.id))


@settings(max_examples=25, deadline=None)
@given(expressions, events)
def test_whatever_can_be_met_is_released_and_no_run_of_a_source_counts_twice(
    text: str, happens: list[tuple[str, str]]
) -> None:
    """No deadlock: after each event nothing that is true waits. No double release: each one uses up what met it, and a
    trigger refuses the second use of the same run for the same condition.
    """
    site = Site(text)
    connection = site.ledger.connection
    connection.execute("CREATE TEMP TABLE used (number, subject, UNIQUE (number, subject))")
    connection.execute(
        "CREATE TEMP TRIGGER use AFTER UPDATE OF met ON prerequisite_conditions"
        " WHEN old.met AND NOT new.met AND old.subject = new.subject"
        " BEGIN INSERT INTO used VALUES (old.number, old.subject); END"
    )
    released = 0
    for source, status in happens:
        site.happen(source, status)
        site.follow()
        assert not site.is_met()
        assert len(site.keys()) - released in (0, 1)
        if len(site.keys()) > released:
            released += 1
            assert not prerequisites.met(connection, 5), "everything that was met is cleared"


@settings(max_examples=15, deadline=None)
@given(expressions, events)
def test_crashes_and_the_size_of_a_batch_change_nothing(text: str, happens: list[tuple[str, str]]) -> None:
    """All at once, or one by one with a crash before each: the same runs by the same keys."""
    together, single = Site(text), Site(text)
    for site in (together, single):
        for source, status in happens:
            site.happen(source, status)
    together.follow()
    while happenings.page(single.ledger.connection, 1):
        single.follow_one()
    assert single.keys() == together.keys()
    assert len(set(together.keys())) == len(together.keys())


@settings(max_examples=15, deadline=None)
@given(st.permutations(SOURCES), st.data())
def test_the_order_of_events_of_different_sources_does_not_matter(order: list[str], data: st.DataObject) -> None:
    """All of them are needed: the last one lets it go, whichever it is, also with noise that may not overwrite."""
    site = Site(" and ".join(f"{source} completed dont-overwrite" for source in SOURCES))
    for number, source in enumerate(order):
        assert len(site.keys()) == 0
        site.happen(source, "completed")
        for noise in data.draw(st.lists(st.sampled_from(["failed", "running", "unknown"]), max_size=2)):
            if number < len(order) - 1:
                site.happen(source, noise)
        site.follow()
    assert len(site.keys()) == 1


@settings(max_examples=15, deadline=None)
@given(expressions, events)
def test_a_happening_that_comes_again_changes_nothing(text: str, happens: list[tuple[str, str]]) -> None:
    """A run that says the same again is not another run: nothing is released, and what is met stays.

    Without `dont-overwrite`: what that ignored once is not remembered, and may count when it is said again.
    """
    site = Site(text.replace(" dont-overwrite", ""))
    for source, status in happens:
        site.happen(source, status)
        (one,) = happenings.page(site.ledger.connection, 2) or [None]
        site.follow()
        keys, known = site.keys(), prerequisites.of_job(site.ledger.connection, 5)
        if one is not None:
            values = (one.kind, one.source_id, one.subject, one.status, one.at_us)
            query = "INSERT INTO happenings (kind, source_id, subject, status, at_us) VALUES (?, ?, ?, ?, ?)"
            site.ledger.connection.execute(query, values)
            site.follow()
        assert (site.keys(), prerequisites.of_job(site.ledger.connection, 5)) == (keys, known)
