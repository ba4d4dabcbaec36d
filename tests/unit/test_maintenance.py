"""actions.maintenance over rows: UIP-1 to UIP-7, UIP-9, UIP-10, CRY-1, CRY-2, CRY-6."""

from __future__ import annotations

import msgspec
import pytest

from server.actions import agents, maintenance, monitors, reports, runs
from server.core import agent_wire as wire
from server.core.gates import MAINTENANCE, SUSPENDED
from server.core.maintenance import CRYOSPARC, UIPATH, Phase, Policy, Running, Session, Wish
from server.core.model import SECOND_US, SYSTEM, Principal, Run
from server.errors import Conflict, Forbidden, Invalid, NotFound
from server.storage import gates as gate_rows
from server.storage import maintenance as rows
from server.storage import runs as run_rows
from server.storage import schedules
from tests.unit.ledger import START_US, Ledger
from tests.unit.stage import Stage

BOSS = Principal("boss", "administrator", "192.0.2.1")
OPERATOR = Principal("ann", "operator", "192.0.2.2")
NORTH, SOUTH = ("north" * 32)[:32], ("south" * 32)[:32]
ON = Wish(phase="draining", policy=CRYOSPARC, keeps=True)
DRAINING, SUSPENDING = Wish(phase="draining"), Wish(phase="suspended")


@pytest.fixture
def ledger() -> Ledger:
    made = Ledger()
    made.add_agent("north")
    made.add_agent("south")
    made.add_job("backup", cron="")
    made.add_job("report", cron="", agent="south")
    return made


def running(ledger: Ledger, count: int = 1, job: str = "backup") -> list[Run]:
    """Runs that their agent has begun."""
    made = [ledger.do(runs.run_now(job, f"r{ledger.count('runs')}", SYSTEM, START_US)) for _ in range(count)]
    for run in made:
        run_rows.set_state(ledger.connection, run.number, "running", START_US, dispatched_epoch=1)
    return made


def now(ledger: Ledger, scope: str = "") -> Session:
    found = rows.latest(ledger.connection, scope)
    assert found is not None
    return found


def phases(ledger: Ledger, scope: str = "") -> list[str]:
    return [row.phase for row in rows.log(ledger.connection, now(ledger, scope).id)]


def in_force(ledger: Ledger) -> set[tuple[str, str]]:
    return {(gate.kind, gate.agent_id) for gate in gate_rows.every(ledger.connection)}


def test_uip_6_the_log_has_two_three_and_four_entries(ledger: Ledger) -> None:
    """UIP-1, UIP-6: None is the first entry; Draining, Suspended and End add one each; it stays as it is afterwards."""
    ledger.do(maintenance.start(DRAINING, "", BOSS, START_US))
    assert phases(ledger) == ["none", "draining"]
    ledger.do(maintenance.start(msgspec.structs.replace(SUSPENDING, force=True), "", BOSS, START_US + 1))
    assert phases(ledger) == ["none", "draining", "suspended"]
    ledger.do(maintenance.end("", BOSS, START_US + 2, must_be=True))
    assert phases(ledger) == ["none", "draining", "suspended", "none"]
    assert (now(ledger).phase, now(ledger).ended_by) == (Phase.NONE, "boss")
    assert in_force(ledger) == set()


def test_uip_2_draining_asks_what_runs_to_stop_and_counts_it_once(ledger: Ledger) -> None:
    """UIP-2: each running run is asked once, gracefully; one that waits is not; Draining again changes nothing."""
    first, second = running(ledger, 2)
    ledger.do(maintenance.start(DRAINING, "", BOSS, START_US))
    waiting = ledger.do(runs.run_now("backup", "later", SYSTEM, START_US))
    again = ledger.do(maintenance.start(DRAINING, "", BOSS, START_US + 1))
    assert (again.changed, now(ledger).stops_attempted) == (False, 2)
    for run in (first, second):
        asked = runs.find(ledger.connection, run.number)
        assert (asked.cancel_requested_by, asked.cancel_kill) == ("maintenance", False)
    kept = runs.find(ledger.connection, waiting.number)
    assert (kept.state, kept.reason, kept.cancel_requested_at_us) == ("waiting", "maintenance", None)
    assert [(row.run, row.kill) for row in rows.ended(ledger.connection, now(ledger).id)] == [(1, False), (2, False)]


def test_uip_3_suspended_is_a_conflict_that_names_the_runs(ledger: Ledger) -> None:
    """UIP-3: refused while runs run, and nothing changes; with force they go on; once nothing runs it just is."""
    (run,) = running(ledger)
    before = ledger.count("audit")
    with pytest.raises(Conflict, match=r"run 1 \(backup on north\)"):
        ledger.do(maintenance.start(SUSPENDING, "", BOSS, START_US))
    assert (ledger.count("maintenance_sessions"), ledger.count("audit")) == (0, before)
    run_rows.set_state(ledger.connection, run.number, "succeeded", START_US)
    ledger.do(maintenance.start(SUSPENDING, "", BOSS, START_US))
    assert in_force(ledger) == {(SUSPENDED, "")}


def test_uip_3_force_asks_no_run_to_stop(ledger: Ledger) -> None:
    """UIP-3, CRY-6: Suspended by force, at once or after `on`: what runs goes on, also what is reported later."""
    by_force = msgspec.structs.replace(SUSPENDING, force=True)
    for wish in (by_force, ON):
        (run,) = running(ledger)
        ledger.do(maintenance.start(wish, "", BOSS, START_US))
        ledger.do(maintenance.start(by_force, "", BOSS, START_US + 1))
        assert runs.find(ledger.connection, run.number).cancel_requested_at_us is None
        assert (now(ledger).phase, now(ledger).stops_attempted) == (Phase.SUSPENDED, 0)
        assert not maintenance.has_work(ledger.connection, START_US + 2)
        ledger.do(maintenance.end("", BOSS, START_US + 3))


def test_uip_4_kill_jobs_kills_what_was_asked_to_stop(ledger: Ledger) -> None:
    """UIP-4: stops and kills are counted apart; a run that is reported later is killed too."""
    (run,) = running(ledger)
    ledger.do(maintenance.start(DRAINING, "", BOSS, START_US))
    ledger.do(maintenance.start(msgspec.structs.replace(SUSPENDING, kill_runs=True), "", BOSS, START_US + 1))
    assert runs.find(ledger.connection, run.number).cancel_kill
    assert (now(ledger).stops_attempted, now(ledger).kills_attempted) == (1, 1)
    running(ledger, job="report")
    assert maintenance.has_work(ledger.connection, START_US + 2)
    assert ledger.do(maintenance.go_on(START_US + 2)) == 1
    assert now(ledger).kills_attempted == 2
    assert not maintenance.has_work(ledger.connection, START_US + 2)
    for wish in (Wish(phase="draining", kill_runs=True), Wish(phase="draining", force=True), Wish(phase="none")):
        with pytest.raises(Invalid):
            ledger.do(maintenance.start(wish, "", BOSS, START_US))


def test_many_runs_are_asked_in_batches(ledger: Ledger) -> None:
    """No commit is huge: the start asks the first ones, the scheduler all others, each once."""
    running(ledger, maintenance.BATCH + 5)
    ledger.do(maintenance.start(DRAINING, "", BOSS, START_US))
    assert now(ledger).stops_attempted == maintenance.BATCH
    assert ledger.do(maintenance.go_on(START_US + 1)) == 5
    assert now(ledger).stops_attempted == maintenance.BATCH + 5
    assert ledger.do(maintenance.go_on(START_US + 1)) == 0


def test_uip_5_end_without_a_maintenance_is_a_conflict(ledger: Ledger) -> None:
    """UIP-5: `End` says so; `off` of CRY-1 changes nothing and is no error."""
    with pytest.raises(Conflict, match="not in maintenance"):
        ledger.do(maintenance.end("", BOSS, START_US, must_be=True))
    assert not ledger.do(maintenance.end("", BOSS, START_US)).changed
    assert ledger.count("audit", "action LIKE 'maintenance.%'") == 0


def test_cry_1_on_and_off_twice_are_once(ledger: Ledger) -> None:
    """CRY-1: idempotent, with one row of audit each; nobody is asked to stop."""
    running(ledger)
    assert ledger.do(maintenance.start(ON, "", BOSS, START_US)).changed
    assert not ledger.do(maintenance.start(ON, "", BOSS, START_US + 1)).changed
    assert in_force(ledger) == {(MAINTENANCE, "")}
    assert now(ledger).stops_attempted == 0
    assert ledger.do(maintenance.end("", BOSS, START_US + 2)).changed
    assert not ledger.do(maintenance.end("", BOSS, START_US + 3)).changed
    assert ledger.count("audit", "action LIKE 'maintenance.%'") == 2


def test_cry_6_end_ends_either_and_each_sees_the_other(ledger: Ledger) -> None:
    """CRY-6: one state: UiPath's call takes CryoSPARC's further, `on` leaves UiPath's, `off` ends it."""
    ledger.do(maintenance.start(ON, "", BOSS, START_US))
    ledger.do(maintenance.start(DRAINING, "", BOSS, START_US + 1))
    assert (now(ledger).policy, in_force(ledger)) == (UIPATH, {(SUSPENDED, "")})
    assert not ledger.do(maintenance.start(ON, "", BOSS, START_US + 2)).changed
    assert now(ledger).policy == UIPATH
    assert ledger.do(maintenance.end("", BOSS, START_US + 3)).changed
    assert ledger.count("maintenance_sessions") == 1


def test_uip_9_who_may_and_what_is_audited(ledger: Ledger) -> None:
    """UIP-9: an operator may not change the host's phase, but an agent's; each transition is audited by name."""
    with pytest.raises(Forbidden):
        maintenance.start(DRAINING, "", OPERATOR, START_US)
    with pytest.raises(Forbidden):
        maintenance.end("", OPERATOR, START_US)
    assert ledger.do(maintenance.start(ON, "agent:north", OPERATOR, START_US)).changed
    who = ledger.connection.execute("SELECT who, object FROM audit WHERE action = 'maintenance.start'").fetchall()
    assert who == [("ann", "agent:north")]


def test_uip_10_one_agent_with_wait_or_kill(ledger: Ledger) -> None:
    """UIP-10: only its own runs count and are ended; its gate is its own; the rest goes on."""
    (own,), (other,) = running(ledger), running(ledger, job="report")
    ledger.do(maintenance.start(ON, "agent:north", BOSS, START_US))
    assert in_force(ledger) == {(MAINTENANCE, NORTH)}
    assert runs.find(ledger.connection, own.number).cancel_requested_at_us is None
    kill = Wish(phase="draining", policy=Policy(Running.KILL))
    ledger.do(maintenance.start(kill, "agent:north", BOSS, START_US + 1))
    assert runs.find(ledger.connection, own.number).cancel_kill
    assert runs.find(ledger.connection, other.number).cancel_requested_at_us is None
    with pytest.raises(NotFound):
        ledger.do(maintenance.start(ON, "agent:nobody", BOSS, START_US))
    assert ledger.do(runs.run_now("report", "now", SYSTEM, START_US)).state == "starting"


def test_the_maintenance_of_an_agent_that_is_gone_is_over(ledger: Ledger) -> None:
    """No session stands without its gate."""
    ledger.do(maintenance.start(ON, "agent:south", BOSS, START_US))
    ledger.connection.execute("UPDATE jobs SET agent_id = ? WHERE agent_id = ?", (NORTH, SOUTH))
    ledger.do(agents.remove("south", BOSS, START_US + 1))
    assert (now(ledger, "agent:south").ended_at_us, in_force(ledger)) == (START_US + 1, set())


def test_a_silent_agent_that_may_run_something_counts_and_a_dead_one_does_not(ledger: Ledger) -> None:
    """UIP-3: what is unknown may be at work; declared dead it is not."""
    (run,) = running(ledger)
    run_rows.set_state(ledger.connection, run.number, "unknown", START_US)
    with pytest.raises(Conflict):
        ledger.do(maintenance.start(SUSPENDING, "", BOSS, START_US))
    ledger.connection.execute("UPDATE agents SET dead_at_us = 1, silent_since_us = 1 WHERE name = 'north'")
    assert ledger.do(maintenance.start(SUSPENDING, "", BOSS, START_US)).changed


def test_skipped_executions_are_counted_and_listed_also_when_they_are_told_late(ledger: Ledger) -> None:
    """UIP-6: occurrences and runs of events that the time of the session suppressed, of that time alone."""
    job = ledger.add_job("often", cron="*/5 * * * *")
    (schedule,) = schedules.of_job(ledger.connection, job.id)
    spec = monitors.MonitorSpec(name="door", agent="north", kind="manual", jobs=["backup"])
    ledger.do(monitors.create(spec, SYSTEM, START_US))
    ledger.do(maintenance.start(DRAINING, "", BOSS, START_US))
    ledger.do(monitors.fire("door", {}, "e1", SYSTEM, START_US + 5))
    ledger.do(maintenance.end("", BOSS, START_US + 9))
    for number, at_us in enumerate((START_US + 1, START_US + 8, START_US + 10), 1):
        told = wire.Report(number, "", at_us, wire.Suppressed(job.id, schedule.id, at_us, "maintenance"))
        ledger.do(reports.record(NORTH, [told], 1, START_US + 20))
    assert rows.count_skipped(ledger.connection, now(ledger)) == (2, 1)
    listed = rows.skipped(ledger.connection, now(ledger))
    assert [(one.job, one.at_us - START_US, one.run is None) for one in listed] == [
        ("often", 1, True),
        ("often", 8, True),
        ("backup", 5, False),
    ]


def test_an_event_submits_nothing_while_it_is_suppressed_and_waits_while_it_queues(ledger: Ledger) -> None:
    """UIP-2: events are accepted and submit nothing; CRY-2: under `on` their runs wait."""
    spec = monitors.MonitorSpec(name="door", agent="north", kind="manual", jobs=["backup"])
    ledger.do(monitors.create(spec, SYSTEM, START_US))
    ledger.do(maintenance.start(ON, "", BOSS, START_US))
    ledger.do(monitors.fire("door", {}, "e1", SYSTEM, START_US))
    ledger.do(maintenance.start(DRAINING, "", BOSS, START_US))
    ledger.do(monitors.fire("door", {}, "e2", SYSTEM, START_US))
    found = ledger.connection.execute("SELECT state, reason FROM runs ORDER BY number").fetchall()
    assert found == [("waiting", "maintenance"), ("missed", "maintenance")]


async def test_it_goes_on_by_itself_when_nothing_runs_and_ends_at_its_time() -> None:
    """Draining becomes Suspended once the last run has ended, by the scheduler; the end comes at its time."""
    stage = Stage()
    ledger = stage.ledger
    ledger.add_job("backup", cron="")
    (run,) = running(ledger)
    end_us = stage.clock.now_us + 60 * SECOND_US
    wish = msgspec.structs.replace(DRAINING, suspend_when_idle=True, end_at_us=end_us)
    done = ledger.do(maintenance.start(wish, "", BOSS, stage.clock.now_us))
    ledger.connection.execute("UPDATE agents SET ticket = 1")
    assert await stage.turn(SECOND_US) <= end_us
    assert now(ledger).phase is Phase.DRAINING
    run_rows.set_state(ledger.connection, run.number, "cancelled", stage.clock.now_us)
    await stage.turn(SECOND_US)
    assert now(ledger).phase is Phase.DRAINING  # the agent has not said yet that it starts nothing more
    ledger.acknowledge_gates("north", done.gates.revision)
    await stage.turn(SECOND_US)
    assert (now(ledger).phase, in_force(ledger)) == (Phase.SUSPENDED, {(SUSPENDED, "")})
    await stage.turn(60 * SECOND_US)
    assert (now(ledger).phase, in_force(ledger)) == (Phase.NONE, set())
    assert ledger.count("system_messages", "text LIKE '%by itself%'") == 2


async def test_it_is_suspended_at_its_time_and_kills_what_was_said() -> None:
    """At the deadline what runs is killed where that was asked for; it is counted and listed."""
    stage = Stage()
    ledger = stage.ledger
    ledger.add_job("backup", cron="")
    (run,) = running(ledger)
    at_us = stage.clock.now_us + 10 * SECOND_US
    wish = Wish(phase="draining", policy=CRYOSPARC, suspend_at_us=at_us, suspend_kill=True)
    ledger.do(maintenance.start(wish, "", BOSS, stage.clock.now_us))
    assert await stage.turn() == at_us
    await stage.turn(10 * SECOND_US)
    assert (now(ledger).phase, now(ledger).kills_attempted) == (Phase.SUSPENDED, 1)
    assert runs.find(ledger.connection, run.number).cancel_kill


async def test_cry_2_what_waits_is_released_in_order() -> None:
    """CRY-2: submissions are accepted and wait with the reason; after `off` they start in order."""
    stage = Stage()
    ledger = stage.ledger
    ledger.add_job("backup", cron="")
    ledger.do(maintenance.start(ON, "", BOSS, stage.clock.now_us))
    made = [ledger.do(runs.run_now("backup", f"r{n}", SYSTEM, stage.clock.now_us)) for n in range(5)]
    assert {(run.state, run.reason) for run in made} == {("waiting", "maintenance")}
    await stage.turn(SECOND_US)
    assert ledger.count("runs", "state = 'waiting'") == 5
    ledger.do(maintenance.end("", BOSS, stage.clock.now_us))
    await stage.turn(SECOND_US)
    sent = [run.number for run in run_rows.to_dispatch(ledger.connection, NORTH)]
    assert sent == [run.number for run in made]


def test_a_scope_that_there_is_not_is_refused(ledger: Ledger) -> None:
    """Nothing is written for a tenant that nobody made, or for what is no scope."""
    with pytest.raises(NotFound, match="tenant list"):
        ledger.do(maintenance.start(ON, "tenant:acme", BOSS, START_US))
    with pytest.raises(NotFound, match="agent:NAME"):
        ledger.do(maintenance.start(ON, "acme", BOSS, START_US))
    assert ledger.count("maintenance_sessions") == 0
