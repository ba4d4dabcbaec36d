"""actions.gates and actions.swap: revisions, twice is once, and gates restored exactly."""

from __future__ import annotations

import msgspec
import pytest

from server.actions import gates, maintenance, orders, reports, swap
from server.core import agent_wire as wire
from server.core.gates import SUSPENDED
from server.core.maintenance import CRYOSPARC, Wish
from server.core.model import SYSTEM, Principal
from server.errors import Conflict, Forbidden, NotFound
from server.storage import gates as gate_rows
from server.storage import schedules
from server.storage import swaps as swap_rows
from tests.unit.ledger import START_US, Ledger

ANN = Principal("ann", "operator", "192.0.2.1")
BOSS = Principal("boss", "administrator", "192.0.2.1")


@pytest.fixture
def ledger() -> Ledger:
    made = Ledger()
    made.add_agent("north")
    made.add_agent("south")
    return made


def in_force(ledger: Ledger) -> set[tuple[str, str, str]]:
    return {(gate.kind, gate.agent_id, gate.set_by) for gate in gate_rows.every(ledger.connection)}


def test_locking_twice_is_locking_once(ledger: Ledger) -> None:
    """SKY-2: the second lock changes no row, no revision, writes no audit, and ann stays on record."""
    first = ledger.do(gates.lock_all(ANN, START_US, "swap tonight"))
    audited = ledger.count("audit")
    again = ledger.do(gates.lock_all(SYSTEM, START_US + 1))
    assert (first.changed, again.changed) == (True, False)
    assert first.revision == again.revision
    assert ledger.count("audit") == audited
    assert in_force(ledger) == {("queue_locked", "", "ann")}


def test_agents_that_have_not_acknowledged_are_counted(ledger: Ledger) -> None:
    """The count beside the button: who has persisted the present revision is no longer in it."""
    summary = ledger.do(gates.lock_all(ANN, START_US))
    assert (summary.total, summary.unacknowledged) == (2, 2)
    ledger.acknowledge_gates("north", summary.revision)
    assert ledger.do(gates.lock_all(ANN, START_US)).unacknowledged == 1


def test_unlock_all_lifts_single_locks_too(ledger: Ledger) -> None:
    """Unlock all leaves no lock behind, whichever way it was set."""
    ledger.do(gates.lock("north", ANN, START_US))
    ledger.do(gates.lock_all(ANN, START_US))
    assert ledger.do(gates.unlock_all(ANN, START_US)).changed
    assert in_force(ledger) == set()


def test_one_queue_cannot_be_unlocked_under_a_lock_of_all(ledger: Ledger) -> None:
    """While all are locked, unlocking one is refused with what to do, and nothing changes."""
    ledger.do(gates.lock_all(ANN, START_US))
    with pytest.raises(Conflict, match="Unlock all"):
        ledger.do(gates.unlock("north", ANN, START_US))
    assert in_force(ledger) == {("queue_locked", "", "ann")}


def test_who_may_not_and_what_is_not_there(ledger: Ledger) -> None:
    """A user may not lock; an agent that is not there is named."""
    with pytest.raises(Forbidden, match="operator"):
        gates.lock_all(Principal("bob", "user"), START_US)
    with pytest.raises(NotFound, match="west"):
        ledger.do(gates.lock("west", ANN, START_US))


def test_a_lifted_stop_is_remembered(ledger: Ledger) -> None:
    """SKY-3: from when until when the scheduler was stopped stays on record until it is accounted for."""
    stopped = ledger.do(gates.stop_scheduler(ANN, START_US))
    ledger.do(gates.start_scheduler(ANN, START_US + 60))
    (stop,) = gate_rows.stops(ledger.connection)
    assert (stop.from_us, stop.until_us, stop.revision) == (START_US, START_US + 60, stopped.revision)
    assert not ledger.do(gates.start_scheduler(ANN, START_US + 61)).changed
    assert len(gate_rows.stops(ledger.connection)) == 1


def test_every_change_is_audited(ledger: Ledger) -> None:
    """Who, from where, what, and why."""
    ledger.do(gates.lock("south", ANN, START_US, "disk replaced"))
    row = ledger.connection.execute("SELECT who, address, action, object, reason FROM audit ORDER BY id DESC LIMIT 1")
    assert tuple(row.fetchone()) == ("ann", "192.0.2.1", "gates.lock", "south", "disk replaced")


def test_a_swap_restores_gates_exactly(ledger: Ledger) -> None:
    """BEY-1: after the swap the locks and the stop are those of before, with who set them and when, in one change."""
    ledger.do(gates.lock("north", ANN, START_US, "disk replaced"))
    before = [msgspec.structs.replace(gate, revision=0) for gate in gate_rows.every(ledger.connection)]
    opened = ledger.do(swap.begin("planned", "a", "b", ["lock", "hand off"], [], SYSTEM, START_US + 1))
    ledger.do(gates.lock_all(SYSTEM, START_US + 2))
    ledger.do(gates.stop_scheduler(SYSTEM, START_US + 2))
    ledger.do(gates.unlock_all(SYSTEM, START_US + 3))
    ended = ledger.do(swap.finish(opened.id, "done", "all is well", SYSTEM, START_US + 4))
    after = [msgspec.structs.replace(gate, revision=0) for gate in gate_rows.every(ledger.connection)]
    assert after == before
    assert ended.state == "done"
    assert len(gate_rows.stops(ledger.connection)) == 1


def test_restored_gates_are_a_new_revision(ledger: Ledger) -> None:
    """Agents that acknowledged the swap's gates must acknowledge the restored ones again."""
    opened = ledger.do(swap.begin("planned", "a", "b", ["lock"], [], SYSTEM, START_US))
    locked = ledger.do(gates.lock_all(SYSTEM, START_US))
    ledger.acknowledge_gates("north", locked.revision)
    ledger.acknowledge_gates("south", locked.revision)
    ledger.do(swap.finish(opened.id, "aborted", "", SYSTEM, START_US))
    assert gates.summarise(ledger.connection, False).unacknowledged == 2


def test_one_swap_at_a_time(ledger: Ledger) -> None:
    """A second swap is refused while one is open, and finishing twice is finishing once."""
    opened = ledger.do(swap.begin("planned", "a", "b", ["lock"], [], SYSTEM, START_US))
    with pytest.raises(Conflict, match="running"):
        ledger.do(swap.begin("planned", "a", "b", ["lock"], [], SYSTEM, START_US))
    ledger.do(swap.finish(opened.id, "failed", "first", SYSTEM, START_US))
    assert ledger.do(swap.finish(opened.id, "done", "second", SYSTEM, START_US)).report == "first"
    ledger.do(swap.begin("planned", "b", "a", ["lock"], [], SYSTEM, START_US))


def test_steps_keep_their_times_and_proofs(ledger: Ledger) -> None:
    """A step starts when it runs, ends when it is done, and one that runs when the swap fails is failed."""
    opened = ledger.do(swap.begin("planned", "a", "b", ["lock", "hand off"], [], SYSTEM, START_US))
    ledger.do(swap.update_step(opened.id, "lock", "running", START_US + 1))
    ledger.do(swap.update_step(opened.id, "lock", "done", START_US + 2, "acknowledged 2 of 2"))
    ledger.do(swap.update_step(opened.id, "hand off", "running", START_US + 3))
    ended = ledger.do(swap.finish(opened.id, "failed", "", SYSTEM, START_US + 4))
    lock, hand_off = ended.steps
    assert (lock.started_at_us, lock.ended_at_us, lock.proof) == (START_US + 1, START_US + 2, "acknowledged 2 of 2")
    assert (hand_off.state, hand_off.ended_at_us) == ("failed", START_US + 4)


def test_abort_is_a_request_with_a_name(ledger: Ledger) -> None:
    """The first who asks is kept; without a swap there is nothing to abort."""
    with pytest.raises(Conflict, match="nothing to abort"):
        ledger.do(swap.request_abort(ANN, START_US))
    ledger.do(swap.begin("planned", "a", "b", ["lock"], [], SYSTEM, START_US))
    ledger.do(swap.request_abort(ANN, START_US))
    assert ledger.do(swap.request_abort(SYSTEM, START_US)).abort_requested_by == "ann"


def test_a_takeover_is_kept_once_in_the_history_with_what_was_told_of_loss(ledger: Ledger) -> None:
    """BEY-6: the bound is found later; written twice it is one row; it is no practised swap."""
    told = "The master was last heard 42 s ago at request 1,234. This node is master in epoch 4."
    for at in (START_US, START_US + 1):
        ledger.do(swap.record_takeover("b" * 32, told, ["--allow-data-loss"], ANN, at))
    rows = swap_rows.page(ledger.connection)
    assert [(row.kind, row.state, row.report, row.accepted) for row in rows] == [
        ("takeover", "done", told, ["--allow-data-loss"])
    ]
    assert swap_rows.newest(ledger.connection) is None
    assert swap_rows.open_swap(ledger.connection) is None


def test_maintenance_has_one_phase_at_a_time(ledger: Ledger) -> None:
    """Suspended takes the place of draining, of one agent or of all; again is the same; its end leaves nothing."""
    draining = Wish(phase="draining", policy=CRYOSPARC)
    suspended = Wish(phase="suspended", policy=CRYOSPARC)
    assert ledger.do(maintenance.start(draining, "agent:north", ANN, START_US)).changed
    assert ledger.do(maintenance.start(suspended, "agent:north", ANN, START_US + 1)).changed
    assert not ledger.do(maintenance.start(suspended, "agent:north", ANN, START_US + 2)).changed
    north = (name for (name,) in ledger.connection.execute("SELECT id FROM agents WHERE name = 'north'"))
    assert in_force(ledger) == {(SUSPENDED, next(north), "ann")}
    assert ledger.do(maintenance.end("agent:north", ANN, START_US + 3)).changed
    assert in_force(ledger) == set()
    assert not ledger.do(maintenance.end("", BOSS, START_US + 4)).changed


def test_what_a_suspended_maintenance_suppressed_is_in_the_ledger_and_decided_at_its_end(ledger: Ledger) -> None:
    """BEY-9: the agent's report is an open row with its cause; no policy runs it before the maintenance is over."""
    job = ledger.add_job()
    (schedule,) = schedules.of_job(ledger.connection, job.id)
    ledger.do(maintenance.start(Wish(phase="suspended"), "", BOSS, START_US))
    told = wire.Report(1, "", START_US, wire.Suppressed(job.id, schedule.id, START_US, "maintenance"))
    ledger.do(reports.record(job.agent_id, [told], 1, START_US))
    ledger.do(orders.resolve_missed(START_US + 1, 0))
    assert ledger.count("missed", "cause = 'maintenance' AND resolution = ''") == 1
    ledger.do(maintenance.end("", BOSS, START_US + 2))
    ledger.do(orders.resolve_missed(START_US + 3, 0))
    assert ledger.count("missed", "resolution = 'run'") == 1
