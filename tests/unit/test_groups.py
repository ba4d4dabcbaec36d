"""Groups of agents: which member a run goes to, what waits and why, and deployments while runs are open."""

from __future__ import annotations

import sqlite3

import pytest

from replication.core.types import NO_EPOCH
from server.actions import gates, groups, jobs, pools, reconciliation, reports, runs
from server.core import agent_wire as wire
from server.core.groups import Handover, Pool, Seat, Wish, Worker, on_removal, place
from server.core.limits import Usage
from server.core.model import MINUTE_US, SECOND_US, SYSTEM
from server.core.run_states import RunState
from server.errors import Conflict, Invalid
from server.storage import agents as agent_rows
from server.storage import groups as group_rows
from server.storage import migrate
from tests.unit.group_site import WEB, Site
from tests.unit.ledger import START_US, Ledger

NAMES = ("alpha", "beta", "gamma")
FREE = Usage({}, lambda name: 0)


def pool(policy: str, *workers: Worker, turn: int = -1) -> Pool:
    return Pool("g", "web", policy, turn, [Seat(worker, n) for n, worker in enumerate(workers)])


def chosen(one: Pool, count: int) -> list[str]:
    """The members for `count` runs, in order of submission."""
    return [choice.agent_id for choice in place([Wish(n, "g") for n in range(count)], {"g": one}, FREE)[0]]


def test_least_loaded_levels_the_members_and_respects_their_capacity() -> None:
    """Runs go where the fewest are; a full member gets none, and with all full the rest waits."""
    one = pool("least_loaded", Worker("a", "a", load=2), Worker("b", "b"), Worker("c", "c", capacity=1))
    one.seats[0].worker.capacity = one.seats[1].worker.capacity = 3
    assert chosen(one, 9) == ["b", "c", "b", "a", "b"]
    assert one.reason() == "no capacity in group web"


def test_round_robin_goes_on_after_the_member_of_the_last_turn() -> None:
    """The turn is kept, members that may not start anything are passed over."""
    one = pool("round_robin", Worker("a", "a"), Worker("b", "b", barred="queue locked"), Worker("c", "c"), turn=0)
    assert chosen(one, 4) == ["c", "a", "c", "a"]


def test_preferred_takes_the_first_that_can() -> None:
    """The order is the preference; a full or silent one is passed over."""
    first = Worker("a", "a", barred="not connected")
    assert chosen(pool("preferred", first, Worker("b", "b", capacity=1), Worker("c", "c")), 3) == ["b", "c", "c"]


def test_with_nobody_reachable_the_reason_is_no_agent_and_says_who() -> None:
    """SMA-7: waiting says why and where."""
    one = pool("preferred", Worker("a", "alpha", barred="not connected"), Worker("b", "beta", barred="queue locked"))
    assert chosen(one, 1) == []
    assert one.reason() == "no agent in group web"
    assert one.describe() == "alpha not connected, beta queue locked"


def test_agents_in_two_groups_are_filled_once() -> None:
    """Capacity is the agent's: what one group gives counts for the other, in order of submission."""
    shared = Worker("a", "a", capacity=2)
    pools_ = {name: Pool(name, name, "preferred", -1, [Seat(shared, 0)]) for name in ("g", "h")}
    found = place([Wish(3, "g"), Wish(1, "h"), Wish(2, "g")], pools_, FREE)[0]
    assert [choice.number for choice in found] == [1, 2]


def test_what_a_deployment_does_to_each_run_of_a_removed_member() -> None:
    """SMA-5, whole: nothing that may have begun is given away, nothing that has not is left, suspended ones resume."""
    open_states = [state for state in RunState if state not in (RunState.SUCCEEDED, RunState.FAILED)]
    table = {(s, sent, began): on_removal(s, sent, began) for s in open_states for sent in (0, 1) for began in (0, 1)}
    assert table[RunState.WAITING, 0, 0] is Handover.MOVE
    assert table[RunState.STARTING, 0, 0] is Handover.MOVE
    for state in (RunState.WAITING, RunState.STARTING, RunState.UNKNOWN):
        assert table[state, 1, 0] is Handover.RECALL
    others = {key: what for key, what in table.items() if key[0] is not RunState.SUSPENDED}
    assert all(what is Handover.STAY for (state, _, began), what in others.items() if began or state == "running")
    assert all(what is Handover.RESUME for (state, _, _), what in table.items() if state is RunState.SUSPENDED)
    assert all(table[state, 1, 1] is not Handover.MOVE for state in open_states)


def test_a_run_of_a_group_waits_in_its_pool_until_a_member_is_chosen_and_only_then_goes() -> None:
    """Submitted: it belongs to the group; placed: to a member, unsent; sent: marked with the epoch."""
    site = Site()
    site.job()
    (run,) = site.submit("one")
    assert site.at(run) == ("group web", "waiting")
    site.place()
    assert site.at(run) == ("alpha", "starting")
    assert site.run(run).dispatched_epoch is None
    assert site.send()["alpha"] == [run.key]
    assert site.run(run).dispatched_epoch == 1


def test_full_members_let_the_rest_wait_with_the_reason_and_an_end_lets_the_next_go_in_order() -> None:
    """SMA-7: `no capacity in group web`; a slot that frees is given to the run that was submitted first."""
    site = Site(members=["alpha"])
    site.ledger.do(groups.set_capacity("alpha", 1, SYSTEM, START_US))
    site.job()
    first, second, third = site.submit("one", "two", "three")
    site.place()
    site.send()
    assert [site.run(r).reason for r in (second, third)] == ["no capacity in group web"] * 2
    site.begin("alpha", first.key)
    site.place()
    assert site.at(second) == ("group web", "waiting")
    site.end("alpha", first.key)
    site.place()
    assert [site.at(r) for r in (second, third)] == [("alpha", "starting"), ("group web", "waiting")]


def test_gates_holds_and_locks_stop_a_group_as_they_stop_an_agent() -> None:
    """Host-wide lock: all wait and say so; held job: its runs only; a lock of one member: the others take all."""
    site = Site(policy="preferred")
    site.job()
    site.job("other")
    site.ledger.do(gates.lock_all(SYSTEM, site.now_us))
    (run,) = site.submit("one")
    site.place()
    assert (site.at(run), site.run(run).reason) == (("group web", "waiting"), "queue locked")
    site.ledger.do(gates.unlock_all(SYSTEM, site.now_us))
    site.ledger.do(jobs.hold("serve", SYSTEM, site.now_us))
    (other,) = site.submit("two", job="other")
    site.ledger.do(gates.lock("alpha", SYSTEM, site.now_us))
    site.place()
    assert (site.at(run), site.run(run).reason) == (("group web", "waiting"), "job held")
    assert site.at(other) == ("beta", "starting")
    site.ledger.do(jobs.release("serve", SYSTEM, site.now_us))
    site.place()
    assert site.at(run) == ("beta", "starting")


def test_a_chosen_run_whose_agent_goes_before_it_was_sent_is_chosen_again() -> None:
    """Nothing was sent, so nothing need be asked: the slots rebalance by themselves."""
    site = Site(policy="preferred")
    site.job()
    (run,) = site.submit("one")
    site.place()
    site.connected.discard(site.ids["alpha"])
    site.place()
    site.place()
    assert site.at(run) == ("beta", "starting")


def test_a_sent_run_stays_with_its_agent_until_the_agent_itself_does_not_know_it() -> None:
    """Silence makes it unknown and nobody else gets it; the inventory without it sends it to another member."""
    site = Site(policy="preferred")
    site.job()
    (run,) = site.submit("one")
    site.place()
    site.send()
    site.connected.discard(site.ids["alpha"])
    site.ledger.do(reconciliation.fall_silent(site.ids["alpha"], site.now_us, site.now_us))
    site.place()
    assert site.at(run) == ("alpha", "unknown")
    shown = wire.Present(NO_EPOCH, 0, wire.GateSet(), (), ())
    hello = wire.Hello(site.ids["alpha"], 2, "1", "boot", "instance", site.now_us)
    site.ledger.do(reconciliation.present(site.ids["alpha"], hello, shown, 2, site.now_us))
    assert site.at(run) == ("group web", "waiting")
    site.place()
    assert site.at(run) == ("beta", "starting")


def test_a_deployment_moves_what_was_not_sent_asks_for_what_was_and_leaves_what_runs() -> None:
    """SMA-5: three runs on a member that is taken out, one of each kind."""
    site = Site(policy="preferred")
    site.job()
    running, sent = site.submit("one", "two")
    site.place()
    site.send()
    site.begin("alpha", running.key)
    (unsent,) = site.submit("three")
    site.place()
    done = site.deploy("beta", "gamma")
    assert (done.removed, done.asked, done.deployment) == (["alpha"], 1, 2)
    site.place()
    assert [site.at(r) for r in (running, sent, unsent)] == [
        ("alpha", "running"),
        ("alpha", "starting"),
        ("beta", "starting"),
    ]
    asked = group_rows.pending_recalls(site.ledger.connection, site.ids["alpha"])
    assert [recall.run for recall in asked] == [sent.number]
    site.end("alpha", sent.key, asked[0].id)
    site.place()
    assert site.at(sent) == ("beta", "starting")
    assert group_rows.pending_recalls(site.ledger.connection, site.ids["alpha"]) == []


def test_the_answer_to_a_recall_counts_once_although_the_run_is_back_at_the_same_agent() -> None:
    """The report comes again after a lost acknowledgement, when the agent was given the run anew: nothing changes."""
    site = Site(policy="preferred")
    site.job()
    (run,) = site.submit("one")
    site.place()
    site.send()
    site.deploy("beta")
    (asked,) = group_rows.pending_recalls(site.ledger.connection, site.ids["alpha"])
    site.end("alpha", run.key, asked.id)
    site.deploy("alpha", "beta")
    site.place()
    site.send()
    assert site.at(run) == ("alpha", "starting")
    site.end("alpha", run.key, asked.id)
    assert site.at(run) == ("alpha", "starting")
    assert site.run(run).dispatched_epoch == 1
    site.deploy("beta")
    site.end("alpha", run.key, asked.id)
    assert site.at(run) == ("alpha", "starting"), "another recall is pending now, and this was the answer to the first"
    (second,) = group_rows.pending_recalls(site.ledger.connection, site.ids["alpha"])
    site.end("alpha", run.key, second.id)
    assert site.at(run) == ("group web", "waiting")


def test_a_run_that_began_before_the_recall_came_stays_where_it_is() -> None:
    """The agent's own report answers the request; its end is recorded as any other."""
    site = Site(policy="preferred")
    site.job()
    (run,) = site.submit("one")
    site.place()
    site.send()
    site.deploy("beta")
    site.begin("alpha", run.key)
    assert group_rows.pending_recalls(site.ledger.connection, site.ids["alpha"]) == []
    site.end("alpha", run.key)
    assert site.at(run) == ("alpha", "succeeded")


def test_a_member_that_holds_a_run_and_is_locked_is_asked_for_it() -> None:
    """A lock that came between sending and beginning strands nothing: the run goes to a member that may start it."""
    site = Site(policy="preferred")
    site.job()
    (run,) = site.submit("one")
    site.place()
    site.send()
    site.ledger.do(gates.lock("alpha", SYSTEM, site.now_us))
    specification = wire.Specification(job_id=1, job_name="serve", command="true")
    site.report("alpha", run.key, wire.Held(specification, None, 1, "queue locked"))
    site.place()
    (asked,) = group_rows.pending_recalls(site.ledger.connection, site.ids["alpha"])
    site.end("alpha", run.key, asked.id)
    site.place()
    assert site.at(run) == ("beta", "starting")


def test_an_alarm_is_raised_once_when_runs_wait_although_a_member_is_free() -> None:
    """SMA-7: nobody places here, so after a minute the watch finds it; the same cause says it once."""
    site = Site()
    site.job()
    site.submit("one")
    for later_us in (30 * SECOND_US, 40 * SECOND_US, MINUTE_US):
        site.stage.clock.now_us += later_us
        site.ledger.do(pools.warn_overdue(site.connected, site.now_us))
    assert site.ledger.count("system_messages", "text LIKE '%although alpha could start them%'") == 1
    site.connected.clear()
    assert pools.overdue(site.ledger.connection, site.connected, site.now_us) == []


def test_agents_are_to_be_told_when_their_groups_change_and_not_otherwise() -> None:
    """SMA-6: each change of an agent's own groups is a number that it has to persist."""
    site = Site(members=["alpha"])
    connection = site.ledger.connection
    for agent_id, number in group_rows.to_tell(connection).items():
        site.ledger.do(reports.record(agent_id, [wire.DeploymentKept(number)], 1, site.now_us))
    assert group_rows.to_tell(connection) == {}
    site.deploy("beta")
    assert set(group_rows.to_tell(connection)) == {site.ids["alpha"], site.ids["beta"]}
    assert [group.name for group in group_rows.of_agent(connection, site.ids["beta"])] == ["web"]


def test_a_group_is_no_agent() -> None:
    """Its row among the agents is on no list, makes nobody first, and counts for no acknowledgement."""
    ledger = Ledger()
    ledger.do(groups.create(groups.GroupSpec(name="web"), WEB, SYSTEM, START_US))
    assert agent_rows.is_first(ledger.connection)
    assert agent_rows.page(ledger.connection) == []
    assert agent_rows.count(ledger.connection) == 0
    assert ledger.do(gates.lock_all(SYSTEM, START_US)).unacknowledged == 0


def test_what_cannot_be_is_refused_with_what_to_do() -> None:
    """Unknown policy, an agent twice, agent and group at once, deleting what is used."""
    site = Site()
    with pytest.raises(Invalid, match="policy must be one of least_loaded"):
        site.ledger.do(groups.create(groups.GroupSpec(name="x", policy="best"), "e" * 32, SYSTEM, START_US))
    with pytest.raises(Invalid, match="alpha is named twice"):
        site.deploy("alpha", "alpha")
    with pytest.raises(Invalid, match="NAME:N"):
        site.deploy("alpha:many")
    with pytest.raises(Invalid, match="the agent or the group"):
        site.job("both", agent="alpha")
    site.job()
    with pytest.raises(Conflict, match="Move or delete them first"):
        site.ledger.do(groups.delete("web", SYSTEM, START_US))
    site.ledger.do(jobs.delete("serve", SYSTEM, START_US))
    site.ledger.do(groups.delete("web", SYSTEM, START_US))
    site.ledger.do(groups.create(groups.GroupSpec(name="web"), "e" * 32, SYSTEM, START_US))


def test_a_database_of_the_schema_before_gets_groups_and_keeps_every_row() -> None:
    """Jobs, orders and runs of schema 3, migrated under foreign keys: as they were; a job of a group fits beside."""
    ledger = Ledger()
    old = sqlite3.connect(":memory:", isolation_level=None)
    old.execute("PRAGMA foreign_keys = ON")
    for number, text in migrate.migrations()[:3]:
        for statement in migrate.statements(text):
            old.execute(statement)
        old.execute(f"PRAGMA user_version = {number}")
    old.executescript(
        """
        INSERT INTO agents (id, name, enrolled_at_us) VALUES ('a', 'north', 1);
        INSERT INTO jobs (id, name, command, agent_id, created_at_us, updated_at_us)
            VALUES (1, 'old', 'true', 'a', 1, 1);
        INSERT INTO schedules VALUES (1, 1, '* * * * *', 'UTC', 1, NULL);
        INSERT INTO orders (schedule_id, job_id, agent_id, version, state, valid_from_us, valid_until_us, instants,
            specification, accounted_until_us, renew_at_us, next_instant_us)
            VALUES (1, 1, 'a', 1, 'active', 1, 2, '[]', '{"job_id":1,"job_name":"old","command":"true"}', 1, 2, 2);
        INSERT INTO runs (key, job_id, agent_id, state, state_since_us, command, submitted_at_us)
            VALUES ('j1.rx.a1', 1, 'a', 'running', 1, 'true', 1);
        """
    )
    tables = ("agents", "jobs", "schedules", "orders", "runs")
    before = {table: old.execute(f"SELECT * FROM {table}").fetchall() for table in tables}
    old.execute("BEGIN")
    assert migrate.migrate(old) == (3, migrate.latest())
    old.execute("COMMIT")
    for table in tables:
        width = len(before[table][0])
        assert [row[:width] for row in old.execute(f"SELECT * FROM {table}")] == before[table]
    ledger.connection = old
    ledger.do(groups.create(groups.GroupSpec(name="web", agents=["north"]), WEB, SYSTEM, START_US))
    ledger.do(jobs.create(jobs.JobSpec(name="serve", command="true", group="web"), SYSTEM, START_US))
    run = ledger.do(runs.run_now("serve", "one", SYSTEM, START_US))
    assert (run.agent_id, run.group_id, run.state) == (WEB, WEB, "waiting")
    assert old.execute("PRAGMA foreign_key_check").fetchall() == []
    assert group_rows.to_tell(old) == {"a": 2}, "agents of before are told where they serve"
