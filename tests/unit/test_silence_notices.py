"""SKY-15: people are told of an agent that does not answer, once for each silence, and hear when it is over."""

from __future__ import annotations

import asyncio

from server.actions import notifications, reconciliation, silence, silence_notices
from server.core.model import MINUTE_US, SECOND_US, SYSTEM, SystemMessage
from server.core.notifications import ListSpec
from server.core.silence_notices import BY, TELL_US
from server.office.silence_watch import SilenceWatch
from server.storage import agents as agent_rows
from server.storage import system_messages
from tests.unit.ledger import START_US, HandClock, Ledger, LocalStore
from tests.unit.test_notifications import SEAL

TOLD_US = START_US + TELL_US


def silent_ledger(*names: str) -> Ledger:
    """A ledger with a list that wants alarms, and agents that are silent since START_US."""
    ledger = Ledger()
    wanted = ListSpec(emails=["night@example.org"], alarms=True)
    ledger.do(notifications.put_list("night", wanted, SEAL.seal, SYSTEM, START_US))
    for name in names:
        agent = ledger.add_agent(name)
        agent_rows.update(ledger.connection, agent.id, version="1.0")
        ledger.do(reconciliation.fall_silent(agent.id, START_US, START_US))
    return ledger


def look(ledger: Ledger, now_us: int) -> int:
    """What the watch does at one look."""
    return ledger.do(silence_notices.look(now_us)) if silence_notices.has_work(ledger.connection, now_us) else 0


def messages(ledger: Ledger) -> list[SystemMessage]:
    return system_messages.page(ledger.connection)


def back(ledger: Ledger, name: str) -> None:
    agent = agent_rows.by_name(ledger.connection, name)
    assert agent is not None
    agent_rows.update(ledger.connection, agent.id, silent_since_us=None)


def test_a_minute_of_silence_is_told_once_and_not_a_moment_before() -> None:
    """The message says what to type, a list that wants alarms is told; a second look, or master, says nothing more."""
    ledger = silent_ledger("north")
    assert look(ledger, TOLD_US - 1) == 0
    assert look(ledger, TOLD_US) == 1
    (message,) = messages(ledger)
    assert message.severity == "alarm"
    assert "north does not answer since" in message.text
    assert message.text.endswith("understudy agent declare-dead north")
    assert ledger.count("notification_deliveries", "what = 'alarm'") == 1
    assert look(ledger, TOLD_US + 60 * MINUTE_US) == 0
    assert len(messages(ledger)) == 1


def test_its_return_closes_the_message_and_the_next_silence_is_told_again() -> None:
    """Who was alarmed hears that it is over; the second silence is another message."""
    ledger = silent_ledger("north")
    look(ledger, TOLD_US)
    back(ledger, "north")
    assert look(ledger, TOLD_US + SECOND_US) == 1
    assert messages(ledger)[0].acknowledged_by == BY
    assert ledger.count("notification_deliveries", "what = 'alarm over'") == 1
    agent = agent_rows.by_name(ledger.connection, "north")
    assert agent is not None
    again_us = TOLD_US + MINUTE_US
    ledger.do(reconciliation.fall_silent(agent.id, again_us, again_us))
    assert look(ledger, again_us + TELL_US) == 1
    assert [message.acknowledged_by for message in messages(ledger)] == ["", BY]


def test_a_return_between_two_looks_is_another_silence() -> None:
    """Nobody saw that it was back: the old message is closed, and told is what is silent now."""
    ledger = silent_ledger("north")
    look(ledger, TOLD_US)
    back(ledger, "north")
    agent = agent_rows.by_name(ledger.connection, "north")
    assert agent is not None
    ledger.do(reconciliation.fall_silent(agent.id, TOLD_US + 1, TOLD_US + 1))
    look(ledger, TOLD_US + SECOND_US)
    assert [message.acknowledged_by for message in messages(ledger)] == [BY]
    look(ledger, TOLD_US + 1 + TELL_US)
    assert [message.acknowledged_by for message in messages(ledger)] == ["", BY]


def test_agents_that_fall_silent_together_make_one_message() -> None:
    """A switch that fails is one thing; it is closed when the last of them is back."""
    names = [f"dock-{n}" for n in range(8)]
    ledger = silent_ledger(*names)
    assert look(ledger, TOLD_US) == 8
    (message,) = messages(ledger)
    assert "8 agents do not answer" in message.text
    assert "and 3 more" in message.text
    for name in names[:-1]:
        back(ledger, name)
    look(ledger, TOLD_US + 1)
    assert messages(ledger)[0].acknowledged_at_us is None
    back(ledger, names[-1])
    look(ledger, TOLD_US + 2)
    assert messages(ledger)[0].acknowledged_by == BY


def test_nobody_is_told_of_a_dead_machine_and_its_message_is_closed() -> None:
    """Somebody knows it already: he said so."""
    ledger = silent_ledger("north", "south")
    look(ledger, TOLD_US)
    for name in ("north", "south"):
        ledger.do(silence.declare_dead(name, SYSTEM, TOLD_US + 1))
    look(ledger, TOLD_US + 2)
    (message,) = [one for one in messages(ledger) if "do not answer" in one.text]
    assert message.acknowledged_by == BY
    assert look(ledger, TOLD_US + 60 * MINUTE_US) == 0


async def test_agents_have_time_to_find_a_new_office() -> None:
    """Before the grace is over nothing is said, whatever the rows say; then it is."""
    ledger = silent_ledger("north")
    store, clock = LocalStore(ledger), HandClock(TOLD_US + MINUTE_US)
    watch = SilenceWatch(store, clock.utc_us)  # type: ignore[arg-type]  # the part of the store that it uses
    waits = asyncio.create_task(watch.run(3600.0))
    await asyncio.sleep(0)
    assert messages(ledger) == []
    waits.cancel()
    works = asyncio.create_task(watch.run(0.0))
    async with asyncio.timeout(20):
        while not messages(ledger):
            await asyncio.sleep(0)
    works.cancel()
    await asyncio.gather(waits, works, return_exceptions=True)
