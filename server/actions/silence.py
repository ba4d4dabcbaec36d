"""Agents that do not answer: declared dead, given up, and what nobody knows of them. Permissions: agents.manage for
the machine, runs.start and missed.resolve for one occurrence.

What a silent agent may have started is `unknown`. There are three ways out: the agent itself says it, an operator says
that the machine is dead, or the job may be given up (`core.giving_up`).
"""

from __future__ import annotations

import sqlite3
from typing import Any

import msgspec

from server.actions import agents as agent_actions
from server.actions import debts as debt_actions
from server.actions import runs as run_actions
from server.actions import witnesses
from server.actions.change import Change, Transaction, record, require
from server.actions.jobs import find as find_job
from server.actions.lost_orders import bury, let_go
from server.actions.orders import released
from server.core.giving_up import SLACK_S, may_be_taken
from server.core.model import Agent, Order, Principal, Run
from server.core.run_keys import next_attempt_key, parse_key
from server.core.silence import LEASE_SLACK_US, has_lapsed, why_not_occurrence
from server.errors import Conflict, Invalid, NotFound
from server.storage import agents, debts, happenings, jobs, orders, runs, silence, system_messages


class Declared(msgspec.Struct, frozen=True):
    """What became of a machine that was declared dead: orders freed, runs and occurrences that stay unknown."""

    name: str
    orders: int
    unknown_runs: int
    unknown_occurrences: int


def declare_dead(name: str, by: Principal, now_us: int, reason: str = "") -> Change[Declared]:
    """An operator says that the machine is dead and will never run anything again as it was.

    Future instants are free from now on: missed while its jobs stay bound to it, another agent's once they are given
    to one. What it may have started stays unknown, and may be run again by name. Switched on again it starts nothing.
    """
    require(by, "agents.manage")

    def change(transaction: Transaction) -> Declared:
        connection = transaction.connection
        agent = agents.replaced_by_name(connection, name) or agent_actions.find(connection, name)
        _check_silent(agent)
        why = (
            f"{by.name} declared the machine dead. If it is on again and its work was not given away, type "
            f"`understudy agent accept-restored {name}`; for a new machine `understudy agent replace {name}`"
        )
        values = {"dead_at_us": now_us, "quarantined_at_us": now_us, "quarantine_reason": why}
        agents.update(connection, agent.id, **values)
        witnesses.lose(connection, agent, "its machine was declared dead", now_us)
        freed = bury(connection, agent, now_us)
        debt_actions.bury(connection, agent.id, now_us)
        runs.lose_agent(connection, agent.id, "its machine was declared dead", now_us)
        happenings.unknown_changed(connection, agent.id, now_us)
        lines = silence.unknown(connection, now_us, agent.id)
        unknown_runs = silence.count_unknown_runs(connection, agent.id)
        told = Declared(name, freed, unknown_runs, sum(line.count for line in lines))
        record(connection, by, now_us, "agents.declare_dead", name, agent, told, reason)
        if told.unknown_runs or told.unknown_occurrences:
            system_messages.insert(connection, "alarm", _message(told), now_us)
        return told

    return change


def give_up(agent_id: str, silent_s: float, now_us: int) -> Change[int]:
    """The agent has had no answer of this office for `silent_s`, by a steady clock: what it was told to give up by then
    may be taken by another attempt or agent; so may orders whose time is over. Returns how much that was.
    """

    def change(transaction: Transaction) -> int:
        connection, done = transaction.connection, 0
        agent = agents.get(connection, agent_id)
        if agent is None or agent.silent_since_us is None:
            return 0
        debt = debts.of_agent(connection, agent_id)
        owed = debt is not None and now_us <= debt.held_until_us + LEASE_SLACK_US
        for number in silence.runs_to_give_up(connection, agent_id, int(silent_s - SLACK_S)):
            runs.update(connection, number, given_up_at_us=now_us)
            happenings.run_changed(connection, number, now_us)
            done += 1
        for order in silence.releasing(connection, agent_id):
            told = order.acknowledged_version >= order.version - 1
            if told and debt is None and may_be_taken(order.specification.give_up_after_s, silent_s):
                released(connection, order, (), now_us, "given up by a silent agent")
                done += 1
            elif has_lapsed(order, now_us) and not owed:
                let_go(connection, order, now_us)
                done += 1
        return done

    return change


def rerun(key: str, by: Principal, now_us: int, reason: str = "") -> Change[Run]:
    """Run an unknown occurrence again by its name, as the next attempt, where its job runs now.

    Conflict while its agent may still have it; NotFound when it is not unknown.
    """
    require(by, "runs.start")

    def change(transaction: Transaction) -> Run:
        connection = transaction.connection
        known = runs.by_key(connection, key)
        if known is not None:
            return run_actions.rerun(known.number, by, now_us, reason)(transaction)
        order, at_us = _unknown_occurrence(connection, key, now_us)
        job, agent = jobs.get(connection, order.job_id), agents.get(connection, order.agent_id)
        if job is None or job.deleted_at_us is not None:
            raise Conflict("Its job was deleted. Create it again first.")
        why_not = why_not_occurrence(order, agent, job.name)
        if why_not:
            raise Conflict(why_not)
        occurrence: dict[str, Any] = {"schedule_id": order.schedule_id, "scheduled_for_us": at_us}
        lost = {"reason": "its machine was declared dead", "requested_by": "schedule", "dispatched_epoch": 0}
        runs.insert(connection, key, job.id, order.agent_id, job.command, "unknown", now_us, **occurrence, **lost)
        again = run_actions.submit(connection, job, next_attempt_key(key), by.name, now_us, "", attempt=2, **occurrence)
        record(connection, by, now_us, "runs.rerun", job.name, key, again.key, reason)
        return again

    return change


def dismiss(job: str, by: Principal, now_us: int, reason: str = "") -> Change[int]:
    """Let what is unknown of a job at dead machines be: nobody runs it again. Returns how many occurrences."""
    require(by, "missed.resolve")

    def change(transaction: Transaction) -> int:
        connection = transaction.connection
        found = find_job(connection, job)
        count = 0
        for order in silence.dead_of_job(connection, found.id):
            count += silence.of_order(connection, order, now_us).count
            orders.update(connection, order.id, state="released")
        if count == 0:
            raise Conflict(f"Nothing of {job} is unknown at a dead machine. See: understudy run list --state unknown")
        record(connection, by, now_us, "runs.dismiss_unknown", job, count, 0, reason)
        return count

    return change


def _check_silent(agent: Agent) -> None:
    if agent.dead_at_us is not None:
        raise Conflict(f"{agent.name} was declared dead already. Nothing is left to do.")
    if agent.ticket == 0 and not agent.version:
        raise Conflict(f"{agent.name} has never been connected: it holds nothing. To take it away: remove it.")
    if agent.silent_since_us is None:
        raise Conflict(
            f"{agent.name} answers, or did a moment ago: it is not dead. To give its jobs to another agent type: "
            "understudy job update JOB --agent OTHER"
        )


def _unknown_occurrence(connection: sqlite3.Connection, key: str, now_us: int) -> tuple[Order, int]:
    try:
        named = parse_key(key)
    except ValueError:
        raise Invalid(f"{key!r} is no run's key. See: understudy run list --state unknown", field="key") from None
    if named.schedule_id is not None and named.scheduled_for_us is not None and named.attempt == 1:
        for order in silence.orders_of(connection, named.schedule_id):
            if order.job_id == named.job_id and named.scheduled_for_us in silence.of_order(connection, order, now_us):
                return order, named.scheduled_for_us
    raise NotFound(f"{key} is neither a run nor unknown. See: understudy run list --state unknown")


def _message(told: Declared) -> str:
    return (
        f"{told.name} was declared dead: {told.unknown_runs} runs and {told.unknown_occurrences} occurrences stay "
        "unknown, it may have run them. See: understudy run list --state unknown"
    )
