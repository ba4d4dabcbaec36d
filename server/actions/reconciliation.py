"""The agents' way into an epoch: tickets, inventory, what is given to them, and silence. For the fleet."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

import msgspec

from server.actions import agents as agent_actions
from server.actions import (
    checkpoints,
    debts,
    pools,
    reports,
    special_instances,
    step_chains,
    step_environments,
    witnesses,
)
from server.actions import events as event_actions
from server.actions.adoption import adopt_gates
from server.actions.change import Change, Transaction, record
from server.actions.held_orders import compare_orders
from server.actions.run_jobs import with_jobs
from server.core import agent_wire as wire
from server.core.agent_trust import ticket_fits
from server.core.confidential import NO_SECRETS
from server.core.gates import NO_AGENT, reason
from server.core.model import SYSTEM, Agent, Run, Specification
from server.core.run_states import RunEvent, step
from server.errors import Invalid
from server.storage import (
    agents,
    deliveries,
    gates,
    groups,
    runs,
    server_history,
    silence,
    system_messages,
)
from server.storage import debts as debt_rows
from server.storage import step_chains as chain_rows

GIVEN_MAX = 500
CARRIED_BYTES_MAX = 8 << 20
"""Of checkpoints and step chains that go with dispatches, in one look."""
NOT_BEGUN = ("starting", "unknown", "waiting")
"""Of a run that was sent, and of which no begin was reported."""


class Admission(msgspec.Struct, frozen=True):
    """What became of an agent that presented itself: `admitted`, or the reason of its quarantine.

    `strays`: orders that it holds and nobody here knows as live; the fleet takes them back. Those of an agent of
    protocol 2 go with its admission, so that nothing of them begins any more. `stray_monitors`: the same of monitors.
    """

    admitted: wire.Admitted | None
    refusal: str = ""
    strays: tuple[tuple[int, int], ...] = ()
    stray_monitors: tuple[tuple[int, int], ...] = ()


def open_epoch(epoch: int, now_us: int) -> Change[int]:
    """A new office begins:

    what an earlier one sent and nobody has reported is `unknown` until its agent speaks.
    """

    def change(transaction: Transaction) -> int:
        found = deliveries.starting_since_before(transaction.connection, epoch)
        for run in found:
            state = step(run.state, RunEvent.LOST)
            why = "sent by an earlier office; its agent has not answered yet"
            runs.set_state(transaction.connection, run.number, state, now_us, why)
        return len(found)

    return change


def present(agent_id: str, hello: wire.Hello, shown: wire.Present, epoch: int, now_us: int) -> Change[Admission]:
    """Check the ticket, reconcile the inventory, give the next ticket.

    A wrong ticket is a quarantine and an alarm.
    """

    def change(transaction: Transaction) -> Admission:
        connection = transaction.connection
        agent = agents.get(connection, agent_id)
        if agent is None or (agent.removed_at_us is not None and agent.replaced_at_us is None):
            return Admission(None, "this agent was removed: enrol the machine again with a new join token")
        is_heard = (agent.dead_at_us is not None or agent.replaced_at_us is not None) and hello.protocol > 1
        if agent.quarantined_at_us is not None and not is_heard:
            return Admission(None, agent.quarantine_reason)
        if not ticket_fits(agent.ticket, agent.ticket_confirmed, shown.ticket):
            why = (
                f"it shows connection {shown.ticket} where {agent.ticket} is due: it runs twice, or came back from a "
                f"snapshot. `understudy agent accept-restored {agent.name}`, or `understudy agent replace {agent.name}`"
            )
            set_aside(connection, agent, why, now_us)
            return Admission(None, why)
        return _admit(connection, agent, hello, shown, epoch, now_us)

    return change


def next_ticket(agent_id: str) -> Change[int]:
    """Advance the ticket of a connection: the number to send, 0 while the agent has not confirmed the last one."""

    def change(transaction: Transaction) -> int:
        agent = agents.get(transaction.connection, agent_id)
        if agent is None or agent.quarantined_at_us is not None or agent.ticket != agent.ticket_confirmed:
            return 0
        agents.update(transaction.connection, agent_id, ticket=agent.ticket + 1)
        return agent.ticket + 1

    return change


def quarantine_double(agent_id: str, now_us: int) -> Change[str]:
    """The identity is connected and somebody else says that he is it: nobody knows who is right.

    Returns the reason.
    """

    def change(transaction: Transaction) -> str:
        agent = agents.get(transaction.connection, agent_id)
        if agent is None:
            return "this agent is not known"
        why = (
            "it is connected twice: a copy of its directory runs somewhere. Stop the copy, then "
            f"`understudy agent accept-restored {agent.name}`, or `understudy agent replace {agent.name}`"
        )
        if agent.quarantined_at_us is None:
            set_aside(transaction.connection, agent, why, now_us)
        return why

    return change


def set_aside(connection: sqlite3.Connection, agent: Agent, why: str, now_us: int) -> None:
    """Quarantine inside the caller's change: row, audit entry and alarm."""
    agents.update(connection, agent.id, quarantined_at_us=now_us, quarantine_reason=why)
    record(connection, SYSTEM, now_us, "agents.quarantine", agent.name, "", why)
    witnesses.lose(connection, agent, "it is quarantined", now_us)
    system_messages.insert(connection, "alarm", f"Agent {agent.name} is quarantined: {why}.", now_us)


def _admit(
    connection: sqlite3.Connection,
    agent: Agent,
    hello: wire.Hello,
    shown: wire.Present,
    epoch: int,
    now_us: int,
) -> Admission:
    restored = agent.ticket == 0 and (shown.ticket > 0 or agent.version != "")  # it was admitted before it was accepted
    ticket = max(agent.ticket, shown.ticket) + 1
    agents.update(
        connection,
        agent.id,
        ticket=ticket,
        ticket_confirmed=shown.ticket,
        version=hello.version,
        boot_id=hello.boot_id,
        reconciled_epoch=epoch,
        silent_since_us=None,
    )
    silence.note_held(connection, agent.id)
    chain_rows.dropped(connection, agent.id)
    adopt_gates(connection, agent, shown.gates, hello.protocol, now_us)
    notes = {note.key: note.state for note in shown.runs}
    _reconcile(connection, agent.id, notes, restored, epoch, now_us)
    strays = compare_orders(connection, agent, dict(shown.orders), restored, now_us)
    if agent.replaced_at_us is not None:
        agent_actions.hand_on(connection, agent, now_us)
    outputs = {key: _held_output(connection, key) for key in notes}
    known = strays if hello.protocol > 1 else ()
    left = strays if hello.protocol == 1 else ()
    stray_monitors = event_actions.compare(connection, agent.id, dict(shown.monitors), restored)
    let_in = wire.Admitted(ticket, outputs, (), restored, known, agent.quarantine_reason)
    return Admission(let_in, "", left, stray_monitors)


def _reconcile(
    connection: sqlite3.Connection, agent_id: str, notes: dict[str, str], restored: bool, epoch: int, now_us: int
) -> None:
    """Answer every open run of the agent from its inventory. Results follow as reports.

    One that it runs while the rows say that nobody has it is the agent's: the office that gave it lost its last writes.
    """
    after = 0
    while page := deliveries.at_agent(connection, agent_id, after):
        after = page[-1].number
        for run in page:
            note = notes.get(run.key)
            if note in ("intent", "running"):
                reports.begin(connection, run, now_us)
            elif note is None:
                _not_there(connection, run, restored, now_us)
    for key, note in notes.items():
        found = runs.by_key(connection, key)
        if found is None or not pools.is_nobodys(found):
            continue
        if note in ("intent", "running"):
            reports.begin(connection, pools.adopt(connection, found, agent_id, epoch), now_us)
        elif pools.was_withheld(found) and not (note == "held" and agents.is_gone(connection, agent_id)):
            pools.adopt(connection, found, agent_id, epoch)  # its reports say what became of it


def _not_there(connection: sqlite3.Connection, run: Run, restored: bool, now_us: int) -> None:
    """The agent does not know the run: it never began there, unless it came back from a snapshot.

    One that somebody wants cancelled ends so. Others wait for their agent again, or in the pool of their group;
    `actions.runs.agent_is_back`, once the agent has kept its ticket, lets them go.
    """
    if restored:
        if run.state in ("starting", "running"):
            why = "its agent came back from a snapshot"
            runs.set_state(connection, run.number, step(run.state, RunEvent.LOST), now_us, why)
    elif run.state == "unknown" and run.started_at_us is None and runs.has_later_attempt(connection, run):
        why = "it never began, and another attempt was made"
        runs.set_state(connection, run.number, step(run.state, RunEvent.MISSED), now_us, why)
        groups.answer_recall(connection, run.number, "ended", now_us)
    elif run.state in NOT_BEGUN and run.started_at_us is None and run.cancel_requested_at_us is not None:
        pools.cancel(connection, run, now_us)
    elif run.state in NOT_BEGUN and run.started_at_us is None and run.group_id:
        pools.release(connection, run, now_us)
    elif run.state in NOT_BEGUN and run.started_at_us is None:
        event = RunEvent.GATED if run.state == "waiting" else RunEvent.NEVER_STARTED
        runs.set_state(connection, run.number, step(run.state, event), now_us, NO_AGENT, dispatched_epoch=None)
    elif run.state != "waiting":
        why = "its agent does not know it any more"
        runs.set_state(connection, run.number, step(run.state, RunEvent.INTERRUPTED), now_us, why)
        groups.answer_recall(connection, run.number, "ended", now_us)


def _held_output(connection: sqlite3.Connection, key: str) -> int:
    run = runs.by_key(connection, key)
    if run is not None:
        return run.output_bytes
    entry = server_history.by_key(connection, key)
    return len(entry.output) if entry is not None else 0


Told = Callable[[Specification], Specification]
"""Puts the values of secrets in, for one agent; raises `Invalid` saying why that cannot be."""


def refuse_secrets(specification: Specification) -> Specification:
    """For agents that cannot be told secrets: what names none passes."""
    if specification.confidential is not None:
        raise Invalid(NO_SECRETS)
    return specification


class Given(msgspec.Struct, frozen=True):
    """A run that is marked as sent: send it once this is committed."""

    number: int
    dispatch: wire.Dispatch


def dispatch(agent_id: str, epoch: int, now_us: int, told: Told = refuse_secrets) -> Change[list[Given]]:
    """Mark the agent's starting runs as sent in this epoch, in order; those that a gate stops wait again.

    `told` makes of a specification what this agent is told; a run of which it raises `Invalid` waits, saying why.
    """

    def change(transaction: Transaction) -> list[Given]:
        connection = transaction.connection
        in_force = gates.for_agent(connection, agent_id)
        owed = debt_rows.latest(connection, agent_id)
        given, carried = [], 0
        for run, job in with_jobs(connection, runs.to_dispatch(connection, agent_id, GIVEN_MAX), now_us):
            if job is not None and job.deleted_at_us is not None:
                runs.set_state(connection, run.number, step(run.state, RunEvent.CANCELLED), now_us, "job deleted")
                continue
            why = reason(in_force, agent_id, job)
            if why is None and debts.must_wait(connection, owed, run):
                debts.withhold_run(connection, run, now_us)
                continue
            if job is None or why is not None:
                _wait(connection, run, why or NO_AGENT, now_us)
                continue
            resume, is_whole = checkpoints.resume_of(connection, run)
            if not is_whole:
                why = f"checkpoint {run.resumed_checkpoint}, from which it was to go on, is not kept any more"
                runs.set_state(connection, run.number, step(run.state, RunEvent.CANCELLED), now_us, why)
                continue
            specification = event_actions.of_run(connection, run, special_instances.specification(connection, job, run))
            specification = step_environments.of_run(connection, run, specification)
            try:
                specification = told(specification)
            except Invalid as error:
                _refuse(connection, run, str(error), now_us)
                continue
            sent = {"dispatched_epoch": epoch, "give_up_after_s": job.give_up_after_s}
            runs.update(connection, run.number, **sent)
            group = groups.get(connection, run.group_id) if run.group_id else None
            name = group.name if group is not None else ""
            chain = step_chains.of_dispatch(connection, run, now_us)
            message = wire.Dispatch(run.key, specification, run.scheduled_for_us, run.attempt, name, resume, chain)
            given.append(Given(run.number, message))
            carried += (len(resume.data) if resume is not None else 0) + (len(wire.encode(message)) if chain else 0)
            if carried > CARRIED_BYTES_MAX:
                break  # the rest goes with the next look, which this commit causes
        return given

    return change


def _wait(connection: sqlite3.Connection, run: Run, why: str, now_us: int) -> None:
    """It is not sent now: it waits again, in its pool if it is a group's."""
    if run.group_id:
        pools.release(connection, run, now_us, why)
    else:
        runs.set_state(connection, run.number, step(run.state, RunEvent.GATED), now_us, why)


def _refuse(connection: sqlite3.Connection, run: Run, why: str, now_us: int) -> None:
    """Its secrets cannot be told. One of a group ends: it would be given to the same member again and again."""
    if run.group_id:
        runs.set_state(connection, run.number, step(run.state, RunEvent.FAILED), now_us, why)
    else:
        _wait(connection, run, why, now_us)


def fall_silent(agent_id: str, since_us: int, now_us: int) -> Change[int]:
    """The agent has not answered since `since_us`: what it has is `unknown`, what was not sent waits for it."""

    def change(transaction: Transaction) -> int:
        connection = transaction.connection
        agent = agents.get(connection, agent_id)
        if agent is None or (agent.removed_at_us is not None and agent.replaced_at_us is None):
            return 0
        changed = 0
        if agent.silent_since_us is None:
            agents.update(connection, agent_id, silent_since_us=since_us)
            debts.remind(connection, agent_id, agent.name, now_us)
        for run in runs.open_of_agent(connection, agent_id, 0, 10000):
            if pools.is_in_pool(run):
                pools.release(connection, run, now_us)
            elif run.dispatched_epoch is None and run.state == "starting":
                runs.set_state(connection, run.number, step(run.state, RunEvent.GATED), now_us, NO_AGENT)
            elif run.state in ("starting", "running", "suspending"):
                state = step(run.state, RunEvent.LOST)
                runs.set_state(connection, run.number, state, now_us, "its agent is silent")
            else:
                continue
            changed += 1
        return changed

    return change
