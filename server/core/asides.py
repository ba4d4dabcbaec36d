"""What the scheduler put aside because a defect kept it from doing it: the words for people. Pure."""

from __future__ import annotations

from server.core.model import Row

ASIDE_US = 2**60
"""The time of what was put aside, where its row says when it is due: nobody looks at it before."""
REASON = "put aside by a defect: see `understudy scheduler aside list`"
"""Why a run waits that could not be let go."""


class Aside(Row, frozen=True, kw_only=True):
    """One thing. `work`: a key of WORDS; `subject`: what of it, by number or key; `was`: what it takes to do it again.

    Times are microseconds UTC.
    """

    id: int
    work: str
    subject: str
    job_id: int | None
    was: str
    error: str
    aside_at_us: int


WORDS = {
    "follow": "What should have followed was not written",
    "due": "What order {0} of {1} has due is submitted by nobody",
    "renewal": "Order {0} of {1} is not renewed: its agent starts nothing of it once its time is over",
    "give": "Order {0} of {1} is not given to its agent: that goes on with what it was told before",
    "plan": "{1} is not planned: its agent goes on with what it was told before, if it was told anything",
    "begin": "Run {0} of {1} waits",
    "misfire": "What {1} missed is decided by nobody (schedule {0})",
    "suppressed": "What a hold or a stop kept {1} from doing is not in the ledger (order {0})",
    "blackout": "What fell into a blackout window of {1} is not in the ledger (schedule {0})",
    "monitor": "A job monitor of {1} does not look ({0})",
    "timeout": "Workflow run {0} is not ended at its time limit",
    "step": "The scheduler does not get past this: {0}",
}
DISMISSED = {
    "follow": "nothing follows",
    "begin": "the run is cancelled",
    "misfire": "the missed occurrences stay open, for a person",
    "monitor": "the monitor does not look at this run",
    "timeout": "the workflow run has no time limit any more",
    "step": "it is listed again when it fails again",
}
"""What dismissing means; of the others nothing would be done again, so they cannot be dismissed."""


def sentence(aside: Aside, job: str) -> str:
    """What does not happen, for people. `job`: its name, "" without any."""
    return WORDS.get(aside.work, aside.work).format(aside.subject, job or "a job")


def why_not_dismissed(aside: Aside, job: str) -> str:
    """Why it cannot be dismissed and what to type; "" when it can."""
    if aside.work in DISMISSED:
        return ""
    name = job or "the job"
    return (
        f"Dismissed, {name} would never do this again. Change the job ({name}) so that it can, or install a release "
        f"that can, then type: understudy scheduler aside retry {aside.id}"
    )
