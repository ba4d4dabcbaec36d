"""Priorities, limits and counted resources: who goes first, never over a limit, no deadlock, and who holds what."""

from __future__ import annotations

import random

import msgspec
import pytest

from server.actions import explanations, gates, groups, jobs, orders, pools, resources, runs
from server.core.limits import AGE_US, TURN, Limits, Usage, rank_us, wrong_limits
from server.core.model import MINUTE_US, SYSTEM, Job, Run
from server.core.run_states import ENDED
from server.errors import Conflict, Invalid
from server.storage import agents as agent_rows
from server.storage import jobs as job_rows
from server.storage import limits as rows
from server.storage import orders as order_rows
from server.storage import runs as run_rows
from server.web.pages.resources import JOB_EMPTY, job_values, limits_from
from tests.unit.group_site import Site


@pytest.fixture
def site() -> Site:
    made = Site()
    for name, count in (("licence", 1), ("lane", 3)):
        made.ledger.do(resources.put(name, count, "", SYSTEM, made.now_us))
    return made


def job(site: Site, name: str, agent: str = "alpha", **limits: object) -> None:
    spec = jobs.JobSpec(name=name, command="true", agent=agent, limits=Limits(**limits))  # type: ignore[arg-type]  # values of a test
    if agent == "web":
        spec = msgspec.structs.replace(spec, agent="", group="web")
    site.ledger.do(jobs.create(spec, SYSTEM, site.now_us))


def job_row(site: Site, name: str) -> Job:
    found = job_rows.by_name(site.ledger.connection, name)
    assert found is not None
    return found


def place(site: Site) -> None:
    while not pools.look(site.ledger.connection, site.connected).is_empty:
        assert site.ledger.do(pools.place_waiting(site.connected, site.now_us))


def state(site: Site, run: Run) -> tuple[str, str]:
    found = site.run(run)
    return found.state, found.reason


def finish(site: Site, run: Run) -> None:
    found = site.run(run)
    name = next(name for name, agent_id in site.ids.items() if agent_id == found.agent_id)
    site.send(name)
    site.begin(name, found.key)
    site.end(name, found.key)
    assert site.run(run).state in ENDED


def test_a_run_waits_until_the_licence_is_back(site: Site) -> None:
    """All over the agents: one holds it until its end is recorded, the other says what it waits for, and who has it."""
    job(site, "a", "alpha", resources={"licence": 1})
    job(site, "b", "beta", resources={"licence": 1})
    first, second = site.submit("r1", job="a")[0], site.submit("r1", job="b")[0]
    assert state(site, first) == ("waiting", TURN)
    place(site)
    assert [state(site, run) for run in (first, second)] == [("starting", ""), ("waiting", "limit: licence")]
    assert resources.describe(site.ledger.connection, site.run(second)) == f"1 of 1 held by a #{first.number}"
    (view,) = [one for one in resources.views(site.ledger.connection) if one.name == "licence"]
    assert (view.held, view.waiting, view.used_by, [h.run for h in view.holders]) == (1, 1, ["a", "b"], [first.number])
    finish(site, first)
    place(site)
    assert state(site, second) == ("starting", "")


def test_an_unknown_run_holds_until_its_machine_is_dead(site: Site) -> None:
    """Nobody knows what a silent machine runs: the licence is free once nothing can run there any more."""
    job(site, "a", "alpha", resources={"licence": 1})
    job(site, "b", "beta", resources={"licence": 1})
    first, second = site.submit("r1", job="a")[0], site.submit("r1", job="b")[0]
    place(site)
    site.send("alpha")
    site.ledger.do(lambda t: run_rows.lose_agent(t.connection, site.ids["alpha"], "silent", site.now_us))
    place(site)
    assert (state(site, first)[0], state(site, second)[1]) == ("unknown", "limit: licence")
    agent_rows.update(site.ledger.connection, site.ids["alpha"], dead_at_us=site.now_us)
    place(site)
    assert state(site, second) == ("starting", "")


def test_what_was_let_go_and_not_begun_gives_back_what_it_took(site: Site) -> None:
    """A run that waits again for its agent holds nothing meanwhile."""
    job(site, "a", "alpha", resources={"licence": 1})
    job(site, "b", "beta", resources={"licence": 1})
    first, second = site.submit("r1", job="a")[0], site.submit("r1", job="b")[0]
    place(site)
    site.ledger.do(lambda t: run_rows.lose_agent(t.connection, site.ids["alpha"], "no agent", site.now_us))
    site.connected.discard(site.ids["alpha"])
    place(site)
    assert [state(site, run)[0] for run in (first, second)] == ["waiting", "starting"]


def test_a_suspended_run_holds_nothing(site: Site) -> None:
    """It has no process; the attempt that goes on with it takes what it needs in its turn."""
    job(site, "a", "alpha", resources={"licence": 1})
    job(site, "b", "beta", resources={"licence": 1})
    first, second = site.submit("r1", job="a")[0], site.submit("r1", job="b")[0]
    place(site)
    for word in ("suspended", "resuming"):
        site.ledger.do(lambda t, word=word: run_rows.set_state(t.connection, first.number, word, site.now_us))
        assert rows.holders(site.ledger.connection) == []
    place(site)
    assert state(site, second) == ("starting", "")


def test_runs_of_a_job_at_once(site: Site) -> None:
    """The limit of a job counts over all agents of its group, and what an agent had begun before there was one."""
    job(site, "a", "web", runs_at_once=2)
    made = site.submit("r1", "r2", "r3", job="a")
    place(site)
    assert [state(site, run)[0] for run in made] == ["starting", "starting", "waiting"]
    assert state(site, made[2])[1] == "limit: runs of this job at once"
    finish(site, made[0])
    place(site)
    assert state(site, made[2]) == ("starting", "")


def test_a_limit_that_comes_later_counts_what_runs(site: Site) -> None:
    """A run that began before its job had limits holds what they say; what waited under a gate goes by them too."""
    job(site, "a")
    early = site.submit("r1", job="a")[0]
    site.ledger.do(gates.lock_all(SYSTEM, site.now_us))
    late = site.submit("r2", job="a")[0]
    spec = jobs.JobSpec(name="a", command="true", agent="alpha", limits=Limits(runs_at_once=1))
    site.ledger.do(jobs.update("a", spec, SYSTEM, site.now_us))
    site.ledger.do(gates.unlock_all(SYSTEM, site.now_us))
    site.ledger.do(runs.submit_waiting(site.now_us))
    place(site)
    assert [state(site, run)[0] for run in (early, late)] == ["starting", "waiting"]
    finish(site, early)
    place(site)
    assert state(site, late)[0] == "starting"


def test_higher_priority_goes_first_and_waiting_counts(site: Site) -> None:
    """One step is worth ten minutes: nobody is overtaken for ever, whatever comes behind."""
    job(site, "low", resources={"licence": 1})
    job(site, "high", "beta", resources={"licence": 1}, priority=2)
    old = site.submit("r0", job="low")[0]
    site.stage.clock.now_us += 2 * AGE_US + 1
    holder = site.submit("r1", job="low")[0]
    late, urgent = site.submit("r2", job="low")[0], site.submit("r1", job="high")[0]
    order = []
    for _ in range(4):
        place(site)
        going = [run for run in (old, holder, late, urgent) if state(site, run)[0] == "starting"]
        assert len(going) == 1
        order.append(going[0].number)
        finish(site, going[0])
    assert order == [old.number, urgent.number, holder.number, late.number]


def test_what_somebody_waits_for_is_kept_from_those_behind(site: Site) -> None:
    """A run that needs all three lanes is not starved by a stream of small ones."""
    job(site, "small", resources={"lane": 1})
    job(site, "big", "beta", resources={"lane": 3})
    first = site.submit("r1", job="small")[0]
    place(site)
    big = site.submit("r1", job="big")[0]
    others = site.submit("r2", "r3", job="small")
    place(site)
    assert [state(site, run)[0] for run in (big, *others)] == ["waiting"] * 3
    finish(site, first)
    place(site)
    assert [state(site, run)[0] for run in (big, *others)] == ["starting", "waiting", "waiting"]


def test_one_whose_agent_is_away_keeps_nothing_from_others(site: Site) -> None:
    """Only a run that could begin now is in anybody's way."""
    job(site, "a", "alpha", resources={"licence": 1})
    job(site, "b", "beta", resources={"licence": 1})
    site.connected.discard(site.ids["alpha"])
    away, there = site.submit("r1", job="a")[0], site.submit("r1", job="b")[0]
    place(site)
    assert [state(site, run)[0] for run in (away, there)] == ["waiting", "starting"]


def test_the_order_of_a_job_with_limits_is_the_masters_own(site: Site) -> None:
    """Its agent is given no instants: it could not know who holds what. Priority alone leaves the order with it."""
    for name, limits in (("a", Limits(runs_at_once=1)), ("b", Limits(priority=5))):
        spec = jobs.JobSpec(name=name, command="true", agent="alpha", schedules=[jobs.When("0 * * * *")], limits=limits)
        site.ledger.do(jobs.create(spec, SYSTEM, site.now_us))
    connection = site.ledger.connection
    site.ledger.do(orders.put_plans(orders.plan_all(orders.read_changed(connection), site.now_us), site.now_us))
    found = [order for job_id in (1, 2) for order in order_rows.of_job(connection, job_id)]
    assert [(order.job_id, order.by_master) for order in found] == [(1, True), (2, False)]
    assert [order.job_id for order in order_rows.unacknowledged(connection, site.ids["alpha"])] == [2]


def bound(site: Site, runs_at_once: int) -> None:
    wanted = groups.GroupChange(runs_at_once=runs_at_once)
    site.ledger.do(groups.update("web", wanted, SYSTEM, site.now_us))


def test_runs_of_a_group_at_once(site: Site) -> None:
    """The limit of a group counts over its jobs and members; who has it and what waits is said by name."""
    bound(site, 2)
    job(site, "a", "web")
    job(site, "b", "web", resources={"lane": 1})
    made = [site.submit("r1", job="a")[0], site.submit("r1", job="b")[0], site.submit("r2", job="a")[0]]
    place(site)
    assert [state(site, run)[0] for run in made] == ["starting", "starting", "waiting"]
    assert state(site, made[2])[1] == "limit: runs of group web at once"
    held = f"2 of 2 held by a #{made[0].number}, b #{made[1].number}"
    assert resources.describe(site.ledger.connection, site.run(made[2])) == held
    (found,) = [
        why
        for why in explanations.of_job(site.ledger.connection, job_row(site, "a"), site.now_us).lines
        if why.topic == "limits"
    ]
    assert found.text.startswith("A run takes 1 of runs of group web at once; 2 of 2 taken: ")
    finish(site, made[1])
    place(site)
    assert state(site, made[2]) == ("starting", "")


def test_a_group_gets_and_loses_its_limit_while_runs_run(site: Site) -> None:
    """What runs counts as if it had taken its place; what waits goes by the new limit, and goes when there is none."""
    job(site, "a", "web")
    early = site.submit("r1", job="a")[0]
    place(site)
    waits = site.submit("r2", job="a")[0]
    bound(site, 1)
    place(site)
    assert [state(site, run) for run in (early, waits)] == [
        ("starting", ""), ("waiting", "limit: runs of group web at once")
    ]  # fmt: skip
    bound(site, 0)
    place(site)
    assert state(site, waits) == ("starting", "")


def test_the_limit_of_a_group_counts_each_member_of_the_policy_all() -> None:
    """Its members' orders are the master's then, and a run of each member takes a place; without it they are theirs."""
    site = Site(policy="all")
    bound(site, 2)
    spec = jobs.JobSpec(name="a", command="true", group="web", schedules=[jobs.When("0 * * * *")])
    site.ledger.do(jobs.create(spec, SYSTEM, site.now_us))

    def masters() -> list[bool]:
        connection = site.ledger.connection
        site.ledger.do(orders.put_plans(orders.plan_all(orders.read_changed(connection), site.now_us), site.now_us))
        return [order.by_master for order in order_rows.of_job(connection, 1) if order.state == "active"]

    assert masters() == [True] * 3
    site.ledger.do(runs.run_now("a", "r1", SYSTEM, site.now_us))
    made = run_rows.page(site.ledger.connection)
    place(site)
    assert sorted(state(site, run)[0] for run in made) == ["starting", "starting", "waiting"]
    going = [run for run in made if state(site, run)[0] == "starting"]
    finish(site, going[0])
    place(site)
    assert sorted(state(site, run)[0] for run in made) == ["starting", "starting", "succeeded"]
    bound(site, 0)
    masters()
    assert masters() == [False] * 3


def test_a_new_master_counts_what_silent_agents_may_still_run(site: Site) -> None:
    """Swap or takeover: the limit of a group is read from rows, so nobody passes it before the agents have answered."""
    bound(site, 2)
    job(site, "a", "web")
    first = site.submit("r1", "r2", job="a")
    place(site)
    site.send()
    site.ledger.do(
        lambda t: [run_rows.lose_agent(t.connection, one, "silent", site.now_us) for one in site.ids.values()]
    )
    next_one = site.submit("r3", job="a")[0]
    place(site)
    assert [state(site, run)[0] for run in (*first, next_one)] == ["unknown", "unknown", "waiting"]
    finish(site, first[0])
    place(site)
    assert [state(site, run)[0] for run in (first[1], next_one)] == ["unknown", "starting"]


def test_never_over_a_limit_and_all_end(site: Site) -> None:
    """500 random moments of submitting, ending, locking, losing and finding agents: no limit is passed, all begin.

    The limit of the group changes meanwhile: under what is held nothing more of the group is let go.
    """
    chance = random.Random(7)
    bound(site, 2)
    at_once = 2
    job(site, "a", "web", resources={"licence": 1})
    job(site, "b", "web", resources={"lane": 2}, runs_at_once=1, priority=3)
    job(site, "c", "beta", resources={"lane": 1, "licence": 1}, priority=-3)
    job(site, "d", "gamma", resources={"lane": 3})
    made: list[Run] = []
    for turn in range(500):
        site.stage.clock.now_us += MINUTE_US
        deed = chance.random()
        going = [run for run in made if state(site, run)[0] == "starting"]
        if deed < 0.35:
            made += site.submit(f"t{turn}", job=chance.choice("abcd"))
        elif deed < 0.7 and going:
            finish(site, chance.choice(going))
        elif deed < 0.8:
            away = chance.choice(list(site.ids.values()))
            site.connected ^= {away}
        elif deed < 0.83:
            at_once = chance.randint(1, 3)
            bound(site, at_once)
        elif deed < 0.86:
            run = chance.choice(made) if made else None
            if run is not None and state(site, run)[0] == "waiting":
                site.ledger.do(runs.cancel(run.number, SYSTEM, site.now_us))
        held = {run.number for run in made if run.job_id < 3 and state(site, run)[0] == "starting"}
        place(site)
        after = {run.number for run in made if run.job_id < 3 and state(site, run)[0] == "starting"}
        assert len(after) <= at_once or after <= held
        for name, count in (("licence", 1), ("lane", 3)):
            assert resources.view(resources.find(site.ledger.connection, name), rows.holders(site.ledger.connection),
                                  site.ledger.connection).held <= count  # fmt: skip
        assert sum(1 for run in made if run.job_id == 2 and state(site, run)[0] == "starting") <= 1
    site.connected |= set(site.ids.values())
    for _ in range(len(made) + 1):
        place(site)
        for run in [run for run in made if state(site, run)[0] == "starting"]:
            finish(site, run)
    assert {state(site, run)[0] for run in made} == {"succeeded", "cancelled"}


def test_what_is_needed_must_be_there(site: Site) -> None:
    """At save, naming the field; and a resource in use is not deleted, saying by whom."""
    with pytest.raises(Invalid, match="there is no resource disk") as refused:
        job(site, "a", resources={"disk": 1})
    assert list(refused.value.fields) == ["limits.resources"]
    with pytest.raises(Invalid, match="there are only 3 of lane"):
        job(site, "a", resources={"lane": 4})
    job(site, "a", resources={"lane": 3})
    with pytest.raises(Conflict, match="lane is needed by a"):
        site.ledger.do(resources.delete("lane", SYSTEM, site.now_us))
    site.ledger.do(resources.delete("licence", SYSTEM, site.now_us))
    assert set(wrong_limits(Limits(priority=101, runs_at_once=-1, resources={"a": 0}))) == {
        "limits.priority", "limits.runs_at_once", "limits.resources"
    }  # fmt: skip


def test_fewer_than_are_held_lets_nothing_go(site: Site) -> None:
    """A count may be lowered under what is held: those go on, and the next waits until there is room again."""
    job(site, "a", resources={"lane": 1})
    made = site.submit("r1", "r2", job="a")
    place(site)
    site.ledger.do(resources.put("lane", 1, "", SYSTEM, site.now_us))
    third = site.submit("r3", job="a")[0]
    place(site)
    finish(site, made[0])
    place(site)
    assert state(site, third)[1] == "limit: lane"
    finish(site, made[1])
    place(site)
    assert state(site, third)[0] == "starting"


def test_a_usage_takes_all_or_nothing() -> None:
    """What is short is kept from those behind; what was not taken is free for others."""
    usage = Usage({"a": 1}, {"a": 2, "b": 1}.__getitem__)
    assert usage.take({"a": 2, "b": 1}) == "a"
    assert usage.take({"b": 1}) == ""
    assert usage.take({"a": 1}) == "a"
    assert rank_us(AGE_US, 1) == 0


def test_the_form_says_what_was_said() -> None:
    """Limits go through the job's form and back; what is no number is named."""
    limits, wrong = Limits(priority=-3, runs_at_once=2, resources={"a": 1, "b": 5}), dict[str, str]()
    assert limits_from(job_values(limits), wrong) == limits
    assert limits_from(JOB_EMPTY, wrong) == Limits()
    assert wrong == {}
    limits_from({"priority": "x", "runs_at_once": "", "resources": "a=b"}, wrong)
    assert set(wrong) == {"priority", "runs_at_once", "resources"}
