"""What one agent costs does not grow with how many there are: after a failover, at a commit, when tickets are due."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from replication.errors import Unavailable
from server.actions import debts, reports
from server.core import agent_wire as wire
from server.office import agent_tickets, fleet
from server.office.agent_tickets import AT_ONCE, AgentTickets
from server.office.deliverer import Deliverer, Member
from server.office.fleet import Fleet
from server.storage import agents as agent_rows
from server.storage import debts as debt_rows
from tests.process.fleet_office import office
from tests.unit.ledger import START_US, Ledger, LocalStore


def agent_id(number: int) -> str:
    return f"{number:032}"


def crowd(count: int) -> Ledger:
    """So many agents, each of which was admitted once."""
    ledger = Ledger()
    for number in range(count):
        agent_rows.insert(ledger.connection, agent_id(number), f"agent-{number:05}", False, START_US)
    ledger.connection.execute("UPDATE agents SET ticket = 1, version = '1.0', deployment_kept = deployment")
    return ledger


def steps(connection: sqlite3.Connection, ledger: Ledger, change: Any) -> int:
    """How many instructions SQLite takes for a change, in tens."""
    taken = [0]

    def count() -> int:
        taken[0] += 1
        return 0

    connection.set_progress_handler(count, 10)
    ledger.do(change)
    connection.set_progress_handler(None, 0)
    return taken[0]


def test_an_answer_after_a_loss_costs_the_same_however_many_others_owe_one() -> None:
    """Each agent's ticket read every agent's debt: all of 2,000 took a hundred times as long as all of 200."""
    costs = []
    for count in (20, 2000):
        ledger = crowd(count)
        ledger.do(lambda t: debts.incur(t.connection, START_US))
        said = reports.record(agent_id(7), [wire.TicketKept(1)], 2, START_US)
        costs.append(steps(ledger.connection, ledger, said))
        assert debt_rows.of_agent(ledger.connection, agent_id(7)) is None
    assert costs[1] < costs[0] + 10, costs


class Counted(dict[str, Member]):
    """Members; counts how often anything of one was asked for."""

    asked = 0

    def get(self, key: str, default: Any = None) -> Any:
        self.asked += 1
        return super().get(key, default)

    def __getitem__(self, key: str) -> Member:
        self.asked += 1
        return super().__getitem__(key)


def member(sent: list[wire.FromNode]) -> Member:
    link = SimpleNamespace(agent_id="", hello=wire.Hello("", 2, "1.0", "boot", "i", START_US), send=sent.append)
    return Member(link, admitted=True)  # type: ignore[arg-type]  # the part of a link that is used


async def test_a_commit_that_concerns_no_agent_touches_none() -> None:
    """Gates reach all once; then a look costs nothing for those of whom rows say nothing new, and finds who changed."""
    ledger = crowd(300)
    members, sent = Counted(), {agent_id(n): list[wire.FromNode]() for n in range(300)}
    for key, told in sent.items():
        members[key] = member(told)
        members[key].link.agent_id = key
    deliverer = Deliverer(LocalStore(ledger), members, 1, lambda: START_US)  # type: ignore[arg-type]  # as a store

    async def look() -> int:
        members.asked = 0
        await deliverer._deliver()
        return members.asked

    for key in members:
        deliverer.consider(key)
    await look()
    kinds = {tuple(type(message).__name__ for message in told) for told in sent.values()}
    assert kinds == {("SetGates", "SetStartAlone")}
    for told in sent.values():
        told.clear()
    assert await look() == 0
    agent_rows.update(ledger.connection, agent_id(5), start_alone_after_reboot=1)
    assert 0 < await look() < 5
    assert [type(message).__name__ for message in sent[agent_id(5)]] == ["SetStartAlone"]
    agent_rows.update(ledger.connection, agent_id(6), quarantined_at_us=START_US, quarantine_reason="a copy runs")
    assert 0 < await look() < 5
    assert sent[agent_id(6)] == [wire.Quarantined("a copy runs")]
    assert not any(sent[key] for key in sent if key not in (agent_id(5), agent_id(6)))


async def test_a_look_that_fails_is_made_again_for_whoever_is_new() -> None:
    """A standby that does not confirm for a moment keeps an agent that was just admitted from nothing."""
    ledger, told = crowd(1), list[wire.FromNode]()
    store = LocalStore(ledger)
    works, failures = store.read, [Unavailable("not confirmed"), Unavailable("not confirmed")]

    async def read(query: Any) -> Any:
        if failures:
            raise failures.pop()
        return await works(query)

    store.read = read  # type: ignore[method-assign]  # it fails twice
    members = {agent_id(0): member(told)}
    members[agent_id(0)].link.agent_id = agent_id(0)
    deliverer = Deliverer(store, members, 1, lambda: START_US)  # type: ignore[arg-type]  # as a store
    looking = asyncio.create_task(deliverer.deliver_forever())
    deliverer.consider(agent_id(0))
    async with asyncio.timeout(20):
        while len(told) < 2:
            await asyncio.sleep(0.01)
    looking.cancel()


async def test_thousands_that_fall_silent_at_once_are_written_a_few_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A takeover awaits all agents: those that do not come are silent, and others write in between."""
    monkeypatch.setattr(fleet, "SILENT_S", 0.0)
    monkeypatch.setattr(fleet, "SILENT_EVERY_S", 0.0)
    count, open_now, most = 3 * fleet.SILENT_AT_ONCE, [0], [0]
    works = Fleet._fall_silent

    async def counted(self: Fleet, agent_id: str) -> None:
        open_now[0] += 1
        most[0] = max(most[0], open_now[0])
        await works(self, agent_id)
        open_now[0] -= 1

    monkeypatch.setattr(Fleet, "_fall_silent", counted)
    async with office(tmp_path) as desk:
        for number in range(count):
            await desk.enrol(agent_id(number), f"agent-{number:05}")
            await desk.write(lambda t, n=number: agent_rows.update(t.connection, agent_id(n), ticket=1))
        await desk.write(lambda t: debts.incur(t.connection, START_US))
        await desk.leave()
        await desk.take(2)
        await desk.until(
            lambda c: c.execute("SELECT count(*) FROM agents WHERE silent_since_us > 0").fetchone()[0] == count
        )
    assert most[0] == fleet.SILENT_AT_ONCE


async def test_tickets_that_are_due_at_once_are_given_a_few_at_a_time_and_each_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After a lock of all queues every agent's is due in the same second; one that left meanwhile gets none."""
    monkeypatch.setattr(agent_tickets, "TICKET_S", 0.0)
    monkeypatch.setattr(agent_tickets, "EVERY_S", 0.0)
    given: list[list[str]] = []
    done = asyncio.Event()

    async def advance(agent_ids: Sequence[str]) -> None:
        given.append(list(agent_ids))
        if sum(map(len, given)) >= 3 * AT_ONCE:
            done.set()

    tickets = AgentTickets(advance)
    for number in range(3 * AT_ONCE + 1):
        tickets.expect(agent_id(number))
        tickets.expect(agent_id(number))
    tickets.forget(agent_id(0))
    giving = asyncio.create_task(tickets.advance_forever())
    async with asyncio.timeout(20):
        await done.wait()
    giving.cancel()
    assert [len(batch) for batch in given] == [AT_ONCE] * 3
    assert sorted(one for batch in given for one in batch) == [agent_id(n) for n in range(1, 3 * AT_ONCE + 1)]
