"""What agents report becomes rows, once: SKY-11, BEY-4, BEY-9, JS7-3."""

from __future__ import annotations

import pytest

from replication.core.types import Epoch
from server.actions import reconciliation, reports, runs
from server.core import agent_wire as wire
from server.core.model import SYSTEM, Job, Order, Run
from server.core.run_keys import occurrence_key
from server.storage import agents as agent_rows
from server.storage import missed as missed_rows
from server.storage import orders as order_rows
from server.storage import runs as run_rows
from server.storage import schedules, server_history, specifications, system_messages
from tests.unit.ledger import START_US, Ledger

NORTH = ("north" * 32)[:32]
SOUTH = ("south" * 32)[:32]
DUE_US = START_US + 100_000_000
HELLO = wire.Hello(NORTH, 1, "1.0", "boot", "instance", START_US)


class Master(Ledger):
    """A ledger with objects, two agents and a job, that takes reports of `north`."""

    def __init__(self) -> None:
        super().__init__()
        self.objects: dict[str, bytes] = {}
        self.add_agent("north")
        self.add_agent("south")
        self.job: Job = self.add_job()
        self.schedule_id = schedules.of_job(self.connection, self.job.id)[0].id
        self.key = occurrence_key(self.job.id, self.schedule_id, DUE_US)
        self.number = 0

    def write_object(self, name: str, offset: int, data: bytes) -> None:
        held = self.objects.get(name, b"")
        self.objects[name] = held[:offset] + data + held[offset + len(data) :]

    def take(self, *messages: reports.Recordable, agent: str = NORTH) -> dict[str, int]:
        return self.do(reports.record(agent, messages, 3, START_US))

    def report(self, body: wire.Body, key: str = "", agent: str = NORTH) -> None:
        self.number += 1
        self.take(wire.Report(self.number, key or self.key, START_US + self.number, body), agent=agent)

    def add_order(self) -> int:
        order = Order(
            id=0,
            schedule_id=self.schedule_id,
            job_id=self.job.id,
            agent_id=NORTH,
            version=1,
            state="active",
            valid_from_us=START_US,
            valid_until_us=DUE_US,
            instants=[(DUE_US, 0, 1)],
            specification=specifications.of_job(self.connection, self.job, self.job.agent_id),
            acknowledged_version=0,
            accounted_until_us=START_US,
            renew_at_us=DUE_US,
            next_instant_us=DUE_US,
        )
        return order_rows.insert(self.connection, order)

    def begun(self) -> wire.Begun:
        return wire.Begun(specifications.of_job(self.connection, self.job, self.job.agent_id), DUE_US, 1)

    def run(self, key: str = "") -> Run:
        found = run_rows.by_key(self.connection, key or self.key)
        assert found is not None
        return found

    def image(self) -> list[str]:
        return [line for line in self.connection.iterdump() if "replication_position" not in line]

    def present(self, *notes: wire.RunNote, ticket: int = 0) -> reconciliation.Admission:
        shown = wire.Present(Epoch(3, "n"), ticket, wire.GateSet(), notes, ())
        return self.do(reconciliation.present(NORTH, HELLO, shown, 3, START_US))


def ended(code: int | None = 0, cause: str = "", signal: int | None = None, size: int = 0) -> wire.Ended:
    return wire.Ended(code, signal, START_US + 5, START_US + 9, size, False, cause, "backup")


def test_an_occurrence_becomes_a_run_with_its_due_time() -> None:
    """The agent began it by its standing order: the row is made from the report."""
    master = Master()
    master.report(master.begun())
    run = master.run()
    assert (run.state, run.scheduled_for_us, run.schedule_id) == ("running", DUE_US, master.schedule_id)
    master.report(ended(3))
    run = master.run()
    assert (run.state, run.exit_code, run.started_at_us, run.ended_at_us) == ("failed", 3, START_US + 5, START_US + 9)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_report_told_again_changes_nothing(count: int) -> None:
    """JS7-3: the same messages in one batch or again later leave the very same rows."""
    master = Master()
    messages = [
        wire.Report(1, master.key, START_US, master.begun()),
        wire.Output(master.key, 0, b"abc", 3),
        wire.Report(2, master.key, START_US, ended(0, size=3)),
        wire.Report(3, "", START_US, wire.Suppressed(master.job.id, master.schedule_id, DUE_US + 1, "still running")),
        wire.Report(4, "j999.rx.a1", START_US, ended(1)),
    ]
    master.take(*messages)
    before = master.image()
    for _ in range(count):
        master.take(*messages)
    assert master.image() == before
    assert master.objects == {f"run-{master.run().number}": b"abc"}


@pytest.mark.parametrize(
    ("end", "state", "reason"),
    [
        (ended(0), "succeeded", ""),
        (ended(1), "failed", ""),
        (ended(None, signal=9), "failed", ""),
        (ended(None, "timeout", 15), "killed", "it ran longer than its timeout"),
        (ended(None, "cancelled", 15), "killed", "cancelled"),
        (ended(None, "interrupted"), "interrupted", "its process is gone without an exit status"),
        (ended(None, "never started"), "interrupted", "it never began"),
        (ended(127, "not startable"), "failed", "not startable"),
    ],
)
def test_how_a_run_ends(end: wire.Ended, state: str, reason: str) -> None:
    """Neither code nor signal is never guessed into success or failure."""
    master = Master()
    master.report(master.begun())
    master.report(end)
    assert (master.run().state, master.run().reason) == (state, reason)


def test_chunks_may_overlap_and_may_not_leave_gaps() -> None:
    """Output is what was printed: a gap is not written over, the answer says from where to go on."""
    master = Master()
    master.report(master.begun())
    assert master.take(wire.Output(master.key, 0, b"abcd", 4)) == {master.key: 4}
    assert master.take(wire.Output(master.key, 9, b"zz", 11)) == {master.key: 4}
    assert master.take(wire.Output(master.key, 2, b"cdef", 6)) == {master.key: 6}
    assert master.objects == {f"run-{master.run().number}": b"abcdef"}
    assert master.run().output_bytes == 6


def test_what_nobody_explains_is_kept() -> None:
    """SKY-11: unknown job, malformed key, or a run that went to another agent: Server History with output."""
    master = Master()
    run = master.do(runs.run_now("backup", "here", SYSTEM, START_US))
    for key, agent in (("j999.rx.a1", NORTH), ("nonsense", NORTH), (run.key, SOUTH)):
        master.take(wire.Output(key, 0, b"proof", 5), agent=agent)
        master.report(ended(4), key, agent)
        entry = server_history.by_key(master.connection, key)
        assert entry is not None
        assert (entry.exit_code, entry.output, entry.agent_id, entry.job_name) == (4, b"proof", agent, "backup")
    assert master.run(run.key).state == "starting"


def test_what_was_suppressed_is_in_the_ledger() -> None:
    """BEY-9: with its cause; closed at once when the policy has decided."""
    master = Master()
    for at, settled in ((DUE_US, False), (DUE_US + 1, True)):
        master.report(wire.Suppressed(master.job.id, master.schedule_id, at, "agent was not running", settled))
    found = [missed_rows.of_occurrence(master.connection, master.schedule_id, at) for at in (DUE_US, DUE_US + 1)]
    assert [(row.cause, row.resolution) for row in found if row] == [
        ("agent was not running", ""),
        ("agent was not running", "policy"),
    ]


def test_a_refused_epoch_is_an_alarm() -> None:
    """BEY-4: people are told, by the agent's name."""
    master = Master()
    master.take(wire.EpochRefused(Epoch(2, "a"), Epoch(3, "b")))
    (message,) = system_messages.page(master.connection)
    assert message.severity == "alarm"
    assert message.text.startswith("north refused epoch 2")


def test_a_held_run_waits_at_its_agent() -> None:
    """SKY-2: waiting with the agent's reason; the master does not submit it a second time."""
    master = Master()
    held = wire.Held(
        specifications.of_job(master.connection, master.job, master.job.agent_id), DUE_US, 1, "queue locked"
    )
    master.report(held)
    assert (master.run().state, master.run().reason, master.run().dispatched_epoch) == ("waiting", "queue locked", 3)
    assert run_rows.waiting(master.connection) == []
    master.report(master.begun())
    assert master.run().state == "running"


def test_the_inventory_answers_every_open_run() -> None:
    """What it names runs, what it does not name never began and goes again, what had begun is interrupted."""
    master = Master()
    given = [master.do(runs.run_now("backup", name, SYSTEM, START_US)) for name in ("here", "lost", "gone", "fresh")]
    here, lost, gone, fresh = (run.number for run in given)
    master.do(reconciliation.dispatch(NORTH, 2, START_US))
    run_rows.update(master.connection, fresh, dispatched_epoch=None)
    master.do(lambda t: reports.begin(t.connection, master.run(given[2].key), START_US))
    assert master.do(reconciliation.open_epoch(3, START_US)) == 2
    assert master.run(given[0].key).state == "unknown"
    verdict = master.present(wire.RunNote(given[0].key, "running"))
    assert verdict.admitted is not None
    states = {n: run_rows.get(master.connection, n).state for n in (here, lost, gone, fresh)}  # type: ignore[union-attr]  # all exist
    assert states == {here: "running", lost: "waiting", gone: "interrupted", fresh: "starting"}
    master.do(runs.agent_is_back(NORTH, START_US))
    dispatched = master.do(reconciliation.dispatch(NORTH, 3, START_US))
    assert [one.number for one in dispatched] == [lost, fresh]


def test_a_gate_set_meanwhile_stops_a_dispatch() -> None:
    """Check and write are one change: a run that was about to be sent waits again."""
    from server.actions import gates

    master = Master()
    run = master.do(runs.run_now("backup", "one", SYSTEM, START_US))
    master.do(gates.lock_all(SYSTEM, START_US))
    assert master.do(reconciliation.dispatch(NORTH, 3, START_US)) == []
    assert (master.run(run.key).state, master.run(run.key).reason) == ("waiting", "queue locked")


def test_tickets_go_up_and_an_old_one_is_a_quarantine() -> None:
    """The next must show the last, or its predecessor while that was never confirmed."""
    master = Master()
    first = master.present(ticket=0)
    assert first.admitted is not None
    assert first.admitted.ticket == 1
    master.take(wire.TicketKept(1))
    assert master.present(ticket=1).admitted is not None
    assert master.present(ticket=1).admitted is not None, "the second was never confirmed"
    master.take(wire.TicketKept(3))
    refused = master.present(ticket=1)
    assert refused.admitted is None
    assert "accept-restored north" in refused.refusal
    assert agent_rows.get(master.connection, NORTH).quarantined_at_us is not None  # type: ignore[union-attr]  # it exists
    said = [(m.severity, m.text) for m in system_messages.page(master.connection)]
    assert [severity for severity, _ in said] == ["alarm", "alarm"]
    assert sum("understudy witness set" in text for _, text in said) == 1, "it was the witness, and is none any more"
    assert master.present(ticket=3).admitted is None, "only an operator ends it"


def test_orders_that_the_agent_lacks_are_given_again_and_strays_taken_back() -> None:
    """Its list is the truth about what it holds."""
    master = Master()
    order_id = master.add_order()
    master.take(wire.OrderKept(order_id, 1))
    assert order_rows.unacknowledged(master.connection, NORTH) == []
    shown = wire.Present(Epoch(3, "n"), 0, wire.GateSet(), (), ((77, 2),))
    verdict = master.do(reconciliation.present(NORTH, HELLO, shown, 3, START_US))
    assert verdict.strays == ((77, 2),)
    assert [order.id for order in order_rows.unacknowledged(master.connection, NORTH)] == [order_id]


def test_a_returned_order_is_released_with_what_it_started() -> None:
    """Only the answer to the version that took it back counts."""
    master = Master()
    order_id = master.add_order()
    order = order_rows.get(master.connection, order_id)
    assert order is not None
    order_rows.begin_release(master.connection, order)
    master.take(wire.Released(order_id, 1, ()))
    assert order_rows.get(master.connection, order_id).state == "releasing"  # type: ignore[union-attr]  # it exists
    master.take(wire.Released(order_id, 2, (DUE_US,)))
    assert order_rows.get(master.connection, order_id).state == "released"  # type: ignore[union-attr]  # it exists


def test_a_removed_agent_is_not_admitted() -> None:
    """It is told what to do: enrol again."""
    master = Master()
    agent_rows.update(master.connection, NORTH, removed_at_us=START_US)
    assert "enrol the machine again" in master.present().refusal


def test_an_output_that_comes_before_its_run_makes_the_run() -> None:
    """The begin of it is on its way yet: what it printed is kept with the run, not among the unexplained."""
    master = Master()
    assert master.take(wire.Output(master.key, 0, b"early\n", 6)) == {master.key: 6}
    assert (master.run().state, master.run().output_bytes) == ("running", 6)
    master.report(master.begun())
    master.report(ended(0, size=6))
    run = master.run()
    assert (run.state, run.output_bytes, run.scheduled_for_us) == ("succeeded", 6, DUE_US)
    assert master.objects == {f"run-{run.number}": b"early\n"}
    assert server_history.by_key(master.connection, master.key) is None


def test_the_question_what_is_held_of_an_unknown_run_makes_nothing() -> None:
    """An agent asks with an empty chunk; also of a run that never had a process."""
    master = Master()
    unknown = "j999.rx.a1"
    asked = wire.Output(master.key, 0, b"", 0), wire.Output(unknown, 7, b"", 7)
    assert master.take(*asked) == {master.key: 0, unknown: 0}
    assert run_rows.by_key(master.connection, master.key) is None
    assert server_history.page(master.connection) == []
