"""What the API and the page say of a workflow's run, from the rows that the engine wrote."""

from __future__ import annotations

import pytest

from server.actions import step_results, workflow_runs
from server.core.workflows import Edge, Outcome
from server.errors import Invalid, NotFound
from server.storage import runs as run_rows
from server.storage import workflow_runs as rows
from server.web.api.workflow_runs import view
from server.web.pages.workflow_runs import pairs, picture
from tests.unit.floor import Floor, step


@pytest.fixture
def floor() -> Floor:
    made = Floor()
    made.workflow(
        step("a"),
        step("b", "a", for_each=["x", "y"]),
        step("c", "b"),
        step("d", after=[Edge(step="b", on=Outcome.FAILED)]),
    )
    made.start(KIND="full")
    return made


def test_the_view_has_every_step_and_each_item_with_its_run(floor: Floor) -> None:
    """Steps that have not begun are there without a state; what was told is beside its item."""
    floor.end(floor.sent()[0], SIZE="7")
    first, second = floor.sent()
    floor.end(first)
    shown = view(floor.ledger.connection, 1)
    assert shown.step_states == {"a": "succeeded", "b": "open", "c": "", "d": ""}
    assert [(i.step, i.value, i.state, i.run_state, i.agent) for i in shown.items] == [
        ("a", "", "succeeded", "succeeded", "alpha"),
        ("b", "x", "succeeded", "succeeded", "alpha"),
        ("b", "y", "open", "running", "alpha"),
    ]
    assert (shown.items[0].outputs, shown.variables, shown.undecided) == ({"SIZE": "7"}, {"KIND": "full"}, [])
    floor.end(second, "gone")
    shown = view(floor.ledger.connection, 1)
    assert (shown.state, shown.undecided, shown.may_resume) == ("deciding", ["b"], False)


def test_the_picture_says_what_became_of_each_step(floor: Floor) -> None:
    """The state of the run where it says more, the reason beside it, and which way the run went."""
    connection = floor.ledger.connection
    [key] = floor.sent()
    run = rows.get(connection, 1)
    assert run is not None
    spec = step_results.spec_of(connection, run)
    shown = view(connection, 1)
    words = {
        row.name: row.state.word if row.state else "" for row in picture(spec, shown.items, shown.step_states).rows
    }
    assert words == {"a": "Running", "b": "", "c": "", "d": ""}
    floor.end(key, "bad")
    shown = view(connection, 1)
    drawn = picture(spec, shown.items, shown.step_states)
    assert {row.name: row.state.word if row.state else "" for row in drawn.rows}["a"] == "Failed"
    assert drawn.rows[0].note == "exit code 3"
    assert {row.name: row.state.word for row in drawn.rows if row.state}["c"] == "Skipped"


def test_the_list_of_runs_says_which_workflow(floor: Floor) -> None:
    """A step's run has the number of its workflow's run; that of a job has none."""
    floor.sent()
    line = run_rows.line(floor.ledger.connection, 1)
    assert line is not None
    assert (line.job, line.workflow_run) == ("flow@1/a", 1)
    with pytest.raises(NotFound, match="understudy workflow runs"):
        workflow_runs.find(floor.ledger.connection, 9)


def test_variables_are_typed_one_a_line() -> None:
    """Empty lines are nothing; a line without a value's sign is refused by name."""
    assert pairs("A=1\n\n B =x=y\n") == {"A": "1", "B": "x=y"}
    with pytest.raises(Invalid, match="NAME=VALUE"):
        pairs("A")
