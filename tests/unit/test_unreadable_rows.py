"""A row that does not decode at all: it alone is put aside, whoever meets it, and everything else goes on."""

from __future__ import annotations

from typing import Any

import pytest

from replication.core.types import NO_EPOCH
from server.actions import asides, gates, groups, jobs, pools, reconciliation, runs
from server.actions.quarantine import is_of_the_disk
from server.core import agent_wire as wire
from server.core.asides import WORDS
from server.core.limits import Limits
from server.core.model import DAY_US, MINUTE_US, SYSTEM
from server.storage import jobs as job_rows
from server.storage import limits, rows, system_messages
from server.storage import orders as order_rows
from server.storage import runs as run_rows
from server.storage.rows import Unreadable
from tests.unit.group_site import Site
from tests.unit.stage import FIRST_US, Stage, start, stop

NO_JSON = "{no"


@pytest.fixture
def stage() -> Stage:
    made = Stage()
    for name in ("bad", "good"):
        made.ledger.add_job(name)
    return made


def spoil(stage: Any, table: str, column: str, where: str, text: str = NO_JSON) -> None:
    """A row as no release writes it: a defect of a former one, or of a disk."""
    assert stage.ledger.connection.execute(f"UPDATE {table} SET {column} = ? WHERE {where}", (text,)).rowcount


def listed(stage: Any) -> list[tuple[str, str]]:
    return [(line.work, line.job) for line in asides.page(stage.ledger.connection)]


def plan_again(stage: Stage) -> None:
    job_rows.touch(stage.ledger.connection, [1, 2], stage.clock.now_us)


def version(stage: Stage, job_id: int) -> int:
    row = stage.ledger.connection.execute("SELECT version FROM orders WHERE job_id = ?", (job_id,)).fetchone()
    return int(row[0])


@pytest.mark.parametrize(
    ("table", "column", "where"),
    [
        ("jobs", "environment", "id = 1"),
        ("jobs", "limits", "id = 1"),
        ("jobs", "retry", "id = 1"),
        ("schedules", "rules", "job_id = 1"),
        ("orders", "instants", "job_id = 1"),
        ("orders", "specification", "job_id = 1"),
    ],
)
async def test_planning_passes_over_a_row_that_does_not_decode(
    stage: Stage, table: str, column: str, where: str
) -> None:
    """The job, its schedule or its order: the job is listed, the other one is planned, no kind of work stands still."""
    await stage.turn()
    spoil(stage, table, column, where)
    plan_again(stage)
    await stage.turn()
    assert listed(stage) == [("plan", "bad")]
    assert (version(stage, 1), version(stage, 2)) == (1, 2)
    sequence = stage.store.sequence
    await stage.turn()
    assert stage.store.sequence == sequence, "it is not looked at again"


@pytest.mark.parametrize(("table", "column"), [("orders", "specification"), ("schedules", "rules")])
async def test_a_renewal_passes_over_a_row_that_does_not_decode(stage: Stage, table: str, column: str) -> None:
    """And renews the other; mended and tried again, the order is renewed too."""
    await stage.turn()
    sound = stage.ledger.connection.execute(f"SELECT {column} FROM {table} WHERE job_id = 1").fetchone()[0]
    spoil(stage, table, column, "job_id = 1")
    await stage.turn(5 * 7 * DAY_US // 8)
    assert listed(stage) == [("renewal", "bad")]
    assert (version(stage, 1), version(stage, 2)) == (1, 2)
    spoil(stage, table, column, "job_id = 1", sound)
    stage.ledger.do(asides.retry(1, SYSTEM, stage.clock.now_us))
    await stage.turn()
    assert (version(stage, 1), listed(stage)) == (2, [])


@pytest.mark.parametrize(
    ("table", "column"), [("orders", "exceptions"), ("jobs", "checkpoints"), ("schedules", "rules")]
)
async def test_what_is_due_of_the_masters_own_passes_over_one(table: str, column: str) -> None:
    """The other order's instant is submitted."""
    stage = Stage()
    for name in ("bad", "good"):
        stage.ledger.add_job(name, limits=Limits(runs_at_once=1))
    await stage.turn()
    spoil(stage, table, column, "id = 1" if table == "jobs" else "job_id = 1")
    await stage.turn(FIRST_US - stage.clock.now_us)
    assert listed(stage) == [("due", "bad")]
    assert [run.job for run in run_rows.page(stage.ledger.connection)] == ["good"]


async def test_a_stop_and_a_hold_are_in_the_ledger_but_for_the_order_that_does_not_decode(stage: Stage) -> None:
    """What of the other was suppressed is listed as missed."""
    await stage.turn()
    spoil(stage, "orders", "instants", "job_id = 1")
    stop(stage)
    await stage.turn(FIRST_US + MINUTE_US - stage.clock.now_us)
    start(stage)
    await stage.turn(MINUTE_US)
    assert listed(stage) == [("suppressed", "bad")]
    assert [cause for _, cause, _ in stage.missed()] == ["scheduler stopped"]


async def test_runs_that_wait_and_misfires_pass_over_a_job_that_does_not_decode(stage: Stage) -> None:
    """The run of the other is let go when the queue is unlocked."""
    await stage.turn()
    stage.ledger.do(gates.lock_all(SYSTEM, stage.clock.now_us))
    made = [stage.ledger.do(runs.run_now(name, "r1", SYSTEM, stage.clock.now_us)) for name in ("bad", "good")]
    spoil(stage, "jobs", "job_monitors", "id = 1")
    stage.ledger.do(gates.unlock_all(SYSTEM, stage.clock.now_us))
    await stage.turn()
    assert listed(stage) == [("begin", "bad")]
    found = [run_rows.get(stage.ledger.connection, run.number) for run in made]
    assert [run.state for run in found if run] == ["waiting", "starting"]


def test_members_are_chosen_and_runs_are_sent_but_those_of_a_job_that_does_not_decode() -> None:
    """In a pool, of a single agent with a limit, and on its way to the agent."""
    site = Site()
    for name, place in (("bad", {"group": "web"}), ("good", {"group": "web"}), ("single", {"agent": "alpha"})):
        spec = jobs.JobSpec(name=name, command="true", limits=Limits(runs_at_once=1), **place)  # type: ignore[arg-type]  # values of a test
        site.ledger.do(jobs.create(spec, SYSTEM, site.now_us))
    made = [site.submit("r1", job=name)[0] for name in ("bad", "good", "single")]
    spoil(site, "jobs", "limits", "name = 'bad'")
    while not pools.look(site.ledger.connection, site.connected).is_empty:
        assert site.ledger.do(pools.place_waiting(site.connected, site.now_us))
    assert [site.run(run).state for run in made] == ["waiting", "starting", "starting"]
    assert listed(site) == [("begin", "bad")]
    spoil(site, "jobs", "limits", "name = 'single'")
    given = site.ledger.do(reconciliation.dispatch(site.run(made[2]).agent_id, 1, site.now_us))
    assert made[2].key not in [one.dispatch.key for one in given]
    assert listed(site) == [("begin", "bad"), ("begin", "single")]


def test_what_a_run_holds_and_does_not_decode_counts_as_its_job_says() -> None:
    """So a limit is not passed because of a row that cannot be read."""
    site = Site()
    site.ledger.do(groups.update("web", groups.GroupChange(runs_at_once=2), SYSTEM, site.now_us))
    site.job("a", limits=Limits(runs_at_once=1))
    run = site.submit("r1", job="a")[0]
    site.ledger.do(pools.place_waiting(site.connected, site.now_us))
    spoil(site, "runs", "holds", f"number = {run.number}")
    (holder,) = limits.holders(site.ledger.connection)
    assert holder.holds == {"job 1": 1, "group web": 1}
    spoil(site, "jobs", "limits", "id = 1")
    (holder,) = limits.holders(site.ledger.connection)
    assert holder.holds == {"group web": 1}


async def test_an_agent_is_given_its_other_orders(stage: Stage) -> None:
    """The row is returned as it stands, for whoever is to list it."""
    await stage.turn()
    spoil(stage, "orders", "specification", "job_id = 1")
    found = order_rows.unacknowledged(stage.ledger.connection, stage.order(2).agent_id)
    assert [isinstance(one, Unreadable) for one in found] == [True, False]
    bad = found[0]
    assert isinstance(bad, Unreadable)
    assert (bad.row["id"], bad.row["job_id"]) == (1, 1)
    assert "give" in WORDS


async def test_an_agent_that_connects_anew_is_admitted(stage: Stage) -> None:
    """With an order that does not decode: it keeps what it has of it, and it is listed once."""
    await stage.turn()
    agent_id = stage.order(1).agent_id
    first, second = stage.order(1), stage.order(2)
    order_rows.acknowledge(stage.ledger.connection, first.id, first.version)
    spoil(stage, "orders", "specification", "job_id = 1")
    hello = wire.Hello(agent_id, wire.PROTOCOL, "test", "boot", "one", 0)
    for ticket in range(2):
        shown = wire.Present(NO_EPOCH, ticket, wire.GateSet(), (), ((first.id, first.version), (second.id, 1)), 0, 0)
        verdict = stage.ledger.do(reconciliation.present(agent_id, hello, shown, 1, stage.clock.now_us))
        assert verdict.admitted is not None
        assert verdict.admitted.strays == ()
    assert listed(stage) == [("give", "bad")]
    assert len(system_messages.page(stage.ledger.connection)) == 1
    lacks = wire.Present(NO_EPOCH, 2, wire.GateSet(), (), (), 0, 0)
    assert stage.ledger.do(reconciliation.present(agent_id, hello, lacks, 1, stage.clock.now_us)).admitted is not None
    assert isinstance(order_rows.unacknowledged(stage.ledger.connection, agent_id)[0], Unreadable)


def test_malformed_json_is_no_broken_disk(stage: Stage) -> None:
    """SQLite says it with the class of error that a full disk has."""
    spoil(stage, "jobs", "limits", "id = 1")
    with pytest.raises(Exception, match="malformed JSON") as found:
        rows.number(stage.ledger.connection, "SELECT json_extract(limits, '$.runs_at_once') FROM jobs WHERE id = 1")
    assert not is_of_the_disk(found.value)
