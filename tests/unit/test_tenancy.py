"""Tenants: rules for every table, views that seek, changes that are narrowed (UIP-8; docs/tenants.md)."""

from __future__ import annotations

import sqlite3
from typing import TypeVar

import pytest

from server.actions import jobs, runs, sessions, tenants, users
from server.actions.change import Change, for_tenant
from server.core import tenancy
from server.core.model import SYSTEM, Principal
from server.errors import Conflict, Forbidden, Invalid, NotFound, UnderstudyError
from server.storage import jobs as job_rows
from server.storage import runs as run_rows
from server.storage import tenancy as scopes
from tests.unit.ledger import START_US, Ledger

T = TypeVar("T")
PHC = "$argon2id$v=19$first"
ANNA = Principal("acme:anna", "administrator", tenant="acme")
BERT = Principal("bravo:bert", "administrator", tenant="bravo")


@pytest.fixture
def ledger() -> Ledger:
    made = Ledger()
    made.add_agent()
    for name in ("acme", "bravo"):
        made.do(tenants.create(name, "", SYSTEM, START_US))
    return made


def do(ledger: Ledger, by: Principal, change: Change[T]) -> T:
    return ledger.do(for_tenant(by.tenant, change))


def job(ledger: Ledger, by: Principal, name: str = "backup") -> int:
    spec = jobs.JobSpec(name=name, command=f"echo {by.tenant}", agent="north")
    return do(ledger, by, jobs.create(spec, by, START_US)).id


def dressed(ledger: Ledger) -> sqlite3.Connection:
    """A copy as a reader's connection for tenants."""
    made = sqlite3.connect(":memory:", isolation_level=None)
    made.deserialize(ledger.connection.serialize())
    made.execute("PRAGMA trusted_schema = OFF")
    made.execute("PRAGMA query_only = ON")
    scopes.dress(made)
    return made


def test_every_column_that_says_tenant_is_used_by_its_rule(ledger: Ledger) -> None:
    """A table that says of whom its rows are goes by that."""
    with_column = {table for table, names in scopes.columns(ledger.connection).items() if "tenant" in names}
    assert with_column == tenancy.NAMED | tenancy.MARKED | {"agents"}


def test_two_tenants_and_the_host_have_a_job_of_one_name(ledger: Ledger) -> None:
    """Each sees its own, under the name that it typed; the host sees all, with the tenant in front."""
    ledger.add_job()
    ids = {by.tenant: job(ledger, by) for by in (ANNA, BERT)}
    assert [one.name for one in job_rows.page(ledger.connection)] == ["acme:backup", "backup", "bravo:backup"]
    connection = dressed(ledger)
    for tenant, job_id in ids.items():
        found = scopes.seen_by(tenant, job_rows.page)(connection)
        assert [(one.id, one.name, one.command) for one in found] == [(job_id, "backup", f"echo {tenant}")]


def test_a_name_of_another_is_not_there(ledger: Ledger) -> None:
    """By its plain name, by its qualified name and by its number: what is another's is what there is not."""
    job(ledger, BERT, "secret")
    run = do(ledger, BERT, runs.run_now("secret", "one", BERT, START_US))
    changes: list[Change[object]] = [
        jobs.hold("secret", ANNA, START_US),
        jobs.hold("bravo:secret", ANNA, START_US),
        runs.cancel(run.number, ANNA, START_US),
    ]
    for change in changes:
        with pytest.raises(NotFound):
            do(ledger, ANNA, change)
    assert ledger.count("jobs", "held = 1") == ledger.count("runs", "cancel_requested_at_us IS NOT NULL") == 0
    assert do(ledger, ANNA, jobs.create(jobs.JobSpec(name="secret", command="x", agent="north"), ANNA, START_US))


def test_what_is_the_hosts_alone_is_empty_in_a_change_too(ledger: Ledger) -> None:
    """Rows of the host that are chosen by number are not there for a change of a tenant."""
    ledger.connection.execute(
        "INSERT INTO join_tokens (id, secret_hash, name, created_by, created_at_us, expires_at_us)"
        " VALUES ('t', 'h', 'n', 'root', 1, 2)"
    )
    for table in ("join_tokens", "asides", "forks"):
        found = do(ledger, ANNA, lambda t, table=table: t.connection.execute(f"SELECT * FROM {table}").fetchall())
        assert found == []


def test_the_guard_refuses_what_a_change_would_write_of_another(ledger: Ledger) -> None:
    """A change that forgot to look whose a row is writes nothing."""
    number = job(ledger, BERT)
    for write in (
        lambda c: job_rows.update(c, number, held=1),
        lambda c: c.execute("DELETE FROM jobs WHERE id = ?", (number,)),
        lambda c: c.execute("UPDATE jobs SET held = 1"),
    ):
        with pytest.raises(NotFound):
            do(ledger, ANNA, lambda transaction, write=write: write(transaction.connection))
    assert ledger.count("jobs", "held = 0") == 1
    ledger.do(lambda transaction: job_rows.update(transaction.connection, number, held=1))
    assert ledger.count("jobs", "held = 1") == 1


def test_rows_get_the_tenant_of_their_job(ledger: Ledger) -> None:
    """Whoever writes a run, its tenant is that of its job: the scheduler knows of no tenants."""
    job(ledger, ANNA)
    run = ledger.do(runs.run_now("acme:backup", "one", SYSTEM, START_US))
    ledger.add_job("plain")
    ledger.do(runs.run_now("plain", "two", SYSTEM, START_US))
    assert ledger.count("runs", "tenant = 'acme'") == ledger.count("runs", "tenant = ''") == 1
    seen = scopes.seen_by("acme", lambda c: run_rows.page(c))(dressed(ledger))
    assert [(line.number, line.job) for line in seen] == [(run.number, "backup")]


@pytest.mark.parametrize(
    "query",
    [
        "SELECT number FROM runs WHERE number < 9 ORDER BY number DESC LIMIT 5",
        "SELECT number FROM runs WHERE state = 'failed' AND number < 9 ORDER BY number DESC LIMIT 5",
        "SELECT name FROM jobs WHERE name > 'b' ORDER BY name LIMIT 5",
        "SELECT id FROM audit WHERE id < 9 ORDER BY id DESC LIMIT 5",
        "SELECT id FROM missed WHERE resolution = '' AND id < 9 ORDER BY id DESC LIMIT 5",
        "SELECT id FROM server_history WHERE id < 9 ORDER BY id DESC LIMIT 5",
        "SELECT id FROM workflow_runs WHERE id < 9 ORDER BY id DESC LIMIT 5",
        "SELECT id FROM events WHERE id < 9 ORDER BY id DESC LIMIT 5",
        "SELECT id FROM orders WHERE state = 'active' AND next_instant_us < 9 ORDER BY next_instant_us LIMIT 5",
    ],
)
def test_a_page_of_a_tenant_seeks(ledger: Ledger, query: str) -> None:
    """A page costs nothing with the history of others: it seeks in an index that begins with the tenant, unsorted."""
    connection = dressed(ledger)
    plan = scopes.seen_by("acme", lambda c: [row[3] for row in c.execute(f"EXPLAIN QUERY PLAN {query}")])(connection)
    assert len(plan) == 1, plan
    assert "_of_tenant" in plan[0], plan
    assert "(tenant=?" in plan[0], plan


def test_people_of_a_tenant_manage_its_users_alone(ledger: Ledger) -> None:
    """An administrator of a tenant makes users of it, named with it; nobody of the host or of another is found."""
    ledger.do(users.create("root", PHC, "administrator", SYSTEM, START_US))
    do(ledger, BERT, users.create("carl", PHC, "user", BERT, START_US))
    do(ledger, ANNA, users.create("carl", PHC, "user", ANNA, START_US))
    assert ledger.count("users", "name = 'acme:carl' AND tenant = 'acme'") == 1
    with pytest.raises(Conflict, match="acme:carl"):
        do(ledger, ANNA, users.create("carl", PHC, "user", ANNA, START_US))
    for name in ("root", "bravo:carl"):
        with pytest.raises(NotFound):
            do(ledger, ANNA, users.disable(name, ANNA, START_US))


@pytest.mark.parametrize(
    "action",
    [
        lambda by: tenants.create("charlie", "", by, START_US),
        lambda by: tenants.close("bravo", by, START_US),
        lambda by: tenants.give_agent("north", "acme", by, START_US),
    ],
)
def test_people_of_a_tenant_manage_no_tenants(action: object) -> None:
    """Tenants concern the host."""
    with pytest.raises(Forbidden):
        action(ANNA)  # type: ignore[operator]  # an action of three


def test_a_closed_tenant_signs_nobody_in(ledger: Ledger) -> None:
    """Its sessions and tokens end; reopened, people sign in again."""
    do(ledger, ANNA, users.create("anna", PHC, "user", SYSTEM, START_US))

    def sign_in() -> None:
        ledger.do(sessions.create("acme:anna", PHC, "t1", Principal("", ""), START_US, ""))

    sign_in()
    ledger.do(tenants.close("acme", SYSTEM, START_US))
    assert sessions.authenticate(ledger.connection, "t1", START_US + 1, "") is None
    with pytest.raises(Forbidden, match="closed"):
        sign_in()
    with pytest.raises(UnderstudyError):
        ledger.do(tenants.create("acme", "", SYSTEM, START_US))


def test_the_name_of_a_tenant_is_short_and_plain() -> None:
    """It stands in front of names and in addresses."""
    for name in ("", "Acme", "a:b", "1st", "a" * 32, "host"):
        with pytest.raises(Invalid):
            tenants.create(name, "", SYSTEM, START_US)


def test_an_agent_of_one_tenant_is_not_there_for_others(ledger: Ledger) -> None:
    """A dedicated agent takes jobs of its tenant alone; one on which others have something cannot be given away."""
    ledger.add_agent("south")
    ledger.do(tenants.give_agent("south", "acme", SYSTEM, START_US))
    spec = jobs.JobSpec(name="there", command="x", agent="south")
    do(ledger, ANNA, jobs.create(spec, ANNA, START_US))
    with pytest.raises(NotFound, match="no agent south"):
        do(ledger, BERT, jobs.create(spec, BERT, START_US))
    with pytest.raises(Conflict):
        ledger.do(tenants.give_agent("south", "bravo", SYSTEM, START_US))
