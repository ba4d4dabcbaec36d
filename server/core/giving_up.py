"""When a run whose agent finds no master is given up, on both sides. Pure.

The agent's keeper kills it once no master able to commit has answered for `give_up_after_s` of the boot clock. The
master counts from the moment at which it stopped answering, a new one from its epoch, and waits `SLACK_S` longer.
"""

from __future__ import annotations

from server.core.model import SECOND_US, Specification

GIVEN_UP = "given up"
"""The cause of the end of a run that its keeper killed so."""
SLACK_S = 60
"""For a kill that takes its time, and for clocks that go at different speeds."""
SHORTEST_S = 20
"""What is shorter would kill at every small trouble: a master of 10,000 agents answers every 8 s, a little later."""


def wrong_give_up(give_up_after_s: int, may_run_twice: bool) -> dict[str, str]:
    """What is wrong with a job's setting, by field; {} when it may be so."""
    if give_up_after_s == 0:
        return {}
    if not SHORTEST_S <= give_up_after_s < 2**31:
        return {"give_up_after_s": f"must be 0 (never) or at least {SHORTEST_S}"}
    if not may_run_twice:
        why = "needs may_run_twice: a run may have done its work before it was given up, and then it runs again"
        return {"give_up_after_s": why}
    return {}


def is_given_up(specification: Specification, answered_us: int | None, boot_us: int) -> bool:
    """For the agent: no master able to commit has answered for too long, by the boot clock (None: never yet)."""
    after_us = specification.give_up_after_s * SECOND_US
    return after_us > 0 and (answered_us is None or boot_us - answered_us >= after_us)


def may_be_taken(give_up_after_s: int, silent_s: float) -> bool:
    """For the master: the agent, silent to it for `silent_s` by its own steady clock, has certainly given it up."""
    return give_up_after_s > 0 and silent_s >= give_up_after_s + SLACK_S
