"""core.run_states: the table is whole, every state reaches an end, and nothing leaves an end."""

from __future__ import annotations

import pytest

from server.core.run_states import ENDED, OPEN, TABLE, IllegalStep, RunEvent, RunState, result_event, step


def test_every_state_reaches_an_end() -> None:
    """From every open state some chain of events leads to an ended one."""
    reaching: set[RunState] = set(ENDED)
    while True:
        more = {rule.state for rule in TABLE if rule.next in reaching} - reaching
        if not more:
            break
        reaching |= more
    assert reaching == set(RunState)


def test_every_state_is_reached() -> None:
    """Every state but those a run begins in is the next one of some line."""
    assert {rule.next for rule in TABLE} == set(RunState)


def test_nothing_leaves_an_end() -> None:
    """An ended run takes no event: a second report is refused, the first result stands."""
    assert not {rule.state for rule in TABLE} & ENDED
    for state in ENDED:
        for event in RunEvent:
            with pytest.raises(IllegalStep):
                step(state, event)


def test_one_line_for_each_state_and_event() -> None:
    """The table has no two lines for the same state and event, and each has a sentence for people."""
    pairs = [(rule.state, rule.event) for rule in TABLE]
    assert len(pairs) == len(set(pairs))
    assert all(rule.sentence.endswith(".") for rule in TABLE)


def test_a_run_given_to_an_agent_can_become_unknown_and_come_back() -> None:
    """A silent agent makes its run unknown; its return settles it either way."""
    assert step("running", RunEvent.LOST) == RunState.UNKNOWN
    assert step("unknown", RunEvent.SUCCEEDED) == RunState.SUCCEEDED
    assert step("unknown", RunEvent.NEVER_STARTED) == RunState.WAITING
    assert {RunState.UNKNOWN, RunState.WAITING} <= OPEN


def test_a_waiting_run_cannot_succeed() -> None:
    """What never started has no result."""
    with pytest.raises(IllegalStep):
        step("waiting", RunEvent.SUCCEEDED)


@pytest.mark.parametrize(
    ("exit_code", "signal", "killed", "event"),
    [
        (0, None, False, RunEvent.SUCCEEDED),
        (3, None, False, RunEvent.FAILED),
        (None, 11, False, RunEvent.FAILED),
        (None, 9, True, RunEvent.KILLED),
        (None, None, False, RunEvent.INTERRUPTED),
    ],
)
def test_result_is_never_guessed(exit_code: int | None, signal: int | None, killed: bool, event: RunEvent) -> None:
    """Exit code 0 alone is success; without any status it is interrupted."""
    assert result_event(exit_code, signal, killed) == event
