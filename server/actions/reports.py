"""What agents report, written into rows. Everything here may be told twice: the second time changes nothing.

A run is found by its key. One that no job here explains goes to Server History (SKY-11), with its output.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Protocol

import msgspec

from server.actions import checkpoints, debts, drains, pools, step_begins
from server.actions import events as event_actions
from server.actions.change import Change, Transaction
from server.actions.ends import judge
from server.actions.orders import RELEASED, released
from server.core import agent_wire as wire
from server.core.agent_trust import DRIFT_US
from server.core.model import Job, Run, ServerHistoryEntry
from server.core.monitors import Monitor
from server.core.run_keys import RunKey, parse_key
from server.core.run_states import ENDED, RunEvent, allows, step
from server.core.silence import DEAD
from server.storage import (
    agents,
    events,
    groups,
    jobs,
    missed,
    monitors,
    orders,
    rows,
    runs,
    schedules,
    server_history,
    system_messages,
    workflow_runs,
)

OUTPUT_BYTES_MAX = 1 << 30
HISTORY_OUTPUT_BYTES_MAX = 1 << 20
UNKNOWN_RUN = "no job here has this run"
OTHER_AGENT = "the run belongs to another agent now"

Recordable = (
    wire.Report
    | wire.Output
    | wire.TicketKept
    | wire.GatesKept
    | wire.DeploymentKept
    | wire.OrderKept
    | wire.Released
    | wire.MonitorKept
    | wire.EpochRefused
    | wire.AgentHeartbeat
    | wire.Progress
)


Remembered = wire.Report | wire.GatesKept | wire.OrderKept | wire.Released
"""What an agent says of changes that an older copy of its memory would not know."""


class ObjectTransaction(Transaction, Protocol):
    """A transaction that also writes replicated objects."""

    def write_object(self, name: str, offset: int, data: bytes) -> None:
        """See `replication.store.Transaction`."""

    def remove_object(self, name: str) -> None:
        """See `replication.store.Transaction`."""


def output_object(number: int) -> str:
    """The object that holds a run's output."""
    return f"run-{number}"


def record(agent_id: str, messages: Sequence[Recordable], epoch: int, now_us: int) -> Change[dict[str, int]]:
    """Write a batch of one agent's messages, in order. Returns bytes of output held, by key of those that sent some.

    The fleet answers `Kept` and `OutputKept` once this is committed. At most 8 MiB of output in one batch.
    """

    def change(transaction: Transaction) -> dict[str, int]:
        held: dict[str, int] = {}
        for message in messages:
            if isinstance(message, wire.Report):
                _report(transaction.connection, agent_id, message, epoch, now_us)
            elif isinstance(message, wire.Output):
                held[message.key] = _output(transaction, agent_id, message, epoch, now_us)
            else:
                _acknowledgement(transaction.connection, agent_id, message, now_us)
        return held

    return change


def _acknowledgement(connection: sqlite3.Connection, agent_id: str, message: Recordable, now_us: int) -> None:
    match message:
        case wire.TicketKept(ticket):
            agents.update(connection, agent_id, ticket_confirmed=ticket)
            debts.settle(connection, agent_id, now_us)
        case wire.GatesKept(revision):
            agents.acknowledge_gates(connection, agent_id, revision)
        case wire.DeploymentKept(revision):
            groups.keep_deployment(connection, agent_id, revision)
        case wire.OrderKept(order_id, version):
            orders.acknowledge(connection, order_id, version)
        case wire.Released(order_id, version, started):
            order = orders.get(connection, order_id)
            if order is not None and order.state in ("releasing", "dead") and order.version == version:
                released(connection, order, started, now_us, DEAD if order.state == "dead" else RELEASED)
        case wire.MonitorKept(monitor_id, version):
            monitors.acknowledge(connection, monitor_id, agent_id, version)
        case wire.EpochRefused(offered, highest):
            text = f"{_name(connection, agent_id)} refused epoch {offered}: it obeys {highest} (BEY-4)."
            system_messages.insert(connection, "alarm", text, now_us)
        case wire.AgentHeartbeat(waiting=waiting):
            text = f"{_name(connection, agent_id)} starts nothing by itself: {waiting}"
            system_messages.insert(connection, "alarm", text, now_us)
        case wire.Progress():
            checkpoints.said(connection, agent_id, message)
        case _:
            pass


def _report(connection: sqlite3.Connection, agent_id: str, report: wire.Report, epoch: int, now_us: int) -> None:
    match report.body:
        case wire.Suppressed():
            _suppressed(connection, agent_id, report.body, now_us)
        case wire.DrainBegun():
            drains.begun(connection, agent_id, report.body, report.at_us)
        case wire.Drained():
            drains.drained(connection, agent_id, report.body, report.at_us, now_us)
        case wire.Trouble(text):
            system_messages.insert(connection, "alarm", f"{_name(connection, agent_id)}: {text}", now_us)
        case wire.Fired():
            event_actions.fired(connection, agent_id, report.body, now_us)
        case wire.MonitorProblem():
            event_actions.problem(connection, agent_id, report.body, now_us)
        case wire.Held():
            run = _find(connection, agent_id, report, epoch)
            if run is not None and not pools.is_in_pool(run):
                _hold(connection, run, report.body.reason, epoch, now_us)
        case wire.Begun():
            run = _find(connection, agent_id, report, epoch)
            if run is not None:
                begin(connection, run, report.at_us)
                groups.answer_recall(connection, run.number, "began", now_us)
        case wire.Checkpointed():
            run = _find(connection, agent_id, report, epoch)
            if run is not None:
                checkpoints.kept(connection, run, report.body, report.at_us, now_us)
        case wire.Ended() if report.body.recall:
            run = runs.by_key(connection, report.key)
            if run is not None and run.agent_id == agent_id:
                pools.give_back(connection, run, report.body.recall, now_us)
        case wire.Ended():
            run = _find(connection, agent_id, report, epoch)
            if run is not None:
                _end(connection, run, report.body)
                step_begins.begun(connection, agent_id, run, report.body.begun, epoch, report.at_us)
                groups.answer_recall(connection, run.number, "ended", now_us)


def _suppressed(connection: sqlite3.Connection, agent_id: str, body: wire.Suppressed, now_us: int) -> None:
    if jobs.get(connection, body.job_id) is None:
        return
    if orders.is_of_another(connection, body.schedule_id, body.instant_us, agent_id):
        return  # the instant was given away while the agent was silent: it is not this one's to miss
    missed.record(connection, body.job_id, body.schedule_id, body.instant_us, body.cause, now_us)
    if body.settled:
        row = missed.of_occurrence(connection, body.schedule_id, body.instant_us)
        if row is not None:
            missed.resolve(connection, row.id, "policy", "agent", now_us)


def _find(connection: sqlite3.Connection, agent_id: str, report: wire.Report, epoch: int) -> Run | None:
    """The report's run, made when its job is known here; else the report goes to Server History."""
    run = runs.by_key(connection, report.key)
    if run is not None and run.agent_id == agent_id and run.dispatched_epoch is None:
        is_begun = isinstance(report.body, wire.Begun)  # by a dispatch that was lost with the office that sent it
        return pools.adopt(connection, run, agent_id, epoch) if is_begun else run
    if run is not None and run.agent_id == agent_id:
        return run
    if run is not None and pools.is_nobodys(run):
        is_its = not isinstance(report.body, wire.Held) or (
            pools.was_withheld(run) and not agents.is_gone(connection, agent_id)
        )
        if is_its:
            return pools.adopt(connection, run, agent_id, epoch)
        if pools.is_in_pool(run):
            return run
    made = _make(connection, agent_id, report.key, report.body, epoch, report.at_us) if run is None else None
    if made is None:
        _keep_unknown(connection, agent_id, report, OTHER_AGENT if run is not None else UNKNOWN_RUN)
    return made


def _make(
    connection: sqlite3.Connection, agent_id: str, key: str, body: wire.Body | None, epoch: int, at_us: int
) -> Run | None:
    """A run that the agent knows and nobody here does, when its job is known; `body` None: heard of by its output."""
    named, job = _explain(connection, key, at_us)
    if named is None or job is None:
        return None
    given = body if isinstance(body, wire.Held | wire.Begun) else None
    monitor = monitors.get(connection, named.monitor_id) if named.monitor_id is not None else None
    event = events.by_token(connection, monitor.id, named.event) if monitor is not None else None
    runs.insert(
        connection,
        key,
        job.id,
        agent_id,
        given.specification.command if given is not None else job.command,
        "starting",
        at_us,
        schedule_id=named.schedule_id,
        scheduled_for_us=named.scheduled_for_us,
        attempt=given.attempt if given is not None else named.attempt,
        requested_by=_asked_by(named, monitor),
        dispatched_epoch=epoch,
        event_id=event.id if event is not None else None,
        give_up_after_s=given.specification.give_up_after_s if given is not None else 0,
    )
    if named.schedule_id is not None and named.scheduled_for_us is not None:
        missed.resolve_by_run(connection, named.schedule_id, named.scheduled_for_us, "agent", at_us)
    made = runs.by_key(connection, key)
    if made is not None:
        step_begins.claim(connection, made, at_us)
    return runs.by_key(connection, key)


def _asked_by(named: RunKey, monitor: Monitor | None) -> str:
    if monitor is not None:
        return f"event {monitor.name}"
    return "schedule" if named.schedule_id is not None else ""


def _explain(connection: sqlite3.Connection, key: str, at_us: int) -> tuple[RunKey | None, Job | None]:
    """The key's parts and its job. After a loss another job may have got the number: not one that is younger than the
    run, nor one without the schedule that the key names.
    """
    try:
        named = parse_key(key)
    except ValueError:
        return None, None
    job = jobs.get(connection, named.job_id)
    when_us = named.scheduled_for_us if named.scheduled_for_us is not None else at_us
    if job is None or when_us < job.created_at_us - DRIFT_US:
        return named, None
    schedule = schedules.get(connection, named.schedule_id) if named.schedule_id is not None else None
    is_other = named.schedule_id is not None and (schedule is None or schedule.job_id != job.id)
    return named, None if is_other else job


def _hold(connection: sqlite3.Connection, run: Run, reason: str, epoch: int, now_us: int) -> None:
    if agents.is_gone(connection, run.agent_id):
        if allows(run.state, RunEvent.LOST):
            why = f"held ({reason}) at a machine that was declared dead or replaced"
            runs.set_state(connection, run.number, step(run.state, RunEvent.LOST), now_us, why, dispatched_epoch=epoch)
        return
    events = {"starting": RunEvent.GATED, "waiting": RunEvent.GATED, "unknown": RunEvent.NEVER_STARTED}
    if run.state in events:
        state = step(run.state, events[run.state])
        runs.set_state(connection, run.number, state, now_us, reason, dispatched_epoch=epoch)


def begin(connection: sqlite3.Connection, run: Run, at_us: int) -> None:
    """The agent has it: `running` since `at_us`, whatever it was before, unless it has ended."""
    state = run.state
    if state == "waiting":
        state = step(state, RunEvent.SUBMITTED)
    if state in ("starting", "unknown"):
        state = step(state, RunEvent.STARTED)
        if run.suspend_requested_at_us is not None:
            state = step(state, RunEvent.SUSPEND_ASKED)
        started = run.started_at_us if run.started_at_us is not None else at_us
        runs.set_state(connection, run.number, state, at_us, started_at_us=started)


def _end(connection: sqlite3.Connection, run: Run, body: wire.Ended) -> None:
    if run.state in ENDED or run.state in ("suspended", "resuming"):
        return
    state = step(run.state, RunEvent.SUBMITTED) if run.state == "waiting" else run.state
    event, reason = judge(run.cancel_requested_by, body)
    if event is RunEvent.SUSPENDED:
        reason, more = checkpoints.suspended_values(connection, run, body)
        runs.set_state(connection, run.number, step(state, event), body.ended_at_us, reason, **more)
        return
    runs.set_state(
        connection,
        run.number,
        step(state, event),
        body.ended_at_us,
        reason,
        exit_code=body.exit_code,
        signal=body.signal,
        started_at_us=body.started_at_us,
        ended_at_us=body.ended_at_us,
        output_cut=int(body.output_cut),
    )
    if body.outputs:
        workflow_runs.keep_outputs(connection, run.number, body.outputs)


def _keep_unknown(connection: sqlite3.Connection, agent_id: str, report: wire.Report, why: str) -> None:
    entry = _history_entry(connection, agent_id, report.key, why, report.at_us)
    body, values = report.body, dict[str, object]()
    if isinstance(body, wire.Held | wire.Begun):
        values = {"job_name": body.specification.job_name, "command": body.specification.command}
    if isinstance(body, wire.Begun):
        values["started_at_us"] = report.at_us
    if isinstance(body, wire.Ended):
        values = {"ended_at_us": body.ended_at_us, "exit_code": body.exit_code, "signal": body.signal}
        event = judge("", body)[0]
        values["state"] = step("running", RunEvent.INTERRUPTED if event is RunEvent.SUSPENDED else event)
        values["output_cut"] = int(body.output_cut or entry.output_cut)
        values["started_at_us"] = body.started_at_us if body.started_at_us is not None else entry.started_at_us
        values["job_name"] = body.job_name or entry.job_name
    if values:
        rows.update(connection, "server_history", values, {"id": entry.id})


def _history_entry(connection: sqlite3.Connection, agent_id: str, key: str, why: str, at_us: int) -> ServerHistoryEntry:
    """The agent's entry for an unexplained run, made when it is the first that is heard of it."""
    entry = server_history.by_key(connection, key)
    if entry is not None and entry.agent_id == agent_id:
        return entry
    entry = ServerHistoryEntry(
        id=0,
        run_key=key,
        agent_id=agent_id,
        job_name="",
        started_at_us=None,
        ended_at_us=None,
        exit_code=None,
        signal=None,
        output=b"",
        why=why,
        recorded_at_us=at_us,
    )
    return msgspec.structs.replace(entry, id=server_history.insert(connection, entry))


def _output(transaction: Transaction, agent_id: str, message: wire.Output, epoch: int, now_us: int) -> int:
    """Append what is new of a chunk; returns the bytes held, -1 when nobody wants more.

    A chunk may be the first that is heard of its run: an agent of an earlier version sends it ahead of the begin after
    a change of office. An empty one is only the question what is held, also of runs that never began.
    """
    connection = transaction.connection
    run = runs.by_key(connection, message.key)
    if run is None and message.data:
        run = _make(connection, agent_id, message.key, None, epoch, now_us)
        if run is not None:
            begin(connection, run, now_us)
    if run is not None and message.data and run.agent_id != agent_id and pools.is_nobodys(run):
        run = pools.adopt(connection, run, agent_id, epoch)
        begin(connection, run, now_us)
    if run is None or run.agent_id != agent_id:
        why = UNKNOWN_RUN if run is None else OTHER_AGENT
        return _unknown_output(connection, agent_id, message, why, now_us)
    fresh = _fresh(message, run.output_bytes)
    if run.output_bytes + len(fresh) > OUTPUT_BYTES_MAX:
        return -1
    if fresh:
        writer: ObjectTransaction = transaction  # type: ignore[assignment]  # the store's transaction has objects
        writer.write_object(output_object(run.number), run.output_bytes, fresh)
        runs.update(connection, run.number, output_bytes=run.output_bytes + len(fresh))
    return run.output_bytes + len(fresh)


def _unknown_output(connection: sqlite3.Connection, agent_id: str, message: wire.Output, why: str, now_us: int) -> int:
    if not message.data:
        known = server_history.by_key(connection, message.key)
        return len(known.output) if known is not None and known.agent_id == agent_id else 0
    entry = _history_entry(connection, agent_id, message.key, why, now_us)
    fresh = _fresh(message, len(entry.output))
    if len(entry.output) + len(fresh) > HISTORY_OUTPUT_BYTES_MAX:
        rows.update(connection, "server_history", {"output_cut": 1}, {"id": entry.id})
        return -1
    if fresh:
        rows.update(connection, "server_history", {"output": entry.output + fresh}, {"id": entry.id})
    return len(entry.output) + len(fresh)


def _fresh(message: wire.Output, held: int) -> bytes:
    """The part of a chunk that is not held yet; nothing while a part before it is missing."""
    return message.data[held - message.offset :] if message.offset <= held else b""


def _name(connection: sqlite3.Connection, agent_id: str) -> str:
    agent = agents.get(connection, agent_id)
    return agent.name if agent is not None else f"agent {agent_id[:8]}"
