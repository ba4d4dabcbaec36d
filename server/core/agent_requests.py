"""What was asked of an agent and is not acknowledged (JS7-6): a projection of rows, kept nowhere itself. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from server.core.gates import (
    DRAINING,
    MAINTENANCE,
    QUEUE_LOCKED,
    REASONS,
    SCHEDULER_STOPPED,
    SUSPENDED,
    SWAP,
    plain,
)
from server.core.model import Row, Run
from server.core.tenancy import tenant_of

SETTINGS = "settings"
"""The kind under which a change of an agent's own settings is kept among those of its gates."""

LOCK, DRAIN, MAINTAIN, CANCEL, KILL, SUSPEND = "lock", "drain", "maintain", "cancel", "kill", "suspend"
WITHDRAWABLE = (LOCK, DRAIN, MAINTAIN, CANCEL, KILL, SUSPEND)
"""What can be taken back while the agent has not acknowledged it."""

_SET = {
    QUEUE_LOCKED: (LOCK, "lock its queue"),
    SCHEDULER_STOPPED: ("stop", "stop starting by its standing orders"),
    SWAP: ("swap", "wait for the role swap"),
    DRAINING: (DRAIN, "drain"),
    MAINTENANCE: (MAINTAIN, "go into maintenance"),
    SUSPENDED: (MAINTAIN, "go into maintenance, suspended"),
    SETTINGS: (SETTINGS, "keep its settings"),
}
_LIFTED = {
    QUEUE_LOCKED: ("unlock", "unlock its queue"),
    SCHEDULER_STOPPED: ("start", "start by its standing orders again"),
    SWAP: ("swap", "go on after the role swap"),
    DRAINING: ("undrain", "end its drain"),
    MAINTENANCE: ("end maintenance", "end its maintenance"),
    SUSPENDED: ("end maintenance", "end its suspended maintenance"),
}


class GateChange(Row, frozen=True, kw_only=True):
    """A gate was set (`in_force`) or lifted at a revision, by whom and when. `agent_id` "" is host-wide."""

    agent_id: str
    kind: str
    revision: int
    in_force: bool
    changed_by: str
    changed_at_us: int
    reason: str = ""


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that an agent has not acknowledged.

    `kind`: lock, unlock, stop, start, swap, drain, undrain, maintain, end maintenance, settings, cancel, kill,
    suspend, order, release, monitor, deploy or recall. `what` goes on from "It shall …". `since_us` is None where rows
    do not know it.
    `sent`: it is on its way, or was and nobody knows whether it arrived. `everywhere`: it was asked of all agents.
    """

    kind: str
    what: str
    since_us: int | None = None
    by: str = ""
    reason: str = ""
    run: int | None = None
    sent: bool = False
    everywhere: bool = False

    @property
    def can_withdraw(self) -> bool:
        """Whether it can be taken back here, for this agent alone."""
        return self.kind in WITHDRAWABLE and not self.sent and not self.everywhere


def kinds_at(changes: Iterable[GateChange], revision: int) -> tuple[str, ...]:
    """The kinds in force at a revision, from the changes of one agent's gates in order."""
    last = {(change.agent_id, change.kind): change for change in changes if change.revision <= revision}
    return tuple(
        dict.fromkeys(kind for (_, kind), change in last.items() if change.in_force and plain(kind) in REASONS)
    )


def lifted(changes: Iterable[GateChange]) -> list[tuple[int, int]]:
    """From when until when a gate was in force, each time that it was lifted; `changes` are that gate's, in order."""
    found, since_us = [], None
    for change in changes:
        if change.in_force:
            since_us = change.changed_at_us if since_us is None else since_us
        elif since_us is not None:
            found.append((since_us, change.changed_at_us))
            since_us = None
    return found


def of_gates(changes: Sequence[GateChange], acknowledged: int) -> list[Request]:
    """Gates set since the acknowledged revision, and gates lifted since that the agent still has.

    `changes` are those of one agent's gates, host-wide ones too, in order of revision.
    """
    before: dict[tuple[str, str], bool] = {}
    now: dict[tuple[str, str], GateChange] = {}
    for change in changes:
        place = (change.agent_id, change.kind)
        now[place] = change
        if change.revision <= acknowledged:
            before[place] = change.in_force
    found = []
    for place, change in sorted(now.items(), key=lambda pair: pair[1].revision):
        if change.revision <= acknowledged or not (change.in_force or before.get(place, False)):
            continue
        words = _SET if change.in_force else _LIFTED
        kind, what = words.get(plain(change.kind), (change.kind, change.kind.replace("_", " ")))
        tenant = tenant_of(change.kind)
        what = f"{what}, for the tenant {tenant}" if tenant else what
        found.append(
            Request(
                kind=kind,
                what=what,
                since_us=change.changed_at_us,
                by=change.changed_by,
                reason=change.reason,
                everywhere=change.agent_id == "",
            )
        )
    return found


def of_runs(runs: Iterable[Run]) -> list[Request]:
    """Runs at the agent that somebody wants ended; acknowledged by their end."""
    return [
        Request(
            kind=KILL if run.cancel_kill else CANCEL,
            what=f"{'kill' if run.cancel_kill else 'end'} run {run.number}",
            since_us=run.cancel_requested_at_us,
            by=run.cancel_requested_by,
            run=run.number,
            sent=run.stop_sent_at_us is not None,
        )
        for run in runs
        if run.dispatched_epoch is not None
    ]


def of_suspensions(runs: Iterable[Run]) -> list[Request]:
    """Runs at the agent that are to stop at their next checkpoint; acknowledged by their end, whichever comes."""
    return [
        Request(
            kind=SUSPEND,
            what=f"suspend run {run.number} at its next checkpoint",
            since_us=run.suspend_requested_at_us,
            by=run.suspend_requested_by,
            run=run.number,
            sent=run.suspend_sent_at_us is not None,
        )
        for run in runs
    ]


def of_orders(to_keep: int, to_release: int, monitors: int) -> list[Request]:
    """Standing orders and monitors by their number: they are many, and nobody asks for one of them alone."""
    found = []
    if monitors:
        found.append(
            Request(kind="monitor", what=f"watch {_count(monitors, 'monitor')} as they are now", by="scheduler")
        )
    if to_keep:
        found.append(
            Request(
                kind="order", what=f"keep {_count(to_keep, 'standing order')} in the present version", by="scheduler"
            )
        )
    if to_release:
        found.append(Request(kind="release", what=f"give back {_count(to_release, 'standing order')}", by="scheduler"))
    return found


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def why_it_waits(connected: bool, quarantine_reason: str, silent_since_us: int | None, ticket: int) -> str:
    """Why the agent has not acknowledged what was asked of it, for people. `silent_since_us` is shown beside it."""
    if quarantine_reason:
        return "it is quarantined"
    if connected:
        return "it is being told"
    if not ticket:
        return "it has never connected"
    return "it cannot be reached" if silent_since_us is not None else "it has not come back to this master yet"
