"""Changing the witnesses: who may be one, what a lost one leaves, and when the former set is asked no more.

Protocol: docs/protocol.md, section 6.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from replication.core.types import State, Status
from replication.core.witness import Seats
from scripts.commands.witness import lines
from server.actions import agents, nodes, witnesses
from server.core import witness_seats
from server.core.model import SYSTEM, NodeRow, Principal
from server.errors import Conflict, Forbidden, Invalid, NotFound
from server.office.witnesses import Changeover, is_applied
from server.storage import agents as agent_rows
from server.storage import system_messages
from server.storage import witnesses as rows
from tests.storybook.fixture import peer, status
from tests.unit.ledger import START_US, Ledger, LocalStore
from tests.unit.test_actions_people import token

ADMIN = Principal("root", "administrator", "192.0.2.9")
NAMES = ("alpha", "beta", "gamma", "delta")


@pytest.fixture
def ledger() -> Ledger:
    """A pair with four agents; alpha, the first, is the witness."""
    made = Ledger()
    for number, name in enumerate(("north", "south")):
        row = NodeRow(id=name, name=name, address="h", web_port=1 + number, cluster_port=9, enrolled_at_us=START_US)
        made.do(nodes.put(row, SYSTEM, START_US))
    for name in NAMES:
        made.add_agent(name)
    return made


def ident(name: str) -> str:
    """The id that the ledger gives an agent."""
    return (name * 32)[:32]


def seats(*names: str, lost: int = 0) -> Seats:
    """A set by names."""
    return Seats(frozenset(map(ident, names)), lost)


def sets(ledger: Ledger) -> tuple[Seats, ...]:
    """The sets on record: present, former."""
    return witness_seats.sets(rows.seated(ledger.connection))


def choose(ledger: Ledger, *names: str) -> None:
    """`understudy witness set`."""
    ledger.do(witnesses.choose(list(names), ADMIN, START_US))


@pytest.mark.parametrize(
    ("names", "why"),
    [
        ([], "not 0"),
        (["alpha", "beta"], "of two, one lost is no majority"),
        (["alpha", "beta", "gamma", "delta"], "no more losses than three"),
        (["alpha", "alpha", "beta"], "different agents"),
    ],
)
def test_one_or_three_and_each_once(ledger: Ledger, names: list[str], why: str) -> None:
    """Anything else is refused with its reason, before rows are touched."""
    with pytest.raises(Invalid, match=why):
        witnesses.choose(names, ADMIN, START_US)
    assert sets(ledger) == (seats("alpha"),)


def test_only_agents_whose_word_counts(ledger: Ledger) -> None:
    """An unknown one and a quarantined one are refused; an operator's role is not enough."""
    with pytest.raises(NotFound, match="understudy agent list"):
        choose(ledger, "omega")
    agent_rows.update(ledger.connection, ident("beta"), quarantined_at_us=1, quarantine_reason="twice")
    with pytest.raises(Conflict, match="quarantined"):
        choose(ledger, "beta")
    with pytest.raises(Forbidden):
        witnesses.choose(["beta"], Principal("o", "operator"), START_US)


def test_the_former_set_stays_until_the_change_is_ended(ledger: Ledger) -> None:
    """A second change keeps the first former set; an old drop ends nothing; all of it is audited."""
    choose(ledger, "alpha", "beta", "gamma")
    assert sets(ledger) == (seats("alpha", "beta", "gamma"), seats("alpha"))
    first = rows.number(ledger.connection)
    choose(ledger, "alpha", "beta", "gamma")
    assert rows.number(ledger.connection) == first, "again is the same"
    choose(ledger, "delta")
    assert sets(ledger) == (seats("delta"), seats("alpha"))
    with pytest.raises(Conflict, match="is a witness"):
        ledger.do(agents.remove("alpha", ADMIN, START_US))
    assert not ledger.do(witnesses.drop_former(first, START_US))
    assert ledger.do(witnesses.drop_former(first + 1, START_US))
    assert not ledger.do(witnesses.drop_former(first + 1, START_US)), "it has ended"
    assert sets(ledger) == (seats("delta"),)
    assert ledger.count("audit", "action = 'witnesses.set'") == 2
    assert ledger.count("audit", "action = 'witnesses.applied'") == 1
    ledger.do(agents.remove("alpha", ADMIN, START_US))


def test_without_a_second_node_there_is_nobody_to_wait_for() -> None:
    """No standby was ever enrolled: the new set counts at once."""
    ledger = Ledger()
    for name in NAMES:
        ledger.add_agent(name)
    choose(ledger, "beta", "gamma", "delta")
    assert sets(ledger) == (seats("beta", "gamma", "delta"),)


def test_a_replaced_witness_leaves_its_seat_empty_and_says_so(ledger: Ledger) -> None:
    """An alarm and a sentence name the command; a majority is still of three. The new machine is no witness."""
    choose(ledger, "alpha", "beta", "gamma")
    ledger.do(witnesses.drop_former(1, START_US))
    ledger.do(agents.replace("beta", token("any"), ADMIN, START_US))
    assert sets(ledger) == (seats("alpha", "gamma", lost=1),)
    said = [message.text for message in system_messages.page(ledger.connection)]
    assert any("beta is no witness any more" in text and "understudy witness set" in text for text in said)
    sentence = witness_seats.problem(rows.seated(ledger.connection))
    assert "2 of 3 are left" in sentence
    assert "understudy witness set" in sentence
    new = ledger.do(agents.enrol("id-any", "right", "b" * 32, START_US))
    assert (new.name, new.witness) == ("beta", 0)
    choose(ledger, "alpha", "beta", "gamma")
    assert witness_seats.problem(rows.seated(ledger.connection)) == ""
    assert sets(ledger)[1] == seats("alpha", "gamma", lost=1)


def test_a_restored_witness_is_none_until_it_is_chosen_again(ledger: Ledger) -> None:
    """It may have forgotten a grant. Accepting it gives it work, not its seat; choosing it does."""
    agent = agent_rows.get(ledger.connection, ident("alpha"))
    assert agent is not None
    agent_rows.update(ledger.connection, agent.id, quarantined_at_us=1, quarantine_reason="old ticket")
    ledger.do(agents.accept_restored("alpha", ADMIN, START_US))
    assert sets(ledger) == (seats(lost=1),)
    choose(ledger, "alpha")
    assert sets(ledger) == (seats("alpha"), seats(lost=1))
    assert not sets(ledger)[1].can_agree


def test_when_all_are_replaced_nobody_is_left_to_ask(ledger: Ledger) -> None:
    """The operator has said that every witness is dead: then go-alone is his word. A doubt alone does not say that."""
    agent = agent_rows.get(ledger.connection, ident("alpha"))
    assert agent is not None
    ledger.do(lambda t: witnesses.lose(t.connection, agent, "it is quarantined", START_US))
    assert sets(ledger) == (seats(lost=1),)
    ledger.do(agents.replace("alpha", token("any"), ADMIN, START_US))
    assert sets(ledger) == ()


def test_a_copy_of_the_release_before_is_read(ledger: Ledger) -> None:
    """A standby of this release asks the one set that an older master's table knows."""
    ledger.connection.execute("DROP INDEX agents_with_seat")
    ledger.connection.execute("ALTER TABLE agents DROP COLUMN former_witness")
    ledger.connection.execute("PRAGMA user_version = 1")
    assert sets(ledger) == (seats("alpha"),)


HEALTHY = status(state=State.MASTER, in_sync=True, standby_enrolled=True, peers=(peer(state=State.IN_SYNC, applied=9),))


@pytest.mark.parametrize(
    ("now", "applied"),
    [
        (HEALTHY, True),
        (replace(HEALTHY, peers=(peer(state=State.IN_SYNC, applied=8),)), False),
        (replace(HEALTHY, peers=(peer(state=State.SYNCING, applied=9),)), False),
        (replace(HEALTHY, peers=(peer(state=State.IN_SYNC, applied=9, connected=False),)), False),
        (replace(HEALTHY, in_sync=False), False),
        (replace(HEALTHY, state=State.ALONE), False),
        (replace(HEALTHY, state=State.HANDING_OFF), False),
        (replace(HEALTHY, peers=()), False),
        (replace(HEALTHY, peers=(), in_sync=False, standby_enrolled=False), True),
    ],
)
def test_applied_by_both_nodes(now: Status, applied: bool) -> None:
    """Only a standby that is counted on, here now, and has applied the request is proof; or there never was one."""
    assert is_applied(now, 9) is applied


class Witnesses:
    """What the changeover asks; `knows` is whether they hold this office."""

    def __init__(self) -> None:
        self.knows = True
        self.asked: list[list[Seats]] = []

    async def hold_nobody_alone(self, sets: Sequence[Seats], epoch: object, counted: str = "") -> bool:
        self.asked.append(list(sets))
        return self.knows

    async def look(self, agent_ids: object) -> None:
        """Nothing to see."""


def changeover(ledger: Ledger, them: Witnesses, now: list[Status]) -> Changeover:
    made: Any = Changeover
    found: Changeover = made(LocalStore(ledger), them, lambda: now[0], lambda: START_US)
    return found


async def test_a_change_ends_in_order(ledger: Ledger) -> None:
    """Not before the standby has applied it, nor before the witnesses hold this office; they are asked in between."""
    choose(ledger, "beta")
    them, now = Witnesses(), [replace(HEALTHY, peers=(peer(state=State.IN_SYNC, applied=8),))]
    office = changeover(ledger, them, now)
    pending = rows.pending(ledger.connection)
    assert pending is not None
    assert not await office.end(pending, 9)
    assert them.asked == []
    now[0], them.knows = HEALTHY, False
    assert not await office.end(pending, 12), "9 is enough: the change was there then"
    assert them.asked == [[seats("beta"), seats("alpha")]]
    assert len(sets(ledger)) == 2
    them.knows = True
    assert await office.end(pending, 12)
    assert sets(ledger) == (seats("beta"),)


async def test_a_former_set_without_majority_is_not_asked(ledger: Ledger) -> None:
    """Its witness was replaced: nothing can be decided by it any more, and nobody waits for its answer."""
    ledger.do(agents.replace("alpha", token("any"), ADMIN, START_US))
    choose(ledger, "beta")
    them = Witnesses()
    pending = rows.pending(ledger.connection)
    assert pending is not None
    assert await changeover(ledger, them, [HEALTHY]).end(pending, 9)
    assert them.asked == [[seats("beta")]]


async def test_the_next_master_ends_what_it_finds(ledger: Ledger) -> None:
    """A change left pending by an earlier office is ended by the loop of this one, and so is one made later."""
    choose(ledger, "beta")
    store, made = LocalStore(ledger), Changeover
    office = made(store, Witnesses(), lambda: HEALTHY, lambda: START_US)  # type: ignore[arg-type]  # stand-ins
    running = asyncio.create_task(office.run())
    try:
        async with asyncio.timeout(20):
            while rows.pending(ledger.connection) is not None:
                await asyncio.sleep(0.01)
            await store.write(witnesses.choose(["gamma"], ADMIN, START_US))
            while rows.pending(ledger.connection) is not None:
                await asyncio.sleep(0.01)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert sets(ledger) == (seats("gamma"),)


def test_the_list_for_people_says_who_is_silent_and_what_waits() -> None:
    """The verdict first, one line for each witness, then the change and the problem with its command."""
    line = {
        **{"name": "alpha", "seat": "held", "former": True, "connected": True, "silent_since_us": None},
        **{"epoch": 7, "epoch_node": "north", "alone": "north", "alone_epoch": 7, "counter": 3},
    }
    silent = line | {"name": "beta", "former": False, "connected": False, "silent_since_us": START_US, "epoch": None}
    found = {
        **{"witnesses": [line, silent], "seats": 3, "answering": 1, "needed": 2, "change": 4},
        "problem": "gamma is no witness any more; choose again: understudy witness set AGENT",
    }
    text = "\n".join(lines(found))
    assert text.startswith("1 of 3 witnesses connected: too few, 2 needed.")
    assert "present and former" in text
    assert "north in 7" in text
    assert "silent since 2026-09-" in text
    assert "must each agree" in text
    assert "understudy witness set AGENT" in text
