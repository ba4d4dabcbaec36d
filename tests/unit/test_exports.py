"""Everything as one file: an export reads again to the same, into where it came from and into an empty cluster."""

from __future__ import annotations

import pytest

from server.actions import calendars, environments, exports, groups, monitors, variables, workflows
from server.actions.environments import CommandSetSpec, EnvironmentSpec
from server.actions.exports import Done, Importer
from server.actions.groups import GroupSpec
from server.actions.monitors import MonitorSpec
from server.actions.variables import VariableSpec
from server.core.calendar_rules import CalendarSpec
from server.core.model import SYSTEM, Principal
from server.core.monitors import Settings
from server.core.retry import RetryRule
from server.core.special_instances import SpecialInstance
from server.core.when import When
from server.errors import Forbidden, Invalid
from tests.unit.ledger import START_US, Ledger

AUDIT = [
    SpecialInstance(name="audit", days=["last day"], calendar="works", command="cp b\nc", environment={"A": "1"}),
    SpecialInstance(name="plain"),
]
WORKFLOW = """\
name: nightly
agent: north
steps:
  - name: dump
    command: |
      set -e
      dump "it's"
    checkpoint: true
    retry: 3
  - name: alarm
    after: {dump: failed}
    job: base
"""


def seal(name: str, value: str) -> tuple[bytes, bytes]:
    return b"nonce", f"sealed {len(value)}".encode()


OF = Importer(SYSTEM, START_US, seal, lambda name: (name * 32)[:32])


def empty() -> Ledger:
    """A cluster with two agents and nothing else."""
    ledger = Ledger()
    for name in ("north", "south"):
        ledger.add_agent(name)
    return ledger


@pytest.fixture
def full() -> Ledger:
    """One of everything, with what an export could lose: long texts, other zones, references in both directions."""
    ledger = empty()
    do, by, now = ledger.do, SYSTEM, START_US
    do(calendars.create(CalendarSpec(name="works", days=["2026-12-24 # closes at noon"]), by, now))
    do(environments.put(EnvironmentSpec(name="reports", run_as="www", variables={"LANG": "C"}), by, now))
    do(environments.put_set(CommandSetSpec(name="quiet", before=["set -e"], after=["true"]), by, now))
    do(variables.put(VariableSpec(name="depot", value="/srv/depot"), seal, by, now))
    do(variables.put(VariableSpec(name="password", value="geheim", secret=True), seal, by, now))
    do(
        groups.create(
            GroupSpec(name="workers", agents=["south:2", "north"], runs_at_once=3), ("workers" * 8)[:32], by, now
        )
    )
    base = ledger.add_job(
        name="base",
        cron="",
        command="cp a ${{ depot }}",
        retry=RetryRule(attempts_max=3, delay_s=5),
        special_instances=AUDIT,
    )
    assert base.id
    when = [When("2nd Tuesday at 06:00", "Europe/Berlin", calendar="works", shift="next"), When("@daily")]
    ledger.add_job(
        name="after", agent="", group="workers", schedules=when, prerequisites="base during:audit", tags=["x"]
    )
    do(workflows.create(workflows.read(WORKFLOW), by, now))
    ledger.add_job(name="at-two", agent="", command="", workflow="nightly", cron="0 2 * * *")
    do(
        monitors.create(
            MonitorSpec(name="drop", agent="north", kind="manual", settings=Settings(), jobs=["base"]), by, now
        )
    )
    return ledger


def imported(ledger: Ledger, text: str, trial: bool = False) -> list[Done]:
    return ledger.do(exports.import_all(exports.read(text), OF, trial))


def test_an_export_into_where_it_came_from_changes_nothing(full: Ledger) -> None:
    """Every entry is the same; nothing is written for it."""
    text = exports.export(full.connection)
    changes = full.connection.total_changes
    report = imported(full, text)
    assert {done.outcome for done in report} == {"same"}
    assert len(report) == 11
    assert full.connection.total_changes == changes
    assert exports.export(full.connection) == text


def test_an_export_into_an_empty_cluster_makes_the_same(full: Ledger) -> None:
    """Whatever names something later in the file is made after it; only a secret is left to a person."""
    text, other = exports.export(full.connection), empty()
    report = imported(other, text)
    refused = [done for done in report if done.outcome != "made"]
    assert [(done.noun, done.name) for done in refused] == [("variables", "password")]
    assert "a new variable needs one" in refused[0].reason
    other.do(variables.put(VariableSpec(name="password", value="other", secret=True), seal, SYSTEM, START_US))
    assert exports.export(other.connection) == text


def test_a_secret_is_not_in_it(full: Ledger) -> None:
    """It is named, and its value is nowhere."""
    text = exports.export(full.connection)
    assert "geheim" not in text
    assert "name: password" in text


def test_a_change_in_the_file_changes_one_entry(full: Ledger) -> None:
    """What differs is changed, the rest is the same; a trial says so and changes nothing."""
    text = exports.export(full.connection)
    edited = text.replace("command: cp a ${{ depot }}", "command: cp b ${{ depot }}")
    for trial in (True, True, False):
        changed = [(done.noun, done.name) for done in imported(full, edited, trial) if done.outcome != "same"]
        assert changed == [("jobs", "base")]
    assert exports.export(full.connection) == edited


def test_a_wrong_entry_is_refused_alone(full: Ledger) -> None:
    """An agent that is not there refuses the entries that name it, and those that need these; the others are made."""
    other = Ledger()
    other.add_agent("south")
    report = imported(other, exports.export(full.connection))
    refused = {done.name for done in report if done.outcome == "refused"}
    assert refused == {"password", "workers", "base", "after", "nightly", "at-two", "drop"}
    assert all("north" in done.reason for done in report if done.name in ("workers", "base", "nightly"))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("jobs: []", "is no export"),
        ("- 1", "is no export"),
        ("understudy: 2", "is no export"),
        ("understudy: 1\njobz: []", "names jobz"),
        ("understudy: 1\njobs: [{command: x}]", "Entry 1 of jobs is not right"),
        ("understudy: 1\njobs: [{name: x, command: y, timeout_s: soon}]", "timeout_s"),
        ("understudy: [", "is no YAML"),
        ("understudy: 1\nworkflows: [{name: x, steps: [{name: y, comand: z}]}]", "Entry 1 of workflows"),
    ],
)
def test_what_is_no_export_says_why(text: str, says: str) -> None:
    """Refused as a whole before anything is changed, naming the entry."""
    with pytest.raises(Invalid, match=says):
        exports.read(text)


def test_who_may_not_change_agents_may_not_import() -> None:
    """Groups are deployed by it."""
    with pytest.raises(Forbidden):
        exports.import_all([], OF._replace(by=Principal("bob", "user")))
