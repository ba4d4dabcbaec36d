"""Maintenance of one tenant (UIP-8) and closed tenants: at the master, at agents without one, and at the web port."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from server.actions import adoption, drains, groups, maintenance, pools, runs, tenants, tokens, users
from server.actions.change import for_tenant
from server.actions.jobs import JobSpec, When, create
from server.core import agent_wire as wire
from server.core.limits import Limits
from server.core.maintenance import CRYOSPARC, UIPATH, Phase, Wish, strictest
from server.core.model import MINUTE_US, SECOND_US, SYSTEM, Principal
from server.errors import Conflict, Forbidden
from server.storage import agents as agent_rows
from server.storage import gates as gate_rows
from server.storage import maintenance as rows
from server.storage import maintenance_states
from server.storage import runs as run_rows
from server.trust.tls import secret_hash
from tests.unit.agent_world import START_US as AGENT_US
from tests.unit.agent_world import World, specification
from tests.unit.ledger import START_US, Ledger
from tests.unit.stage import FIRST_US, Stage
from tests.unit.web_desk import Desk, open_desk

BOSS = Principal("boss", "administrator", "192.0.2.1")
ON = Wish(phase="draining", policy=CRYOSPARC, keeps=True)
SUSPEND = Wish(phase="suspended", policy=UIPATH, force=True)
ACME, BRAVO = "tenant:acme", "tenant:bravo"
NORTH, WEB = ("north" * 32)[:32], "e" * 32
PHC = "$argon2id$v=19$first"


def people(ledger: Ledger) -> None:
    """Two tenants, each with a job `backup` on the agent that all share."""
    for tenant in ("acme", "bravo"):
        ledger.do(tenants.create(tenant, "", SYSTEM, START_US))
        ledger.do(for_tenant(tenant, create(spec("backup"), SYSTEM, START_US)))


def spec(name: str, cron: str = "", **more: object) -> JobSpec:
    made = JobSpec(name=name, command="true", agent="north", schedules=[When(cron)] if cron else [])
    return msgspec.structs.replace(made, **more)


@pytest.fixture
def stage() -> Stage:
    made = Stage()
    people(made.ledger)
    return made


def submitted(ledger: Ledger, name: str, now_us: int = START_US) -> tuple[str, str]:
    """State and reason of a run that somebody asks for now."""
    run = ledger.do(runs.run_now(name, f"r{ledger.count('runs')}", SYSTEM, now_us))
    return run.state, run.reason


async def test_what_is_of_the_tenant_waits_and_starts_in_order_at_its_end(stage: Stage) -> None:
    """UIP-8, CRY-2: the other tenant and the host go on; a group's run of the tenant waits with the same reason."""
    ledger = stage.ledger
    ledger.add_job("backup", cron="")
    ledger.do(groups.create(groups.GroupSpec(name="web", agents=["north"]), WEB, SYSTEM, START_US))
    for tenant in ("acme", "bravo"):
        ledger.do(for_tenant(tenant, create(spec("spread", agent="", group="web"), SYSTEM, START_US)))
    ledger.do(maintenance.start(ON, ACME, BOSS, START_US))
    assert submitted(ledger, "acme:backup") == ("waiting", "maintenance")
    assert submitted(ledger, "bravo:backup") == submitted(ledger, "backup") == ("starting", "")
    of_acme, of_bravo = (ledger.do(runs.run_now(f"{t}:spread", "s", SYSTEM, START_US)) for t in ("acme", "bravo"))
    for _ in range(2):
        ledger.do(pools.place_waiting({NORTH}, START_US))
        ledger.do(pools.say_reasons({WEB: "no capacity"}, START_US))
    found = [run_rows.get(ledger.connection, run.number) for run in (of_acme, of_bravo)]
    assert [(run.state, run.reason) for run in found if run] == [("waiting", "maintenance"), ("starting", "")]
    await stage.turn(SECOND_US)
    assert ledger.count("runs", "state = 'waiting' AND reason = 'maintenance'") == 2
    ledger.do(maintenance.end(ACME, BOSS, stage.clock.now_us))
    await stage.turn(SECOND_US)
    ledger.do(pools.place_waiting({NORTH}, START_US))
    assert ledger.count("runs", "state = 'waiting'") == 0


def test_only_the_tenants_runs_are_stopped_counted_and_logged(stage: Stage) -> None:
    """UIP-6, UIP-8: `uipath` asks its runs to stop; those of others are neither busy, waited for, nor in its log."""
    ledger = stage.ledger
    for name in ("acme:backup", "bravo:backup"):
        run = ledger.do(runs.run_now(name, name[:4], SYSTEM, START_US))
        run_rows.set_state(ledger.connection, run.number, "running", START_US, dispatched_epoch=1)
    with pytest.raises(Conflict, match="1 run is not at an end: run 1 "):
        ledger.do(maintenance.start(Wish(phase="suspended"), ACME, BOSS, START_US))
    changed = ledger.do(maintenance.start(Wish(phase="draining"), ACME, BOSS, START_US))
    assert changed.session is not None
    assert changed.session.stops_attempted == 1
    assert ledger.count("runs", "cancel_requested_at_us IS NOT NULL") == 1
    state = maintenance_states.read(ledger.connection, (ACME, ""))
    assert [(run.number, run.is_stopping) for run in state.running] == [(1, True)]
    assert [run.run for run in maintenance_states.records(ledger.connection, ACME)[0].ended_runs] == [1]
    assert maintenance_states.records(ledger.connection, BRAVO) == []


async def test_what_the_master_submits_itself_is_missed_for_the_suspended_tenant(stage: Stage) -> None:
    """Occurrences by the master's own orders, and their count in the session; the other tenant's begin."""
    ledger = stage.ledger
    for tenant in ("acme", "bravo"):
        limited = spec("often", "*/5 * * * *", limits=Limits(runs_at_once=1), misfire_policy="ask")
        ledger.do(for_tenant(tenant, create(limited, SYSTEM, START_US)))
    await stage.turn()
    ledger.do(maintenance.start(SUSPEND, ACME, BOSS, stage.clock.now_us))
    await stage.turn(FIRST_US - stage.clock.now_us)
    assert stage.missed() == [(0, "maintenance", "")]
    assert ledger.count("runs") == ledger.count("runs", "tenant = 'bravo'") == 1
    session = rows.latest(ledger.connection, ACME)
    assert session is not None
    assert rows.count_skipped(ledger.connection, session) == (1, 0)


@pytest.mark.parametrize("scope", ["", "agent:north", ACME])
async def test_an_instant_of_the_last_turn_before_the_end_is_missed_too(stage: Stage, scope: str) -> None:
    """It fell due while the maintenance was Suspended, and is looked at after its end; the next one begins."""
    ledger = stage.ledger
    limited = spec("often", "*/5 * * * *", limits=Limits(runs_at_once=1), misfire_policy="ask")
    ledger.do(for_tenant("acme", create(limited, SYSTEM, START_US)))
    await stage.turn()
    ledger.do(maintenance.start(SUSPEND, scope, BOSS, stage.clock.now_us))
    stage.clock.now_us = FIRST_US + SECOND_US
    ledger.do(maintenance.end(scope, BOSS, stage.clock.now_us))
    await stage.turn(SECOND_US)
    assert (stage.missed(), ledger.count("runs")) == ([(0, "maintenance", "")], 0)
    await stage.turn(5 * MINUTE_US)
    assert (len(stage.missed()), ledger.count("runs")) == (1, 1)


def said(world: World, kind: type, field: str) -> list[Any]:
    """What the agent's reports of a kind say in a field."""
    return [getattr(body, field) for _, body in world.bodies(kind)]


def test_an_agent_obeys_without_a_master() -> None:
    """Whose an order is, its job's name says: acme's waits or is missed, others begin; what waited, at the end."""
    world = World()
    world.connect()
    names = {5: "acme:backup", 6: "bravo:backup", 7: "backup"}
    for number, name in names.items():
        made = msgspec.structs.replace(specification(), job_id=number, job_name=name)
        instants = ((AGENT_US + 10 * SECOND_US, 60 * SECOND_US, 10),)
        world.hear(wire.GiveOrder(wire.StandingOrder(number, number, 1, AGENT_US, AGENT_US + 2**40, instants, made)))
    world.hear(wire.SetGates(wire.GateSet(1, ("acme:maintenance",), everywhere=("acme:maintenance",))))
    world.do(world.session.link_closed("a" * 32))
    world.pass_s(11)
    assert sum(world.processes.values()) == 2
    world.connect(ticket=2)
    assert [s.job_name for s in said(world, wire.Begun, "specification")] == ["bravo:backup", "backup"]
    assert said(world, wire.Held, "reason") == ["maintenance"]
    world.hear(wire.SetGates(wire.GateSet(2, ("acme:maintenance_suspended",))))
    world.pass_s(60)
    assert said(world, wire.Suppressed, "job_id") == [5]
    assert said(world, wire.Suppressed, "cause") == ["maintenance"]
    assert sum(world.processes.values()) == 4, "what was held before stays held"
    world.hear(wire.SetGates(wire.GateSet(3, ())))
    world.pass_s(1)
    assert sum(world.processes.values()) == 5


def test_a_gate_that_only_an_agent_knows_becomes_the_tenants_session_again(stage: Stage) -> None:
    """The office that set it lost its last writes: the tenant drains, and nobody else does."""
    ledger = stage.ledger
    agent = agent_rows.by_name(ledger.connection, "north")
    assert agent is not None
    held = wire.GateSet(7, ("acme:maintenance_suspended",), everywhere=("acme:maintenance_suspended",))
    ledger.do(lambda transaction: adoption.adopt_gates(transaction.connection, agent, held, wire.PROTOCOL, START_US))
    session = rows.open_of(ledger.connection, ACME)
    assert session is not None
    assert session.phase is Phase.DRAINING
    assert rows.open_of(ledger.connection, "") is None
    assert drains.gate_set(ledger.connection, NORTH, wire.PROTOCOL).kinds == ("acme:maintenance_suspended",)
    assert drains.gate_set(ledger.connection, NORTH, 2).kinds == ()


def test_the_stricter_of_two_decides(stage: Stage) -> None:
    """A tenant in a gentle maintenance is refused what the host's refuses, and the other way round."""
    ledger = stage.ledger
    ledger.do(maintenance.start(ON, ACME, BOSS, START_US))
    ledger.do(maintenance.start(Wish(phase="draining"), "", BOSS, START_US))
    found = rows.concerning(ledger.connection, "acme")
    assert found is not None
    assert found.scope == ""
    ledger.do(maintenance.start(SUSPEND, ACME, BOSS, START_US))
    found = rows.concerning(ledger.connection, "acme")
    assert found is not None
    assert found.scope == ACME
    assert strictest([]) is None


def test_a_closed_tenant_starts_nothing_and_what_runs_ends_by_itself(stage: Stage) -> None:
    """0139: it is Suspended; only opening it again ends that, whoever began a maintenance before, also a timed one."""
    ledger = stage.ledger
    run = ledger.do(runs.run_now("acme:backup", "one", SYSTEM, START_US))
    run_rows.set_state(ledger.connection, run.number, "running", START_US, dispatched_epoch=1)
    timed = msgspec.structs.replace(ON, end_at_us=START_US + MINUTE_US)
    ledger.do(maintenance.start(timed, ACME, BOSS, START_US))
    ledger.do(tenants.close("acme", BOSS, START_US, "contract ended"))
    assert ledger.count("runs", "cancel_requested_at_us IS NOT NULL") == 0
    assert [gate.kind for gate in gate_rows.every(ledger.connection)] == ["acme:maintenance_suspended"]
    with pytest.raises(Conflict, match="tenant reopen acme"):
        ledger.do(maintenance.end(ACME, BOSS, START_US))
    assert maintenance.next_deadline_us(ledger.connection) is None
    assert submitted(ledger, "acme:backup") == ("waiting", "maintenance")
    ledger.do(tenants.reopen("acme", BOSS, START_US))
    assert gate_rows.every(ledger.connection) == []
    assert submitted(ledger, "acme:backup") == ("starting", "")


def test_one_that_a_former_release_closed_is_suspended_when_it_is_closed_again(stage: Stage) -> None:
    """Its jobs went on: nothing but `close` changes that."""
    ledger = stage.ledger
    ledger.do(tenants.close("acme", BOSS, START_US))
    ledger.do(lambda transaction: maintenance.end_closed(transaction.connection, "acme", SYSTEM, START_US))
    assert gate_rows.every(ledger.connection) == []
    ledger.do(tenants.close("acme", BOSS, START_US))
    assert len(gate_rows.every(ledger.connection)) == 1


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    ledger = Ledger()
    ledger.add_agent("north")
    people(ledger)
    ledger.do(users.create("boss", PHC, "administrator", SYSTEM, START_US))
    for tenant in ("acme", "bravo"):
        ledger.do(for_tenant(tenant, users.create("anna", PHC, "administrator", SYSTEM, START_US)))
    for name in ("boss", "acme:anna", "bravo:anna"):
        ledger.do(tokens.create(name, "t", secret_hash(f"us_{name}"), None, SYSTEM, START_US))
    with open_desk(ledger, tmp_path) as made:
        yield made


RUN = ("POST", "/api/v1/jobs/backup/run")


def test_its_people_are_answered_by_the_phase_and_others_see_nothing(desk: Desk) -> None:
    """UIP-2, UIP-3, UIP-8: 405 and 503 for acme, also for its administrator; bravo does not learn of it."""
    start, get = "/api/Maintenance/Start?phase={}&tenantId=acme", "/api/Maintenance/Get"
    assert desk.call("POST", start.format("Draining"), "us_boss")[0] == 204
    assert desk.call(*RUN, "us_acme:anna")[0] == 405
    assert desk.call(*RUN, "us_bravo:anna")[0] == 202
    assert desk.call("GET", f"{get}?tenantId=acme", "us_boss")[1]["state"] == "Draining"
    assert desk.call("GET", get, "us_acme:anna")[1]["state"] == "Draining"
    for who in ("us_bravo:anna", "us_boss"):
        assert desk.call("GET", get, who)[1]["state"] == "None"
    assert desk.call("GET", "/api/v1/gates", "us_bravo:anna")[1] == []
    assert [gate["kind"] for gate in desk.call("GET", "/api/v1/gates", "us_acme:anna")[1]] == ["maintenance_suspended"]
    assert desk.call("POST", start.format("Suspended"), "us_boss")[0] == 204
    assert desk.call("GET", "/api/v1/jobs", "us_acme:anna")[0] == 503
    assert desk.call("GET", "/api/v1/jobs", "us_bravo:anna")[0] == 200
    for path in ("/api/v1/jobs?tenant=acme", "/api/v1/jobs", "/api/v1/jobs/acme:backup"):
        assert desk.call("GET", path, "us_boss")[0] == 200, "the host's administrator works on, in its name too"
    assert desk.call("GET", "/readyz")[0] == 200, "the node serves everybody else"
    assert desk.call("POST", "/api/Maintenance/End?tenantId=nobody", "us_boss")[0] == 404
    assert desk.call("POST", "/api/Maintenance/End", "us_acme:anna")[0] == 403
    assert desk.call("POST", "/api/Maintenance/End?tenantId=acme", "us_boss")[0] == 204
    assert desk.call(*RUN, "us_acme:anna")[0] == 202
    found = desk.call("GET", get, "us_acme:anna")[1]
    assert (found["state"], len(found["maintenanceLogs"])) == ("None", 4)


def test_the_commands_and_the_page_of_one_tenant(desk: Desk) -> None:
    """`--tenant` in each command; on the page its buttons are of that tenant, and its people read what it means."""
    assert desk.run("maintenance", "on", "--tenant", "acme", "--reason", "storage") == (0, "Maintenance is on.\n")
    assert "on (Draining)" in desk.run("maintenance", "status", "--tenant", "acme")[1]
    assert desk.run("maintenance", "status")[1] == "Maintenance is off.\n"
    assert "/maintenance/tenants/acme" in desk.page("/maintenance")[1]
    status, page = desk.page("/maintenance/tenants/acme")
    assert status == 200
    assert "tenant acme" in page
    assert 'name="scope" value="tenant:acme"' in page
    status, body, _ = desk.call("GET", "/", "us_acme:anna", "text/html")
    assert "they wait, and start in order when it ends" in body
    assert "storage" not in desk.call("GET", "/", "us_bravo:anna", "text/html")[1]
    assert desk.call("GET", "/maintenance/tenants/bravo", "us_acme:anna", "text/html")[0] == 403
    assert desk.page("/maintenance/tenants/nobody")[0] == 404
    assert desk.page("/maintenance/end", {"scope": "tenant:acme"})[1].startswith("/maintenance/tenants/acme?")
    assert desk.run("maintenance", "status", "--tenant", "acme")[1] == "Maintenance is off.\n"
    assert desk.run("maintenance", "window", "add", "--start", "2030-01-01T00:00Z", "--tenant", "acme")[0] == 0
    assert len(desk.call("GET", "/api/v1/maintenance/windows", "us_acme:anna")[1]) == 1
    assert desk.call("GET", "/api/v1/maintenance/windows", "us_bravo:anna")[1] == []


def test_a_tenant_changes_no_maintenance(stage: Stage) -> None:
    """Its administrator reads it; beginning and ending it is the host's."""
    anna = Principal("acme:anna", "administrator", tenant="acme")
    with pytest.raises(Forbidden):
        stage.ledger.do(maintenance.start(ON, ACME, anna, START_US))
