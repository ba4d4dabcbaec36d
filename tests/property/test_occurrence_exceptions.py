"""JS7-2: over random edits, links and restarts each instant is exactly one of run, missed or skipped."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from server.actions import exceptions, jobs, reports
from server.actions.exceptions import ExceptionSpec
from server.core import agent_wire as wire
from server.core import occurrence_exceptions
from server.core.model import MINUTE_US, SECOND_US, SYSTEM
from server.errors import UnderstudyError
from server.office.deliverer import order_message
from server.storage import orders as order_rows
from tests.unit.agent_world import World
from tests.unit.stage import FIRST_US, Stage

STEP_US = 5 * MINUTE_US
SEEDS = 28
ROUNDS = 45


class Couple:
    """A scheduler and its one agent, who talk when there is a link."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.desk = Stage()
        self.job = self.desk.ledger.add_job(misfire_policy="ask", misfire_grace_s=60)
        self.agent = World(wall_us=self.desk.clock.now_us)
        self.linked, self.ticket, self.edits = False, 0, 0

    async def turn(self, later_s: float = 0) -> None:
        """Time passes for both, and what can be said is said."""
        until_us = self.agent.wall_us + round(later_s * SECOND_US)
        while self.agent.wall_us < until_us:
            due_us = self.agent.session.next_deadline_us(self.agent.now)
            self.agent.pass_s((min(until_us, due_us or until_us) - self.agent.wall_us) / SECOND_US)
        self.desk.clock.now_us = self.agent.wall_us
        await self.desk.turn()
        self.talk()
        await self.desk.turn()

    def talk(self) -> None:
        """Orders one way, reports the other; a link that is down keeps both."""
        if not self.linked:
            return
        for order in order_rows.unacknowledged(self.desk.ledger.connection, self.job.agent_id):
            self.agent.hear(order_message(order))
        while self.agent.sent:
            said, self.agent.sent = [message for _, message in self.agent.sent], []
            kept = [message for message in said if isinstance(message, reports.Recordable)]
            self.desk.ledger.do(reports.record(self.job.agent_id, kept, 1, self.desk.clock.now_us))
            numbers = tuple(message.id for message in kept if isinstance(message, wire.Report))
            if numbers:
                self.agent.hear(wire.Kept(numbers, 1, True))

    def connect(self) -> None:
        """A new link; what the agent had said on the old one and nobody took is said again."""
        self.agent.sent.clear()
        self.ticket += 1
        self.agent.connect(ticket=self.ticket)
        self.linked = True

    def disconnect(self) -> None:
        """The link is gone."""
        self.agent.do(self.agent.session.link_closed("a" * 32))
        self.linked = False

    def edit(self) -> None:
        """Say something of an occurrence near now; what is refused changes nothing."""
        now_us = self.desk.clock.now_us
        number = (now_us - FIRST_US) // STEP_US + self.random.randrange(-1, 5)
        at_us = FIRST_US + number * STEP_US
        to_us = now_us - now_us % SECOND_US + self.random.randrange(10, 1500) * SECOND_US
        what: dict[str, object] = self.random.choice([{"skip": True}, {"move_to_us": to_us}, {"command": "once"}])
        try:
            if self.random.random() < 0.25:
                self.desk.ledger.do(exceptions.remove("backup", at_us, SYSTEM, now_us))
            else:
                spec = ExceptionSpec(instant_us=at_us, **what)  # type: ignore[arg-type]  # one of the three
                self.desk.ledger.do(exceptions.put("backup", spec, SYSTEM, now_us))
            self.edits += 1
        except UnderstudyError:
            return

    def hold(self) -> None:
        """Hold or release the job."""
        held = self.desk.ledger.connection.execute("SELECT held FROM jobs").fetchone()[0]
        change = jobs.release if held else jobs.hold
        self.desk.ledger.do(change("backup", SYSTEM, self.desk.clock.now_us))

    async def live(self, with_holds: bool) -> None:
        """Random events, then peace until all is said."""
        await self.turn()
        for _ in range(ROUNDS):
            event = self.random.random()
            if event < 0.3:
                self.edit()
            elif event < 0.4:
                self.disconnect() if self.linked else self.connect()
            elif event < 0.45:
                self.linked = False
                self.agent.sent.clear()
                self.agent.start()
            elif event < 0.5 and with_holds and self.linked:
                self.hold()
            await self.turn(self.random.choice([1, 20, 45, 100, 240]))
        if self.desk.ledger.connection.execute("SELECT held FROM jobs").fetchone()[0]:
            self.hold()
        self.connect()
        for _ in range(60):
            await self.turn(30)

    def verdicts(self) -> dict[int, list[str]]:
        """What became of each instant that is past: its runs, and its row in the ledger unless a run came of it."""
        connection = self.desk.ledger.connection
        found: dict[int, list[str]] = {}
        last = (self.desk.clock.now_us - MINUTE_US - FIRST_US) // STEP_US
        for number in range(last + 1):
            at_us = FIRST_US + number * STEP_US
            runs = connection.execute("SELECT key FROM runs WHERE scheduled_for_us = ?", (at_us,)).fetchall()
            query = "SELECT cause FROM missed WHERE scheduled_for_us = ? AND resolution != 'run'"
            found[number] = [f"run {key}" for (key,) in runs]
            found[number] += [f"row {cause}" for (cause,) in connection.execute(query, (at_us,))]
        return found


@pytest.mark.parametrize("with_holds", [False, True])
async def test_each_instant_has_one_fate(with_holds: bool) -> None:
    """Whatever was skipped, moved, changed and taken back, whenever the agent heard of it: never two, never none."""
    fates: Counter[str] = Counter()
    for seed in range(SEEDS // 2):
        couple = Couple(seed)
        await couple.live(with_holds)
        for number, fate in couple.verdicts().items():
            assert len(fate) == 1, f"seed {seed}, instant {number}: {fate}"
            fates["skipped" if "skipped by" in fate[0] else fate[0].split()[0]] += 1
        doubled = {key: count for key, count in couple.agent.processes.items() if count > 1}
        assert not doubled, f"seed {seed}: {doubled}"
        moved = couple.desk.ledger.count("runs", "abs(started_at_us - scheduled_for_us) > 15000000")
        fates["moved"] += moved
        fates["changed"] += couple.desk.ledger.count("runs", "command = 'once'")
        fates["edits"] += couple.edits
    assert all(fates[kind] > 10 for kind in ("run", "row", "skipped", "moved", "changed", "edits")), fates


async def test_an_agent_that_never_comes_to_its_exceptions_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The property can fail: instants that an exception names would have no fate at all."""
    monkeypatch.setattr(occurrence_exceptions, "due", lambda *_: [])
    couple = Couple(1)
    await couple.live(False)
    assert any(not fate for fate in couple.verdicts().values())
