"""What a takeover that may have lost something owes to agents that do not answer. Pure.

The lost master may have given an agent whatever it held: orders of seven days, runs that were on their way, a job moved
to it. So until such an agent has said what it holds, or its machine is declared dead, nothing that is older than the
takeover and could have gone to it is given to another. The debt is rows, so later masters inherit it.
"""

from __future__ import annotations

from collections.abc import Sequence

from server.core.model import DAY_US, Row, Run
from server.core.run_keys import parse_key

HELD_US = 7 * DAY_US
"""For so long an agent is taken to hold orders, whatever is known of them."""
ID_GAP = 1_000_000
"""New rows get ids this far above those that are known: a lost master may have used the next ones for other things."""
OWED = "a silent agent may have it"
"""Why a run waits."""
WITHHELD_US = 2**61
"""`begin_after_us` of a run that waits for that: no queue and no pool looks at it."""
LATE = "a silent agent might have run it, until it said no"
"""Why an instant is missed that was withheld until it was late."""
NAMED_MAX = 3
MET = "p-"
"""What the request ids begin with that prerequisites make (`actions.prerequisite_runs`)."""


class Debt(Row, frozen=True, kw_only=True):
    """An agent that may hold what a master gave it whose last writes are lost. Times are microseconds UTC."""

    agent_id: str
    since_us: int
    held_until_us: int


class DeadDebt(Row, frozen=True, kw_only=True):
    """An agent whose machine was declared dead before it had answered: it is waited for no more."""

    agent_id: str
    dead_at_us: int


def words(names: Sequence[str], count: int) -> str:
    """Why a run waits, for people: who owes an answer and what to type. `names`: the first of `count`."""
    if not names:
        return OWED
    who = ", ".join(names[:NAMED_MAX]) + (f" and {count - NAMED_MAX} more" if count > NAMED_MAX else "")
    owe, it = ("owes", "it") if count == 1 else ("owe", "each")
    return (
        f"{OWED}: {who} {owe} an answer since a takeover that may have lost something. Wait for {it}, or type: "
        f"understudy agent declare-dead {names[0]}"
    )


def owes(debt: Debt, run: Run, first_submitted_us: int) -> bool:
    """Whether a silent agent may have received a run: it, its occurrence or its first attempt is older than the loss.

    `debt` is the latest one of other agents: the run's own has shown what it has.
    """
    oldest_us = min(run.submitted_at_us, first_submitted_us, run.scheduled_for_us or run.submitted_at_us)
    return oldest_us <= debt.since_us


def could_move(run: Run) -> bool:
    """Whether a master could have given this run to another agent than this one did.

    The first attempt on request for one agent is that agent's, whatever became of its job.
    """
    is_request = run.schedule_id is None and run.event_id is None and not run.group_id
    return not is_request or run.attempt > 1 or parse_key(run.key).request_id.startswith(MET)


def is_of_before(run: Run, first_id: int) -> bool:
    """Whether the lost master may have made the same run by itself, of what only its rows said.

    `first_id`: what was made after the loss has ids from there on. A satisfaction of prerequisites, a group's step of
    a workflow: the same happening at two masters makes the same key, and two agents may get it.
    """
    request = parse_key(run.key).request_id
    if request.startswith(MET):
        return run.job_id < first_id
    return bool(run.group_id) and run.workflow_run is not None and run.workflow_run < first_id
