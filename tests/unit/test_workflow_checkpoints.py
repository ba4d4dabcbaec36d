"""Steps that save checkpoints inside: suspended with their workflow, and going on without a decision (SMA-1, SMA-2)."""

from __future__ import annotations

import hashlib

import pytest

from server.actions import reconciliation, workflow_runs
from server.actions.happenings import follow
from server.core import agent_wire as wire
from server.core.model import SYSTEM
from tests.unit.floor import Floor, step


@pytest.fixture
def floor() -> Floor:
    made = Floor()
    made.workflow(step("a", environment={"OWN": "1"}), step("b", "a"), variables={"PLACE": "here"})
    made.start()
    return made


def save(floor: Floor, key: str, data: bytes) -> None:
    """The run's agent says that a checkpoint was saved."""
    floor.tell(floor.where(key), key, wire.Checkpointed(1, data, hashlib.sha256(data).hexdigest()))


def test_a_suspended_workflow_stops_its_step_at_a_checkpoint_and_goes_on_from_it(floor: Floor) -> None:
    """Suspending until the step has stopped; resumed, its next attempt begins with the bytes that were saved."""
    [key] = floor.sent()
    floor.ledger.do(workflow_runs.suspend(1, SYSTEM, floor.now_us))
    assert floor.run().state == "suspending"
    save(floor, key, b"loop 7")
    floor.tell("alpha", key, wire.Ended(143, None, 1, 2, 0, False, "suspended"))
    assert floor.sent() == []
    assert (floor.run().state, floor.states()) == ("suspended", ["open"])
    floor.ledger.do(workflow_runs.resume(1, SYSTEM, floor.now_us))
    [again] = floor.sent()
    assert again == key.replace(".a1", ".a2")
    assert floor.given[again].resume == wire.Resume(1, b"loop 7")
    floor.end(again)
    assert floor.work() == ["b"]
    assert floor.run().state == "succeeded"


def test_an_interrupted_step_with_a_checkpoint_goes_on_without_a_decision(floor: Floor) -> None:
    """It is not restartable, and need not be; its next attempt has the step's environment however soon it is sent."""
    [key] = floor.sent()
    save(floor, key, b"loop 7")
    floor.tell("alpha", key, wire.Ended(None, None, 1, 2, 0, False, "interrupted"))
    floor.ledger.do(follow(floor.now_us))
    [sent] = floor.ledger.do(reconciliation.dispatch(floor.ids["alpha"], 1, floor.now_us))
    told = sent.dispatch.specification.environment
    assert sent.dispatch.key == key.replace(".a1", ".a2")
    assert (told["UNDERSTUDY_STEP"], told["OWN"], told["PLACE"]) == ("a", "1", "here")
    floor.follow()
    assert (floor.run().state, floor.states()) == ("running", ["open"])
    floor.end(sent.dispatch.key)
    assert floor.work() == ["b"]
    assert floor.run().state == "succeeded"
