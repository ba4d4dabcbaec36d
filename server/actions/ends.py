"""How a run ended, from what its agent recorded: the event, and the sentence for people."""

from __future__ import annotations

from server.actions import drains
from server.core import agent_wire as wire
from server.core.checkpoint_messages import SUSPENDED_CAUSE
from server.core.giving_up import GIVEN_UP
from server.core.run_states import RunEvent, result_event

_CAUSES = {"interrupted": "its process is gone without an exit status", "never started": "it never began"}


def judge(stopped_by: str, body: wire.Ended) -> tuple[RunEvent, str]:
    """How it ended, and the sentence for people; `stopped_by` asked for its end, "" for nobody known."""
    by = f" by {stopped_by}" if stopped_by else ""
    if body.cause in ("cancelled", "killed"):
        had_process = body.started_at_us is not None
        return (RunEvent.KILLED if had_process else RunEvent.CANCELLED), f"{body.cause}{by}"
    if body.cause == "timeout":
        return RunEvent.KILLED, "it ran longer than its timeout"
    if body.cause == GIVEN_UP:
        return RunEvent.KILLED, "its machine had no answer from a master for as long as the job allows"
    if body.cause == SUSPENDED_CAUSE:
        return RunEvent.SUSPENDED, body.cause
    if body.cause in drains.CAUSES:
        return RunEvent.INTERRUPTED, drains.CAUSES[body.cause]
    if body.verdict and not body.cause:
        return (RunEvent.SUCCEEDED if body.verdict == "succeeded" else RunEvent.FAILED), body.why
    event = result_event(body.exit_code, body.signal, killed=False)
    return event, _CAUSES.get(body.cause, body.cause)
