"""The monitors of an agent: what they saw, the events that follow, and the runs that begin by them. Pure (SKY-16).

The number of an event, the observation behind it, its report and the intents of its runs are saves of one outcome:
durable together or not at all, so that an event is neither repeated nor lost by a start of the agent.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from server.core import agent_wire as wire
from server.core.agent_ledger import FireAnswer, Ledger
from server.core.agent_memory import (
    DropMonitor,
    DropRequested,
    DropSeen,
    KeptMonitor,
    Requested,
    SaveMonitor,
    SaveNumber,
    SaveRequested,
    SaveSeen,
)
from server.core.agent_trust import Moment
from server.core.agent_work import Work
from server.core.gates import HELD, Verdict, on_occurrence
from server.core.giving_up import is_given_up
from server.core.model import DAY_US
from server.core.monitors import MANUAL, PROCESS, Reaction, StandingMonitor, variables_of, with_event, wrong_variables
from server.core.run_keys import event_key
from server.core.sightings import EVENTS_AT_ONCE, Happening, Look, judge
from server.core.tenancy import tenant_of

EVENTS_HELD_MAX = 10_000
"""So many events wait for a master at most: beyond, what is seen is looked at again later, and firing is refused."""
REQUESTS_KEPT_US = DAY_US
STILL_RUNNING = "still running"


class Events:
    """Over the ledger and the work of one agent; `boot_id` names the boot whose clock tells steadiness."""

    def __init__(self, ledger: Ledger, work: Work, boot_id: str) -> None:
        self._ledger = ledger
        self._memory = ledger.memory
        self._work = work
        self._boot_id = boot_id

    def notes(self) -> tuple[tuple[int, int], ...]:
        """The inventory: (monitor, version)."""
        return tuple((kept.monitor.id, kept.monitor.version) for kept in self._memory.monitors.values())

    def watched(self) -> list[StandingMonitor]:
        """What is to be looked at."""
        return [kept.monitor for kept in self._memory.monitors.values() if kept.monitor.kind != MANUAL]

    def take(self, monitor: StandingMonitor, next_number: int) -> None:
        """Hold a monitor as this office gives it. What was seen counts on while it watches the same."""
        kept = self._memory.monitors.get(monitor.id)
        number = max(next_number, self._memory.numbers.get(monitor.id, 1))
        if number != self._memory.numbers.get(monitor.id):
            self._ledger.save(SaveNumber(monitor.id, number))
        if kept is not None and kept.monitor.watches_same(monitor):
            self._ledger.save(SaveMonitor(msgspec.structs.replace(kept, monitor=monitor)))
        else:
            self._ledger.save(DropMonitor(monitor.id))
            self._ledger.save(SaveMonitor(KeptMonitor(monitor)))

    def release(self, monitor_id: int) -> None:
        """Watch it no more; what it began goes on."""
        if monitor_id in self._memory.monitors:
            self._ledger.save(DropMonitor(monitor_id))

    def begin_anew(self) -> None:
        """After a snapshot what was seen is of an earlier time: the next look is a first one again."""
        for kept in list(self._memory.monitors.values()):
            self._ledger.save(DropMonitor(kept.monitor.id))
            self._ledger.save(SaveMonitor(KeptMonitor(kept.monitor)))

    def expire(self, now: Moment) -> None:
        """Requests are answered again for a day."""
        old = [key for key, made in self._memory.requested.items() if abs(now.wall_us - made.at_us) > REQUESTS_KEPT_US]
        if old:
            self._ledger.save(DropRequested(tuple(old)))

    def looked(self, monitor: StandingMonitor, look: Look, now: Moment) -> None:
        """Judge a look that was taken for `monitor`; one taken for an earlier version of it tells nothing."""
        kept = self._memory.monitors.get(monitor.id)
        if kept is None or kept.monitor != monitor:
            return
        if look.problem != kept.problem:
            self._ledger.report("", wire.MonitorProblem(monitor.id, look.problem), now)
        room = EVENTS_HELD_MAX - self._waiting()
        has_looked = kept.has_looked or (look.whole and room > 0)
        if (look.problem, has_looked) != (kept.problem, kept.has_looked):
            self._ledger.save(SaveMonitor(KeptMonitor(monitor, has_looked, look.problem)))
        if not look.whole or room <= 0:
            return
        before = self._memory.seen.get(monitor.id, {}) if kept.has_looked else None
        limit = min(EVENTS_AT_ONCE, room)
        judged = judge(monitor.kind, monitor.settings, before, look, now.boot_us, self._boot_id, limit)
        for path, seen in judged.seen.items():
            self._ledger.save(SaveSeen(monitor.id, path, seen))
        if judged.gone:
            self._ledger.save(DropSeen(monitor.id, tuple(judged.gone)))
        for happening in judged.happenings:
            self._happen(monitor, happening.what, _details(monitor.kind, happening), now)

    def fire(self, name: str, request: str, variables: Mapping[str, str], why_not: str, now: Moment) -> FireAnswer:
        """Make a manual event, once for each `request`; or say why not."""
        kept = next((kept for kept in self._memory.monitors.values() if kept.monitor.name == name), None)
        made = self._memory.requested.get(request)
        if made is not None:
            same = made.monitor == name
            return FireAnswer(made.number) if same else FireAnswer(code="invalid", detail="The key was used before.")
        if kept is None or kept.monitor.kind != MANUAL:
            return FireAnswer(code="not_found", detail=self._unknown(name, kept is not None))
        wrong = wrong_variables(variables)
        if wrong:
            said = "; ".join(f"{key}: {text}" for key, text in wrong.items())
            return FireAnswer(code="invalid", detail=f"The variables are not right: {said}. Nothing was fired.")
        if why_not or self._waiting() >= EVENTS_HELD_MAX:
            full = f"{EVENTS_HELD_MAX} events wait for a master already."
            return FireAnswer(code="unavailable", detail=f"{why_not or full} Nothing was fired. Try again later.")
        answer = self._happen(kept.monitor, MANUAL, variables, now)
        self._ledger.save(SaveRequested(request, Requested(name, answer.number, now.wall_us)))
        return answer

    def _unknown(self, name: str, is_other_kind: bool) -> str:
        if is_other_kind:
            return f"{name} watches by itself and cannot be fired. Fire a monitor of the kind manual."
        names = [kept.monitor.name for kept in self._memory.monitors.values() if kept.monitor.kind == MANUAL]
        known = f"It has {', '.join(sorted(names))}." if names else "It has none."
        return (
            f"This agent has no manual monitor {name}. {known} `understudy monitor list` on the master shows all; "
            "a new one is known here once this agent was connected."
        )

    def _waiting(self) -> int:
        return sum(isinstance(report.body, wire.Fired) for report in self._memory.reports.values())

    def _happen(self, monitor: StandingMonitor, what: str, details: Mapping[str, str], now: Moment) -> FireAnswer:
        number = self._memory.numbers.get(monitor.id, 1)
        self._ledger.save(SaveNumber(monitor.id, number + 1))
        variables = variables_of(monitor.name, monitor.kind, what, str(number), now.wall_us, details)
        verdict, gate = on_occurrence(self._memory.durable.gates.kinds, tenant_of(monitor.name))
        causes: dict[int, str] = {}
        elsewhere = tuple(job_id for job_id, _ in monitor.elsewhere)
        names = dict(monitor.elsewhere)
        if verdict is Verdict.MISS:
            causes, elsewhere = dict.fromkeys(elsewhere, gate), ()
        begun = []
        for reaction in monitor.reactions:
            cause = gate if verdict is Verdict.MISS else self._why_not(reaction, now)
            if cause:
                causes[reaction.specification.job_id] = cause
            else:
                begun.append(reaction.specification)
        not_run = tuple(causes.items())
        fired = wire.Fired(monitor.id, monitor.name, number, what, now.wall_us, variables, elsewhere, not_run)
        self._ledger.report("", fired, now)
        keys = {event_key(job.job_id, monitor.id, str(number)): job for job in begun}
        for key, specification in keys.items():
            self._work.react(key, with_event(specification, variables), monitor.id, now)
        names |= {reaction.specification.job_id: reaction.specification.job_name for reaction in monitor.reactions}
        told = tuple((names.get(job, f"job {job}"), cause) for job, cause in causes.items())
        return FireAnswer(number, runs=tuple(keys), elsewhere=len(elsewhere), suppressed=told)

    def _why_not(self, reaction: Reaction, now: Moment) -> str:
        specification = reaction.specification
        if reaction.held:
            return HELD
        if is_given_up(specification, self._work.answered_us, now.boot_us):
            return f"no master answered for {specification.give_up_after_s} s"
        is_open = specification.skip_if_running and self._work.is_active(specification.job_id)
        return STILL_RUNNING if is_open else ""


def _details(kind: str, happening: Happening) -> dict[str, str]:
    """The variables that depend on what was seen."""
    if kind == PROCESS:
        return {"PID": happening.path.partition(":")[0]}
    return {"PATH": happening.path, "SIZE": str(happening.size)}
