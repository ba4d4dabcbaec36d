"""The table of roles as a whole: well-formed, and from every state a way leads to a pair that works."""

from __future__ import annotations

from replication.core import events, roles
from replication.core.roles import TABLE
from replication.core.types import State

WORKING = {State.MASTER, State.IN_SYNC}


def reached(start: set[State]) -> set[State]:
    """All states that rows lead to from `start`."""
    found = set(start)
    while True:
        more = {row.next for row in TABLE if row.next is not None and found & set(row.states)} - found
        if not more:
            return found
        found |= more


def test_numbers_are_unique_and_grow() -> None:
    """Logs cite rows by number: each names one row, and the order of trying is the order of numbers."""
    numbers = [row.number for row in TABLE]
    assert numbers == sorted(set(numbers))


def test_each_row_says_a_sentence() -> None:
    """What people read is a whole sentence without a placeholder."""
    wrong = [row.number for row in TABLE if not (row.sentence[0].isupper() and row.sentence.endswith("."))]
    assert wrong == []
    assert [row.number for row in TABLE if "{" in row.sentence or "  " in row.sentence] == []


def test_no_row_hides_another() -> None:
    """Behind a row without a condition no row of the same event waits for one of its states."""
    hidden = []
    for index, row in enumerate(TABLE):
        for later in TABLE[index + 1 :]:
            same = later.event is row.event and set(later.states) <= set(row.states)
            if same and row.guard.__name__ == "always":
                hidden.append((row.number, later.number))
    assert hidden == []


def test_each_state_is_entered_and_left() -> None:
    """INIT is where nodes begin; every other state is entered by a row, and every state is left by one."""
    entered = {row.next for row in TABLE}
    left = {state for row in TABLE if row.next is not None for state in row.states if state is not row.next}
    assert set(State) - entered == {State.INIT}
    assert set(State) - left == set()


def test_each_state_leads_to_a_working_pair() -> None:
    """From every state both MASTER and IN_SYNC can be reached."""
    assert {state: WORKING - reached({state}) for state in State} == {state: set() for state in State}


def test_each_pair_of_states_goes_on_when_they_meet() -> None:
    """Two nodes that hear each other, in any two states but INIT: a row takes that, or one of them is in office."""
    silent = [
        state
        for state in State
        if state not in (State.INIT, State.PROMOTING)
        and not any(row.event is events.PeerHeard and state in row.states for row in TABLE)
    ]
    assert silent == []


def test_every_operator_gets_an_answer_in_every_state() -> None:
    """Each wish has a row for every state, so that no command waits for nothing."""
    wishes = (events.SwapRequested, events.SwapAbortRequested, events.PromoteRequested, events.GoAloneRequested)
    for wish in wishes:
        states = {state for row in TABLE if row.event is wish for state in row.states}
        assert states == set(State), wish.__name__


def test_a_restart_keeps_no_office() -> None:
    """Invariant 11: nobody starts as master because a file says so."""
    rows = [row for row in TABLE if row.event is events.Started]
    assert {state for row in rows for state in row.states} >= set(roles.OFFICE) | {State.RESUMING, State.PROMOTING}
    assert [row.number for row in rows if row.next in roles.OFFICE and row.guard.__name__ != "never_had_standby"] == []
