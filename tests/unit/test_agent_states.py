"""One badge and one sentence for an agent: what is most important comes first, and nothing is green by accident."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from server.storage import migrate, overview
from server.storage.overview import AgentLine
from server.web.agent_states import advice, agent_state
from server.web.pages.agents import view
from server.web.pages.contacts import Contact
from server.web.states import AGENTS
from tests.storybook.fixture import NOW_US
from tests.storybook.work import agent

LADDER: tuple[tuple[str, dict[str, object]], ...] = (
    ("undeployed", {"autonomous_until_us": None}),
    ("former", {"awaits_former": True}),
    ("waiting", {}),
    ("maintenance", {"maintenance": "maintenance"}),
    ("suspended", {"maintenance": "maintenance_suspended"}),
    ("stopping", {"last_drain": "stop draining"}),
    ("asked", {"draining": True, "last_drain": "request asked"}),
    ("silent", {"silent_since_us": NOW_US}),
    ("quarantined", {"quarantined_at_us": NOW_US, "quarantine_reason": "this identity runs twice"}),
    ("dead", {"dead_at_us": NOW_US}),
)
"""From the least to the most important; each step adds to those before it."""


def test_the_more_important_state_hides_the_others() -> None:
    """With everything wrong that stands below it, each state is still the one that is shown."""
    facts: dict[str, object] = {}
    for place, (state, more) in enumerate(LADDER):
        facts |= more
        connected = place < 7
        said = "agent disk full" if place >= 2 and connected else ""
        assert agent_state(agent("dock", **facts), connected, said, deployed=False) == state


@pytest.mark.parametrize(
    ("gate", "last", "state"),
    [
        (False, "", "active"),
        (True, "", "asked"),
        (True, "request asked", "asked"),
        (True, "request draining", "draining"),
        (True, "request drained", "drained"),
        (True, "stop drained", "asked"),
        (False, "request drained", "active"),
        (False, "request withdrawn", "active"),
        (False, "stop asked", "stopping"),
        (False, "stop draining", "stopping"),
        (False, "stop drained", "active"),
    ],
)
def test_a_drain_is_told_by_its_gate_and_its_last_row(gate: bool, last: str, state: str) -> None:
    """JS7-7: what it takes follows from the gate; how far it is from the drain; an old drain says nothing."""
    assert agent_state(agent("dock", draining=gate, last_drain=last), True) == state


def test_an_agent_that_serves_no_group_is_active_while_it_has_orders() -> None:
    """Jobs that name it run as before, so it is called undeployed only when nothing at all starts on it."""
    assert agent_state(agent("dock"), True, deployed=False) == "active"
    assert agent_state(agent("dock", autonomous_until_us=None), True, deployed=False) == "undeployed"


@pytest.mark.parametrize("state", AGENTS)
def test_every_state_says_what_it_means(state: str) -> None:
    """No badge stands alone: its sentence ends, and it promises runs only when it is active."""
    said = advice(agent("dock"), state, "open", "agent disk full")
    assert said.means.endswith(".")
    assert ("takes runs." in said.means) == (state == "active")


def test_only_an_active_agent_with_an_open_queue_is_green_throughout() -> None:
    """An open queue is not green where nothing starts, and a lock is said in the sentence of an active agent."""

    def tones(line: AgentLine) -> tuple[str, str]:
        shown = view(line, None, 42, Contact())
        return shown.state.tone, shown.queue.tone

    assert tones(agent("dock")) == ("ok", "ok")
    assert tones(agent("dock", draining=True)) == ("warn", "idle")
    locked = agent("dock", locked_by="operator", locked_revision=40)
    assert tones(locked) == ("ok", "warn")
    assert "no new run starts" in view(locked, None, 42, Contact()).advice.means


def test_what_stops_all_agents_is_not_denied() -> None:
    """While the scheduler is stopped an active agent is not said to take runs."""
    assert "takes runs" not in view(agent("dock"), None, 42, Contact(), gated=True).advice.means


def test_an_owing_agent_says_what_it_may_hold() -> None:
    """After a loss, silence means more than silence."""
    assert "nobody here knows of" in view(agent("dock", owes=True), None, 42, None).advice.means
    assert "no standing orders" in view(agent("dock", autonomous_until_us=None), None, 42, None).advice.means


def test_the_rows_behind_a_state_are_read_with_the_agent(tmp_path: Path) -> None:
    """The one read of the list finds drain, maintenance, debt, death and the machine before."""
    connection = sqlite3.connect(tmp_path / "states.db", isolation_level=None)
    migrate.migrate(connection)
    for name in ("dock", "yard"):
        connection.execute("INSERT INTO agents (id, name, enrolled_at_us) VALUES (?, ?, 0)", (name, name))
    yard = overview.agent_line(connection, "yard")
    for gate, owner in (("draining", "dock"), ("maintenance", ""), ("maintenance_suspended", "dock")):
        connection.execute("INSERT INTO gates (kind, agent_id, set_by, set_at_us) VALUES (?, ?, 'o', 1)", (gate, owner))
    for at_us, state in ((1, "withdrawn"), (2, "draining")):
        columns = "(agent_id, asked_at_us, origin, asked_by, limit_s, state)"
        connection.execute(f"INSERT INTO drains {columns} VALUES ('dock', ?, 'request', '', 1, ?)", (at_us, state))
    connection.execute("INSERT INTO debts VALUES ('dock', 1, 2)")
    connection.execute("UPDATE agents SET dead_at_us = 5 WHERE id = 'dock'")
    connection.execute("UPDATE agents SET replaces = 'dock' WHERE id = 'yard'")
    connection.execute(
        "INSERT INTO jobs (id, name, command, agent_id, created_at_us, updated_at_us)"
        " VALUES (1, 'j', 'true', 'yard', 0, 0)"
    )
    connection.execute(
        "INSERT INTO schedules (id, job_id, cron, zone, created_at_us) VALUES (1, 1, '* * * * *', 'UTC', 0)"
    )
    columns = "schedule_id, job_id, agent_id, version, state, valid_from_us, valid_until_us, instants, specification,"
    columns += " accounted_until_us, renew_at_us, next_instant_us"
    connection.execute(
        f"INSERT INTO orders ({columns}) VALUES (1, 1, 'dock', 1, 'releasing', 0, 9, '[]', '{{}}', 0, 9, 9)"
    )
    line, other = overview.agent_lines(connection)
    connection.close()
    assert yard is not None
    assert (yard.last_drain, yard.maintenance, yard.owes, yard.awaits_former, yard.dead_at_us) == ("", "", 0, 0, None)
    assert (line.last_drain, line.maintenance, line.owes) == ("request draining", "maintenance_suspended", 1)
    assert (line.draining, line.dead_at_us) == (1, 5)
    assert (other.draining, other.maintenance, other.owes) == (0, "maintenance", 0)
    assert (line.awaits_former, other.awaits_former) == (0, 1)
