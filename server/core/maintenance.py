"""Maintenance as one state for each scope: phases and policies, what may follow what, and what is refused meanwhile.

A scope is `""` (the host: everything), `agent:NAME`, or `tenant:NAME`. A session goes from None to Draining or
Suspended, from Draining to Suspended, and back to None at its end; it has one policy. `UIPATH` and `CRYOSPARC` are the
two that other programs know, read from the same session (UIP-1 to UIP-7, CRY-1, CRY-2, CRY-6). Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import StrEnum

import msgspec

from server.core.gates import MAINTENANCE, SUSPENDED
from server.core.model import Row

HOST = ""
AGENT, TENANT = "agent:", "tenant:"


def tenant_of(scope: str) -> str:
    """The tenant that a scope names; "" for the host's and an agent's."""
    return scope.removeprefix(TENANT) if scope.startswith(TENANT) else ""


NAMED_MAX = 10
"""How many runs a refusal names."""


class Phase(StrEnum):
    """Where a session is; `none` when there is none, or it has ended."""

    NONE = "none"
    DRAINING = "draining"
    SUSPENDED = "suspended"


class Running(StrEnum):
    """What becomes of the runs that run."""

    FINISH = "finish"
    STOP = "stop"
    KILL = "kill"


class Submissions(StrEnum):
    """What becomes of new runs, and of what falls due: it waits, or it is refused, respectively missed."""

    QUEUE = "queue"
    REJECT = "reject"


class Pages(StrEnum):
    """What people who are no administrators see of the pages while it drains."""

    NOTICE = "notice"
    CLOSED = "closed"


class Policy(msgspec.Struct, frozen=True):
    """How a maintenance treats what runs, what comes, and who looks."""

    running: Running = Running.FINISH
    submissions: Submissions = Submissions.QUEUE
    pages: Pages = Pages.NOTICE


CRYOSPARC = Policy()
UIPATH = Policy(Running.STOP, Submissions.REJECT, Pages.CLOSED)
PRESETS = {"cryosparc": CRYOSPARC, "uipath": UIPATH}


class Session(Row, frozen=True, kw_only=True):
    """A row: one maintenance from its start to its end. At most one of a scope is open.

    `agent_id` is the agent's of an agent's scope, else "". `suspend_at_us`, `suspend_when_idle`: when Draining becomes
    Suspended by itself, `suspend_kill`: what runs then is killed. `end_at_us`: when it ends by itself.
    """

    id: int
    scope: str
    agent_id: str
    phase: Phase
    running: Running
    submissions: Submissions
    pages: Pages
    reason: str
    started_at_us: int
    started_by: str
    ended_at_us: int | None
    ended_by: str
    stops_attempted: int
    kills_attempted: int
    suspend_at_us: int | None
    suspend_when_idle: bool
    suspend_kill: bool
    end_at_us: int | None

    @property
    def policy(self) -> Policy:
        """The three as one."""
        return Policy(self.running, self.submissions, self.pages)

    @property
    def deadline_us(self) -> int | None:
        """When something is to happen by itself next, or None."""
        suspends = self.suspend_at_us if self.phase is Phase.DRAINING else None
        return min((at for at in (suspends, self.end_at_us) if at is not None), default=None)


def strictest(sessions: Iterable[Session]) -> Session | None:
    """Of the open sessions that concern somebody the one that decides: Suspended before Draining, then what refuses."""

    def severity(session: Session) -> tuple[bool, bool, bool]:
        is_closed = session.pages is Pages.CLOSED
        return session.phase is Phase.SUSPENDED, session.submissions is Submissions.REJECT, is_closed

    return max(sessions, key=severity, default=None)


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody asks for. `keeps`: a session that is open already is left as it is (`maintenance on`).

    `force`: Suspended although runs run. `kill_runs`: Suspended, and what runs is killed. `suspend_*` and `end_at_us`
    are as in `Session`; None and False leave what an open session has.
    """

    phase: str
    policy: Policy = UIPATH
    force: bool = False
    kill_runs: bool = False
    keeps: bool = False
    reason: str = ""
    suspend_at_us: int | None = None
    suspend_when_idle: bool = False
    suspend_kill: bool = False
    end_at_us: int | None = None


class Next(msgspec.Struct, frozen=True):
    """What a session becomes."""

    phase: Phase
    policy: Policy


def wrong(wish: Wish, now_us: int) -> dict[str, str]:
    """What is wrong with a wish in itself, by field; {} when it may be asked for."""
    found: dict[str, str] = {}
    if wish.phase not in (Phase.DRAINING, Phase.SUSPENDED):
        found["phase"] = "The phase is Draining or Suspended; `End` ends it."
    elif wish.phase == Phase.DRAINING and wish.kill_runs:
        found["kill_jobs"] = "Runs are killed on the way into Suspended: use killJobs with the phase Suspended."
    elif wish.phase == Phase.DRAINING and wish.force:
        found["force"] = "Draining needs no force, nothing stands against it: use force with the phase Suspended."
    if wish.end_at_us is not None and wish.end_at_us <= now_us:
        found["end_at"] = "The end must be in the future."
    suspends = wish.suspend_at_us is not None or wish.suspend_when_idle
    if wish.phase == Phase.SUSPENDED and suspends:
        found["suspend_at"] = "It is suspended at once: say when only for a maintenance that begins with Draining."
    elif wish.suspend_kill and not suspends:
        found["suspend_kill"] = "Say when it becomes Suspended: what runs then is killed."
    return found


def refusal(session: Session | None, wish: Wish, running: Sequence[str], count: int) -> str:
    """Why an open or new session does not become what is wished for, or "". `running` names some of `count` runs."""
    if wish.keeps and session is not None:
        return ""
    if wish.phase == Phase.DRAINING:
        if session is not None and session.phase is Phase.SUSPENDED:
            return "It is Suspended already, which goes further than Draining. End it first."
        return ""
    if wish.force or wish.kill_runs or not count:
        return ""
    named = ", ".join(running[:NAMED_MAX])
    more = f" and {count - NAMED_MAX} more" if count > NAMED_MAX else ""
    verb = "run is" if count == 1 else "runs are"
    return f"{count} {verb} not at an end: {named}{more}. Wait, or use killJobs to kill them, or force to leave them."


def become(session: Session | None, wish: Wish) -> Next:
    """What the session is after a wish that nothing stands against.

    Suspended asks nobody to stop: what runs goes on, or is ended as the session had begun to, or is killed (0147).
    """
    if session is not None and wish.keeps:
        return Next(session.phase, session.policy)
    running = wish.policy.running
    if wish.kill_runs:
        running = Running.KILL
    elif wish.phase == Phase.SUSPENDED:
        running = session.running if session is not None else Running.FINISH
    return Next(Phase(wish.phase), msgspec.structs.replace(wish.policy, running=running))


def suspended(session: Session) -> Next:
    """What a draining session is when it becomes Suspended by itself."""
    running = Running.KILL if session.suspend_kill else session.running
    return Next(Phase.SUSPENDED, msgspec.structs.replace(session.policy, running=running))


def is_to_suspend(session: Session, is_idle: bool, now_us: int) -> bool:
    """Whether a session becomes Suspended now by itself."""
    if session.phase is not Phase.DRAINING:
        return False
    is_late = session.suspend_at_us is not None and session.suspend_at_us <= now_us
    return is_late or (session.suspend_when_idle and is_idle)


def is_to_end(session: Session, now_us: int) -> bool:
    """Whether a session ends now by itself."""
    return session.end_at_us is not None and session.end_at_us <= now_us


def gate_kind(phase: Phase, policy: Policy) -> str:
    """The gate that keeps agents from starting work: what falls due waits, or it is missed."""
    lets_wait = phase is Phase.DRAINING and policy.submissions is Submissions.QUEUE
    return MAINTENANCE if lets_wait else SUSPENDED


def meaning(phase: Phase, policy: Policy) -> str:
    """What it means for who works here, in two sentences; "" without a maintenance."""
    if phase is Phase.NONE:
        return ""
    if phase is Phase.SUSPENDED:
        return (
            "Nothing starts and nothing can be submitted; what falls due is missed and listed. "
            "Only administrators work."
        )
    runs = {
        Running.FINISH: "What runs goes on to its end.",
        Running.STOP: "What runs is asked to stop.",
        Running.KILL: "What runs is ended.",
    }[policy.running]
    if policy.submissions is Submissions.QUEUE:
        return f"{runs} You may go on working and submit runs: they wait, and start in order when it ends."
    return f"{runs} New runs and jobs are refused; what falls due is missed and listed."


class Asks(StrEnum):
    """What a call of the web port is about, for `answer`. `web.maintenance` has the table of routes."""

    ALWAYS = "always"
    LOOK = "look"
    CHANGE = "change"
    WORK = "work"


class Answer(StrEnum):
    """How a call is answered."""

    PASS = "pass"
    NOT_ALLOWED = "not allowed"
    UNAVAILABLE = "unavailable"


def answer(phase: Phase, policy: Policy, asks: Asks, is_administrator: bool, is_page: bool) -> Answer:
    """Whether a call passes, by what it asks for and who asks (UIP-2, UIP-3).

    What creates work is refused to everybody, with 405 while it drains and 503 while it is suspended. Everything else
    always passes for an administrator, the local socket among them (BEY-5), and for others until it is suspended; the
    pages of a policy that closes them are theirs alone.
    """
    if phase is Phase.NONE or asks is Asks.ALWAYS:
        return Answer.PASS
    if asks is Asks.WORK and phase is Phase.SUSPENDED:
        return Answer.UNAVAILABLE
    if asks is Asks.WORK and policy.submissions is Submissions.REJECT:
        return Answer.NOT_ALLOWED
    if is_administrator:
        return Answer.PASS
    is_closed = phase is Phase.SUSPENDED or (is_page and policy.pages is Pages.CLOSED)
    return Answer.UNAVAILABLE if is_closed else Answer.PASS
