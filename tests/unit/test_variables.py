"""Variables and secrets: what a reference is, what is refused where, what is planned again, what an agent is told."""

from __future__ import annotations

import msgspec
import pytest

from server.actions import exceptions, jobs, orders, reconciliation, runs, variables
from server.actions.variables import VariableSpec, VariableView
from server.core import agent_wire as wire
from server.core.confidential import Opened
from server.core.model import DAY_US, SYSTEM, Job, Principal
from server.core.monitors import Reaction, Settings, StandingMonitor
from server.core.variables import malformed, pieces, references, substituted
from server.errors import Conflict, Forbidden, Invalid, NotFound
from server.office.deliverer import order_message
from server.storage import jobs as job_rows
from server.storage import orders as order_rows
from server.storage import schedules, specifications
from server.storage import variables as rows
from server.trust.sealing import Seal
from server.web.pages.variables import values_of
from tests.unit.ledger import START_US, Ledger

MARKER = "correct-horse-7"
SEAL = Seal(lambda: b"k" * 32)


@pytest.fixture
def ledger() -> Ledger:
    made = Ledger()
    made.add_agent("north")
    return made


def put(ledger: Ledger, name: str, value: str | None, secret: bool = False, job: str = "") -> VariableView:
    spec = VariableSpec(name=name, value=value, secret=secret, job=job)
    return ledger.do(variables.put(spec, SEAL.seal, SYSTEM, START_US))


def again(ledger: Ledger, name: str = "backup") -> Job:
    found = job_rows.by_name(ledger.connection, name)
    assert found is not None
    return found


def plan(ledger: Ledger) -> None:
    ledger.do(orders.put_plans(orders.plan_all(orders.read_changed(ledger.connection), START_US), START_US))


def test_only_a_dollar_and_two_braces_are_a_reference() -> None:
    """Nothing that a shell or another template understands is taken for one; two dollars are the text itself."""
    text = "echo ${name} $name {{ name }} '{{.Names}}' $(( 1 + 2 )) ${a:-${b}}"
    assert references(text) == set()
    assert substituted(text, {"name": "x"}) == text
    assert pieces("a${{x}}b${{ y.z }}") == [("a", ""), ("", "x"), ("b", ""), ("", "y.z")]
    assert substituted("${{ x }}/$${{ x }}", {"x": "1"}) == "1/${{ x }}"
    assert substituted("${{ x }}", {"x": "${{ y }}", "y": "2"}) == "${{ y }}"
    assert substituted("${{ gone }}", {}) == "${{ gone }}"
    assert malformed("${{ a b }} $${{ c d }} ${{ open") == ["${{ a b }}", "${{ open"]


def test_a_job_with_unknown_names_is_refused_with_their_list(ledger: Ledger) -> None:
    """At save, by field, with what to type; and so is what looks like a reference and is none."""
    with pytest.raises(Invalid, match="names variables that do not exist: lane, place") as refused:
        ledger.add_job(command="copy ${{ place }} ${{ lane }}", environment={"A": "${{ a b }}"})
    assert set(refused.value.fields) == {"command", "environment"}
    assert "${{ a b }} names no variable" in refused.value.fields["environment"]


def test_a_change_of_a_variable_plans_its_jobs_again(ledger: Ledger) -> None:
    """The jobs that name it get another version; one that does not name it, or has its own of that name, does not."""
    put(ledger, "place", "/a")
    ledger.add_job(command="ls ${{ place }}")
    ledger.add_job("other")
    ledger.add_job("own", command="ls ${{ place }}")
    put(ledger, "place", "/own", job="own")
    before = [again(ledger, name).version for name in ("backup", "other", "own")]
    put(ledger, "place", "/b")
    after = [again(ledger, name).version for name in ("backup", "other", "own")]
    assert [b - a for a, b in zip(before, after, strict=True)] == [1, 0, 0]
    told = [specifications.of_job(ledger.connection, again(ledger, name), "") for name in ("backup", "own")]
    assert [one.command for one in told] == ["ls /b", "ls /own"]


def test_what_is_named_is_not_deleted(ledger: Ledger) -> None:
    """The refusal says who names it; a job's own goes while the one of all jobs stands in for it."""
    put(ledger, "place", "/a")
    ledger.add_job(command="ls ${{ place }}")
    put(ledger, "place", "/b", job="backup")
    ledger.do(variables.delete("place", "backup", SYSTEM, START_US))
    with pytest.raises(Conflict, match="place is named by backup"):
        ledger.do(variables.delete("place", "", SYSTEM, START_US))
    ledger.do(jobs.delete("backup", SYSTEM, START_US))
    ledger.do(variables.delete("place", "", SYSTEM, START_US))
    with pytest.raises(NotFound):
        ledger.do(variables.delete("place", "", SYSTEM, START_US))


def test_a_deleted_job_takes_its_own_secrets_with_it(ledger: Ledger) -> None:
    """Nothing sealed is left that nobody can name any more."""
    ledger.add_job()
    put(ledger, "key", MARKER, True, "backup")
    assert ledger.count("sealed", "name LIKE 'variable job %'") == 1
    ledger.do(jobs.delete("backup", SYSTEM, START_US))
    assert (ledger.count("sealed", "name LIKE 'variable job %'"), ledger.count("variables")) == (0, 0)


def test_a_secret_stands_in_environment_variables_only(ledger: Ledger) -> None:
    """A command is seen by everybody: refused at save, in an exception, and when a plain variable becomes a secret."""
    put(ledger, "key", MARKER, True)
    with pytest.raises(Invalid, match=r"names secrets: key\. They may stand in environment variables only"):
        ledger.add_job(command="login ${{ key }}")
    job = ledger.add_job(environment={"KEY": "${{ key }}"})
    at_us = START_US - START_US % 300_000_000 + 300_000_000
    spec = exceptions.ExceptionSpec(instant_us=at_us, environment={"KEY": "${{ key }}"})
    with pytest.raises(Invalid, match="environment names secrets"):
        ledger.do(exceptions.put(job.name, spec, SYSTEM, START_US))
    put(ledger, "place", "/a")
    ledger.add_job("lister", command="ls ${{ place }}")
    with pytest.raises(Conflict, match=r"place stands in a command.*: job lister"):
        put(ledger, "place", "/srv/a", True)


def test_the_value_of_a_secret_is_in_no_row(ledger: Ledger) -> None:
    """Not in variables, orders, runs or the audit history; whoever has the seal key finds it in the order."""
    put(ledger, "key", MARKER, True)
    ledger.add_job(environment={"URL": "db://u:${{ key }}@h", "PLAIN": "x"})
    plan(ledger)
    ledger.do(runs.run_now("backup", "r1", SYSTEM, START_US))
    assert MARKER not in "\n".join(ledger.connection.iterdump())
    order = order_rows.of_agent(ledger.connection, again(ledger).agent_id)[0]
    assert order.specification.environment == {"PLAIN": "x"}
    told = SEAL.told(order.specification)
    assert msgspec.json.decode(told.sealed, type=Opened) == Opened({"URL": f"db://u:{MARKER}@h"}, (MARKER,))
    assert told.confidential is None
    with pytest.raises(Invalid, match=r"seal\.key does not open"):
        Seal(lambda: b"x" * 32).told(order.specification)


def test_a_dispatch_has_the_secret_and_an_old_agent_gets_none(ledger: Ledger) -> None:
    """An agent that takes no secrets is not sent the run: it waits, saying so, and goes once the agent is upgraded."""
    put(ledger, "key", MARKER, True)
    job = ledger.add_job(cron="", environment={"KEY": "${{ key }}"})
    run = ledger.do(runs.run_now("backup", "r1", SYSTEM, START_US))
    assert ledger.do(reconciliation.dispatch(job.agent_id, 1, START_US)) == []
    waits = ledger.do(runs.run_now("backup", "r1", SYSTEM, START_US))
    assert (waits.number, waits.state, "upgrade the agent" in waits.reason) == (run.number, "waiting", True)
    assert ledger.do(runs.agent_is_back(job.agent_id, START_US)) == 1
    (given,) = ledger.do(reconciliation.dispatch(job.agent_id, 1, START_US, SEAL.told))
    assert MARKER in given.dispatch.specification.sealed


def test_an_order_with_secrets_gives_an_old_agent_nothing_to_begin(ledger: Ledger) -> None:
    """Protocol 1 would begin the job without its secrets: it is told no instant."""
    put(ledger, "key", MARKER, True)
    ledger.add_job(environment={"KEY": "${{ key }}"})
    plan(ledger)
    order = order_rows.of_agent(ledger.connection, again(ledger).agent_id)[0]
    opened = msgspec.structs.replace(order, specification=SEAL.told(order.specification))
    old, new = order_message(opened, 1), order_message(opened)
    assert isinstance(old, wire.GiveOrder)
    assert isinstance(new, wire.GiveOrder)
    assert (old.order.instants, old.order.specification.sealed) == ((), "")
    assert new.order.instants
    assert MARKER in new.order.specification.sealed


def test_an_exception_is_told_with_its_variables(ledger: Ledger) -> None:
    """Its command and environment are as whole as the job's: the agent sees values, no names."""
    put(ledger, "place", "/a")
    job = ledger.add_job()
    schedule = schedules.of_job(ledger.connection, job.id)[0]
    at_us = START_US - START_US % 300_000_000 + 300_000_000
    spec = exceptions.ExceptionSpec(instant_us=at_us, command="ls ${{ place }}", environment={"P": "${{ place }}"})
    ledger.do(exceptions.put(job.name, spec, SYSTEM, START_US))
    plan(ledger)
    order = order_rows.of_agent(ledger.connection, job.agent_id)[0]
    assert [(one.command, one.environment) for one in order.exceptions] == [("ls /a", {"P": "/a"})]
    run = ledger.do(
        lambda t: runs.submit_occurrence(t.connection, again(ledger), schedule.id, at_us, "x", START_US + DAY_US)
    )
    assert run.command == "ls /a"


def test_values_are_checked(ledger: Ledger) -> None:
    """A name, a value within bounds, and a secret long enough to be hidden; a new one needs a value."""
    for name, value, secret, field in (
        ("1a", "x", False, "name"), ("a", "x" * 8193, False, "value"), ("a", "abc", True, "value"),
        ("a", "a\0b", False, "value"), ("a", None, False, "value"),
    ):  # fmt: skip
        with pytest.raises(Invalid) as refused:
            put(ledger, name, value, secret)
        assert list(refused.value.fields) == [field]
    put(ledger, "a", "1")
    assert put(ledger, "a", None).value == "1"
    with pytest.raises(Forbidden):
        ledger.do(variables.put(VariableSpec(name="a", value="2"), SEAL.seal, Principal("u", "user"), START_US))


def test_a_secret_stays_when_only_its_description_changes(ledger: Ledger) -> None:
    """Without a value the sealed one stays; one that is a secret no more needs a new value."""
    put(ledger, "key", MARKER, True)
    spec = VariableSpec(name="key", secret=True, description="of the archive")
    assert ledger.do(variables.put(spec, SEAL.seal, SYSTEM, START_US)).value is None
    place, text = rows.values(ledger.connection, 0, ["key"]).secrets["key"]
    assert SEAL._value(place, text) == MARKER
    with pytest.raises(Invalid, match="one that becomes a secret or is none any more"):
        put(ledger, "key", None)
    assert put(ledger, "key", "seen").value == "seen"
    assert ledger.count("sealed", "name LIKE 'variable %'") == 0


def test_a_monitor_is_told_secrets_by_the_deliverer_only(ledger: Ledger) -> None:
    """The reaction in the rows' message is sealed; what is sent has the value."""
    from server.office.deliverer import Deliverer

    put(ledger, "key", MARKER, True)
    job = ledger.add_job(environment={"KEY": "${{ key }}"})
    told = specifications.of_job(ledger.connection, job, job.agent_id)
    message = wire.GiveMonitor(StandingMonitor(1, 1, "m", "manual", Settings(), (Reaction(told),)))
    given = Deliverer(None, {}, 1, lambda: 0, SEAL.told)._monitor(message)  # type: ignore[arg-type]  # reads no rows
    assert isinstance(given, wire.GiveMonitor)
    assert MARKER in given.monitor.reactions[0].specification.sealed
    refused = Deliverer(None, {}, 1, lambda: 0)._monitor(message)  # type: ignore[arg-type]  # reads no rows
    assert isinstance(refused, wire.GiveMonitor)
    assert refused.monitor.reactions[0].held


def test_the_form_of_a_secret_has_no_value_and_says_that_it_is_one(ledger: Ledger) -> None:
    """Left empty the value stays; when the tick is taken away, an empty value is not taken for the new one."""
    values = values_of(put(ledger, "key", MARKER, True))
    assert (values["value"], values["secret"], values["was_secret"]) == ("", "1", "1")
    assert values_of(put(ledger, "place", "/a"))["was_secret"] == ""
