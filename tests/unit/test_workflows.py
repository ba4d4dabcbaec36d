"""Workflows as rows: versions that are never edited, names that must be there, and who may change what."""

from __future__ import annotations

import sqlite3

import msgspec
import pytest

from server.actions import workflows
from server.core.model import SYSTEM, Principal
from server.core.workflow_check import check
from server.core.workflows import Edge, Join, Outcome, WorkflowSpec, WorkflowStep, as_json
from server.errors import Conflict, Forbidden, Invalid, NotFound
from server.storage import audit
from server.storage import workflows as rows
from tests.unit.ledger import START_US, Ledger


@pytest.fixture
def ledger() -> Ledger:
    made = Ledger()
    made.add_agent()
    return made


def step(name: str, *after: str | Edge, **more: object) -> WorkflowStep:
    """A step that runs a command; `after` are steps that must have succeeded."""
    edges = [Edge(step=one) if isinstance(one, str) else one for one in after]
    values: dict[str, object] = {"name": name, "after": edges, **more}
    if not {"job", "workflow", "command"} & set(more):
        values["command"] = "true"
    return msgspec.convert(values, WorkflowStep)


def flow(*steps: WorkflowStep, name: str = "nightly", **more: object) -> WorkflowSpec:
    """A workflow on the agent `north`."""
    values: dict[str, object] = {"name": name, "agent": "north", "steps": list(steps), **more}
    return msgspec.convert(values, WorkflowSpec)


def put(ledger: Ledger, spec: WorkflowSpec) -> None:
    """Make it, or give it another version."""
    if rows.by_name(ledger.connection, spec.name) is None:
        ledger.do(workflows.create(as_json(spec), SYSTEM, START_US))
    else:
        ledger.do(workflows.update(spec.name, as_json(spec), SYSTEM, START_US))


def said(spec: WorkflowSpec) -> list[str]:
    """The texts of what is wrong."""
    return [wrong.text for wrong in check(spec)]


def test_a_change_is_a_new_version(ledger: Ledger) -> None:
    """Version 1 stays as it was written; the current one is read back whole; the same text again makes no version."""
    put(ledger, flow(step("dump")))
    second = flow(step("dump"), step("copy", "dump", checkpoint=True, for_each=["a", "b"]))
    put(ledger, second)
    put(ledger, second)
    kept = workflows.find(ledger.connection, "nightly")
    assert kept.version == 2
    assert rows.spec(ledger.connection, kept) == second
    assert [line.version for line in rows.versions(ledger.connection, kept.id)] == [2, 1]
    first = workflows.version_of(ledger.connection, "nightly", 1)
    assert [one.name for one in first.spec.steps] == ["dump"]
    assert first.text == as_json(flow(step("dump"))).text


def test_a_version_cannot_be_edited(ledger: Ledger) -> None:
    """The database itself refuses it."""
    put(ledger, flow(step("dump")))
    with pytest.raises(sqlite3.IntegrityError, match="never edited"):
        ledger.connection.execute("UPDATE workflow_versions SET text = 'other'")


def test_a_change_of_an_old_version_is_refused(ledger: Ledger) -> None:
    """Two people read version 1; the second to save is told, and nothing is changed."""
    put(ledger, flow(step("dump")))
    ledger.do(workflows.update("nightly", as_json(flow(step("first"))), SYSTEM, START_US, 1))
    with pytest.raises(Conflict, match="at version 2 by now"):
        ledger.do(workflows.update("nightly", as_json(flow(step("second"))), SYSTEM, START_US, 1))
    assert workflows.find(ledger.connection, "nightly").version == 2


def test_rolling_back_is_a_new_version(ledger: Ledger) -> None:
    """The third version has the text of the first."""
    put(ledger, flow(step("dump")))
    put(ledger, flow(step("other")))
    ledger.do(workflows.roll_back("nightly", 1, SYSTEM, START_US))
    kept = workflows.find(ledger.connection, "nightly")
    third = workflows.version_of(ledger.connection, "nightly", 3)
    assert (kept.version, third.reason, third.spec) == (3, "as in version 1", flow(step("dump")))


def test_who_may_not_change_jobs_may_not_change_workflows(ledger: Ledger) -> None:
    """Each action refuses a user and an auditor."""
    written = as_json(flow(step("dump")))
    for role in ("user", "auditor"):
        by = Principal("somebody", role)
        for ask in (
            lambda by: workflows.create(written, by, START_US),
            lambda by: workflows.update("nightly", written, by, START_US),
            lambda by: workflows.roll_back("nightly", 1, by, START_US),
            lambda by: workflows.delete("nightly", by, START_US),
            lambda by: workflows.hold("nightly", by, START_US),
            lambda by: workflows.release("nightly", by, START_US),
        ):
            with pytest.raises(Forbidden):
                ask(by)


def test_every_change_is_audited(ledger: Ledger) -> None:
    """Created, changed, held, released, deleted: five entries, none for holding what is held."""
    put(ledger, flow(step("dump")))
    put(ledger, flow(step("dump"), step("copy")))
    assert ledger.do(workflows.hold("nightly", SYSTEM, START_US, "stocktaking"))
    assert not ledger.do(workflows.hold("nightly", SYSTEM, START_US))
    assert workflows.find(ledger.connection, "nightly").held
    assert ledger.do(workflows.release("nightly", SYSTEM, START_US))
    ledger.do(workflows.delete("nightly", SYSTEM, START_US, "not needed"))
    actions = [entry.action for entry in audit.page(ledger.connection, limit=100)]
    wanted = ["workflows.create", "workflows.update", "workflows.hold", "workflows.release", "workflows.delete"]
    assert [action for action in reversed(actions) if action.startswith("workflows.")] == wanted


def test_the_name_of_a_deleted_workflow_is_free(ledger: Ledger) -> None:
    """Another may have it; the versions of the first stay under its id."""
    put(ledger, flow(step("dump")))
    first = workflows.find(ledger.connection, "nightly")
    ledger.do(workflows.delete("nightly", SYSTEM, START_US))
    with pytest.raises(NotFound):
        workflows.find(ledger.connection, "nightly")
    put(ledger, flow(step("other")))
    assert workflows.find(ledger.connection, "nightly").id != first.id
    kept = rows.version(ledger.connection, first.id, 1)
    assert kept is not None
    assert kept.spec.steps[0].name == "dump"


@pytest.mark.parametrize(
    ("more", "text"),
    [
        ({"agent": "nort"}, "there is no agent 'nort'; did you mean 'north'?"),
        ({"group": "machines"}, "there is no group 'machines'"),
        ({"job": "bakup"}, "there is no job 'bakup'; did you mean 'backup'?"),
        ({"workflow": "weekly"}, "there is no workflow 'weekly'"),
    ],
)
def test_what_a_step_names_must_be_there(ledger: Ledger, more: dict[str, str], text: str) -> None:
    """Agents, groups, jobs and workflows; nothing is kept, and what was meant is said."""
    ledger.add_job()
    with pytest.raises(Invalid) as refused:
        put(ledger, flow(step("dump", **more)))
    assert refused.value.fields == {"workflow": text}
    assert ledger.count("workflows") == 0


def test_a_workflow_inside_itself_is_refused_by_name(ledger: Ledger) -> None:
    """Directly, through another, and through what is changed later."""
    with pytest.raises(Invalid, match="inside itself: nightly → nightly"):
        put(ledger, flow(step("again", workflow="nightly")))
    put(ledger, flow(step("dump"), name="inner"))
    put(ledger, flow(step("call", workflow="inner"), name="middle"))
    put(ledger, flow(step("call", workflow="middle")))
    with pytest.raises(Invalid, match="inside itself: inner → nightly → middle → inner"):
        put(ledger, flow(step("call", workflow="nightly"), name="inner"))
    assert workflows.find(ledger.connection, "inner").version == 1


def test_a_renamed_workflow_cannot_enter_itself(ledger: Ledger) -> None:
    """Under its new name it may neither use the old one nor the new one."""
    put(ledger, flow(step("dump")))
    for inside in ("nightly", "weekly"):
        spec = flow(step("call", workflow=inside), name="weekly")
        with pytest.raises(Invalid, match="inside itself"):
            ledger.do(workflows.update("nightly", as_json(spec), SYSTEM, START_US))


def test_too_many_inside_each_other_are_refused(ledger: Ledger) -> None:
    """Ten levels are kept, the eleventh is not."""
    put(ledger, flow(step("dump"), name="w0"))
    for level in range(1, 10):
        put(ledger, flow(step("call", workflow=f"w{level - 1}"), name=f"w{level}"))
    with pytest.raises(Invalid, match="at most 10 workflows"):
        put(ledger, flow(step("call", workflow="w9"), name="w10"))


def test_a_workflow_that_is_a_step_stays(ledger: Ledger) -> None:
    """It is neither deleted nor renamed while another uses it, and both say which."""
    put(ledger, flow(step("dump"), name="inner"))
    put(ledger, flow(step("call", workflow="inner")))
    with pytest.raises(Conflict, match="step of nightly"):
        ledger.do(workflows.delete("inner", SYSTEM, START_US))
    renamed = as_json(flow(step("dump"), name="other"))
    with pytest.raises(Conflict, match="cannot be renamed"):
        ledger.do(workflows.update("inner", renamed, SYSTEM, START_US))
    put(ledger, flow(step("dump")))
    ledger.do(workflows.delete("inner", SYSTEM, START_US))


def test_a_circle_of_steps_is_named() -> None:
    """The way round, from the first step in it; a graph that only shares a step has none."""
    circle = flow(step("a", "c"), step("b", "a"), step("c", "b"), step("d"))
    assert said(circle) == ["the steps wait for each other: a → c → b → a"]
    assert said(flow(step("a"), step("b", "a"), step("c", "a"), step("d", "b", "c"))) == []


@pytest.mark.parametrize(
    ("steps", "name"),
    [
        ([step("a"), step("b", Edge(step="a"), Edge(step="a", on=Outcome.FAILED))], "b"),
        ([step("a"), step("b", "a"), step("c", "b", Edge(step="a", on=Outcome.FAILED))], "c"),
        ([step("a"), step("b", "a"), step("c", "b", Edge(step="a", on=Outcome.FAILED)), step("d", "c")], "c"),
        (
            [
                step("a"),
                step("b", "a"),
                step("c", "a"),
                step("d", "b", "c", join=Join.ANY),
                step("e", "d", Edge(step="a", on=Outcome.FAILED)),
            ],
            "e",
        ),
    ],
)
def test_a_step_that_can_never_begin_is_refused(steps: list[WorkflowStep], name: str) -> None:
    """One before it would have to succeed and to fail: directly, further up, and by every way of an `any`."""
    assert said(flow(*steps)) == [f"the step {name!r} can never begin: 'a' would have to succeed and to fail"]


def test_what_one_way_can_reach_is_kept() -> None:
    """With `any`, and with edges that take either end, contrary edges do no harm."""
    failed, ended = Edge(step="a", on=Outcome.FAILED), Edge(step="a", on=Outcome.ENDED)
    assert said(flow(step("a"), step("b", "a", failed, join=Join.ANY))) == []
    assert said(flow(step("a"), step("b", failed, ended))) == []
    assert said(flow(step("a"), step("b", "a"), step("c", failed), step("d", "b", "c", join=Join.ANY))) == []


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        (flow(), "at least one step"),
        (flow(step("dump"), name="a b"), "the name must begin"),
        (flow(step("d.ump")), "a step's name must begin"),
        (flow(step("step")), "no step may be called 'step'"),
        (flow(step("dump"), step("dump")), "two steps 'dump'"),
        (flow(step("dump", command="")), "it has none of them"),
        (flow(step("dump", command=" \n")), "it has none of them"),
        (flow(step("dump", command="true", job="backup")), "it has command and job"),
        (flow(step("dump"), agent=""), "nothing says where 'dump' runs"),
        (flow(step("dump", agent="north", group="all")), "not both"),
        (flow(step("dump"), group="all"), "not both"),
        (flow(step("dump", job="backup", agent="north")), "the job 'backup' itself says its agent"),
        (flow(step("dump", workflow="other", environment={"A": "1"})), "itself says its environment"),
        (flow(step("dump"), step("copy", "dumb")), "step 'dumb' is not a step; did you mean 'dump'?"),
        (flow(step("dump", "dump")), "waits for itself"),
        (flow(step("dump"), step("copy", "dump", "dump")), "'dump' is named twice"),
        (flow(step("dump", for_each=["a", "a"])), "the item 'a' is there twice"),
        (flow(step("dump", for_each=[""])), "1 to 1000 characters"),
        (flow(step("dump", for_each=[str(n) for n in range(1001)])), "at most 1000"),
        (flow(*(step(f"s{n}") for n in range(201))), "at most 200"),
        (flow(*(step(f"s{n}", *(f"s{m}" for m in range(n))) for n in range(46))), "1035 edges are too many"),
        (flow(step("dump", timeout_s=-1)), "timeout_s is from 0"),
        (flow(step("dump"), timeout_s=10**12), "timeout_s is from 0"),
        (flow(step("dump", environment={"1A": "x"})), "'1A' is no name of a variable"),
        (flow(step("dump"), variables={"UNDERSTUDY_ITEM": "x"}), "set by the agent"),
        (flow(step("dump", command="a\0b")), "no NUL"),
        (flow(step("dump"), variables={"A": "x\0"}), "no NUL"),
        (flow(step("dump", retry={"attempts_max": 0})), "must be from 1"),
    ],
)
def test_each_mistake_is_said_once(spec: WorkflowSpec, text: str) -> None:
    """One mistake, one sentence, and one place."""
    found = check(spec)
    assert len(found) == 1
    assert text in found[0].text
