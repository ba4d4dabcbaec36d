"""core.agent_requests: what an agent has not acknowledged is read from rows, and can be taken back (JS7-6)."""

from __future__ import annotations

import pytest

from server.actions import drains, gates, groups, requests, runs
from server.core.agent_requests import Request, why_it_waits
from server.core.model import Agent, Principal
from server.errors import Conflict, Forbidden, Invalid
from server.storage import agents as agent_rows
from server.storage import groups as group_rows
from server.storage import requests as rows
from server.storage import runs as run_rows
from tests.unit.ledger import START_US, Ledger

ANN = Principal("ann", "administrator")
MINUTE_US = 60_000_000


@pytest.fixture
def ledger() -> Ledger:
    made = Ledger()
    made.add_agent("north")
    made.add_agent("south")
    for name in ("north", "south"):
        agent_rows.update(made.connection, agent(made, name).id, ticket=7)
    return made


def agent(ledger: Ledger, name: str = "north") -> Agent:
    found = agent_rows.by_name(ledger.connection, name)
    assert found is not None
    return found


def pending(ledger: Ledger, name: str = "north") -> list[Request]:
    return rows.of_agent(ledger.connection, agent(ledger, name))


def kinds(ledger: Ledger, name: str = "north") -> list[str]:
    return [request.kind for request in pending(ledger, name)]


def running(ledger: Ledger) -> int:
    """A run that its agent has."""
    job = ledger.add_job("backup", cron="")
    run = ledger.do(runs.run_now(job.name, "one", ANN, START_US))
    run_rows.set_state(ledger.connection, run.number, "running", START_US, dispatched_epoch=1)
    return run.number


def test_a_lock_is_pending_until_its_agent_has_it(ledger: Ledger) -> None:
    """By whom, since when and why; the other agent is not asked anything; acknowledged, nothing is left."""
    locked = ledger.do(gates.lock("north", ANN, START_US, "new disk"))
    (request,) = pending(ledger)
    assert (request.kind, request.by, request.since_us, request.reason) == ("lock", "ann", START_US, "new disk")
    assert kinds(ledger, "south") == []
    ledger.acknowledge_gates("north", locked.revision)
    assert kinds(ledger) == []


def test_an_unlock_is_pending_only_where_the_lock_arrived(ledger: Ledger) -> None:
    """An agent that was away over lock and unlock has nothing to be told; one that has the lock shall lose it."""
    locked = ledger.do(gates.lock_all(ANN, START_US))
    ledger.acknowledge_gates("north", locked.revision)
    ledger.do(gates.unlock_all(ANN, START_US + 1))
    assert (kinds(ledger), kinds(ledger, "south")) == (["unlock"], [])
    assert [found.name for found, _ in rows.page(ledger.connection)[0]] == ["north"]


def test_what_was_asked_of_all_is_not_taken_back_for_one(ledger: Ledger) -> None:
    """A host-wide lock is listed at each agent without a button; its own lock has one."""
    ledger.do(gates.lock_all(ANN, START_US))
    ledger.do(drains.drain("north", None, ANN, START_US + 1))
    assert [(one.kind, one.can_withdraw) for one in pending(ledger)] == [("lock", False), ("drain", True)]


def test_a_lock_that_is_withdrawn_is_gone_from_the_list(ledger: Ledger) -> None:
    """Withdraw is an unlock: audited, and nothing is pending, not even the unlock."""
    ledger.do(gates.lock("north", ANN, START_US))
    ledger.do(requests.withdraw("north", "lock", None, ANN, START_US + 1, "changed my mind"))
    assert kinds(ledger) == []
    assert ledger.count("audit", "action = 'gates.unlock' AND reason = 'changed my mind'") == 1


def test_a_cancel_is_withdrawn_while_its_agent_was_not_told(ledger: Ledger) -> None:
    """The run goes on, audited; once it was given to the agent, nobody can take it back and the list says sent."""
    number = running(ledger)
    ledger.do(runs.cancel(number, ANN, START_US + 1))
    (request,) = pending(ledger)
    assert (request.kind, request.run, request.by, request.can_withdraw) == ("cancel", number, "ann", True)
    ledger.do(requests.withdraw("north", "cancel", number, ANN, START_US + 2))
    assert kinds(ledger) == []
    assert ledger.do(requests.mark_stops_sent([number], START_US + 3)) == []
    ledger.do(runs.kill(number, ANN, START_US + 4))
    assert [run.number for run in ledger.do(requests.mark_stops_sent([number], START_US + 5))] == [number]
    assert [(one.kind, one.sent, one.can_withdraw) for one in pending(ledger)] == [("kill", True, False)]
    with pytest.raises(Conflict, match="was told already"):
        ledger.do(requests.withdraw("north", "kill", number, ANN, START_US + 6))
    assert ledger.count("audit", "action = 'runs.withdraw_stop'") == 1


def test_what_cannot_be_withdrawn_says_why(ledger: Ledger) -> None:
    """No such wish, an ended run, a word that means nothing, a role that may not."""
    number = running(ledger)
    with pytest.raises(Conflict, match="Nobody wants"):
        ledger.do(requests.withdraw("north", "cancel", number, ANN, START_US))
    run_rows.set_state(ledger.connection, number, "succeeded", START_US)
    with pytest.raises(Conflict, match="succeeded already"):
        ledger.do(requests.withdraw("north", "cancel", number, ANN, START_US))
    with pytest.raises(Invalid, match="lock, drain"):
        requests.withdraw("north", "unlock", None, ANN, START_US)
    with pytest.raises(Invalid, match="Which run"):
        requests.withdraw("north", "kill", None, ANN, START_US)
    with pytest.raises(Forbidden):
        requests.withdraw("north", "lock", None, Principal("bob", "user"), START_US)


def test_orders_and_settings_are_listed_with_their_number(ledger: Ledger) -> None:
    """Orders are counted, not listed; a change of settings is there until the agent has it."""
    job = ledger.add_job("often")
    order = (
        "INSERT INTO orders (schedule_id, job_id, agent_id, version, state, valid_from_us, valid_until_us, instants,"
        " specification, accounted_until_us, renew_at_us, next_instant_us)"
        " SELECT id, ?, ?, 1, ?, 0, 1, '[]', '{}', 0, 1, 1 FROM schedules"
    )
    for state in ("active", "active", "releasing"):
        ledger.connection.execute(order, (job.id, job.agent_id, state))
    ledger.do(drains.configure("north", 60, None, ANN, START_US))
    assert [one.what for one in pending(ledger)] == [
        "keep its settings",
        "keep 2 standing orders in the present version",
        "give back 1 standing order",
    ]


def test_the_list_pages_by_agent(ledger: Ledger) -> None:
    """A bounded page goes on after the last name that was looked at."""
    ledger.do(gates.lock_all(ANN, START_US))
    first, after = rows.page(ledger.connection, "", 1)
    second, end = rows.page(ledger.connection, after, 2)
    assert [[found.name for found, _ in page] for page in (first, second)] == [["north"], ["south"]]
    assert (after, end) == ("north", "")


@pytest.mark.parametrize(
    ("connected", "quarantine", "silent", "ticket", "why"),
    [
        (True, "", None, 3, "it is being told"),
        (False, "", 5, 3, "it cannot be reached"),
        (False, "", None, 3, "it has not come back to this master yet"),
        (False, "", None, 0, "it has never connected"),
        (True, "runs twice", None, 3, "it is quarantined"),
    ],
)
def test_why_it_waits(connected: bool, quarantine: str, silent: int | None, ticket: int, why: str) -> None:
    """One sentence for people, also after a failover, when nobody knows since when it is away."""
    assert why_it_waits(connected, quarantine, silent, ticket) == why


def test_deployments_and_recalls_are_listed_until_the_agent_has_them(ledger: Ledger) -> None:
    """A member that has not heard of its group, and one that shall give a run back, are found by the same list."""
    ledger.do(groups.create(groups.GroupSpec(name="any", agents=["north"]), "g1", ANN, START_US))
    (request,) = pending(ledger)
    assert (request.kind, request.what, request.by) == ("deploy", "keep its groups: any", "ann")
    agent_rows.update(ledger.connection, agent(ledger).id, deployment_kept=agent(ledger).deployment)
    number = running(ledger)
    run = run_rows.get(ledger.connection, number)
    assert run is not None
    group_rows.recall(ledger.connection, run, "ann", "left the group", START_US)
    assert kinds(ledger) == ["recall"]
    assert [found.name for found, _ in rows.page(ledger.connection)[0]] == ["north"]
