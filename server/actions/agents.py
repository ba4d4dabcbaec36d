"""Join tokens and agents. Permission: agents.manage. What agents report is in `actions.reports`."""

from __future__ import annotations

import hmac
import re
import sqlite3

import msgspec

from server.actions import debts, deployments, witnesses
from server.actions.change import Change, Transaction, record, require
from server.actions.lost_orders import bury
from server.core.model import Agent, JoinToken, Principal
from server.errors import Conflict, Forbidden, Invalid, NotFound
from server.storage import agents, gates, happenings, jobs, join_tokens, maintenance, monitors, orders, runs

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}\Z")


def invite(token: JoinToken, by: Principal, now_us: int) -> Change[JoinToken]:
    """Keep a join token for `token.name`. The caller made id and secret; only the secret's SHA-256 is stored."""
    require(by, "agents.manage")
    check_name(token.name)
    if token.expires_at_us <= now_us:
        raise Invalid("The token would be expired already.", field="expires_at")

    def change(transaction: Transaction) -> JoinToken:
        connection = transaction.connection
        if agents.by_name(connection, token.name) is not None:
            raise Conflict(
                f"There is an agent {token.name} already. Choose another name, or `understudy agent replace`."
            )
        join_tokens.insert(connection, token)
        record(connection, by, now_us, "agents.invite", token.name)
        return token

    return change


def enrol(token_id: str, secret_hash: str, agent_id: str, now_us: int, address: str = "") -> Change[Agent]:
    """Use a join token, once: the new agent is a member. The first one ever becomes the witness by itself.

    Why only that one: docs/decisions/0001. Raises Forbidden when the token is unknown, wrong, used or expired, Conflict
    when there is an agent of that id.
    Afterwards the caller signs the certificate.
    """
    by = Principal("join token", "administrator", address)

    def change(transaction: Transaction) -> Agent:
        connection = transaction.connection
        token = use_token(connection, token_id, secret_hash, now_us)
        if agents.get(connection, agent_id) is not None:
            raise Conflict("There is an agent with this id already. Enrol with an empty directory: --data DIR")
        first = agents.is_first(connection)
        agents.insert(connection, agent_id, token.name, first, now_us)
        if token.replaces:
            agents.update(connection, agent_id, replaces=token.replaces)
            jobs.move_agent(connection, token.replaces, agent_id, now_us)
            runs.move_waiting(connection, token.replaces, agent_id, "agent replaced", now_us)
            monitors.move_agent(connection, token.replaces, agent_id, now_us)
            deployments.replace_agent(connection, token.replaces, agent_id, now_us)
        agent = agents.get(connection, agent_id)
        assert agent is not None
        record(connection, by, now_us, "agents.enrol", token.name, "", {"id": agent_id, "witness": first})
        return agent

    return change


def use_token(connection: sqlite3.Connection, token_id: str, secret_hash: str, now_us: int) -> JoinToken:
    """Check a join token and mark it used, inside the caller's change. Raises Forbidden saying why."""
    token = join_tokens.get(connection, token_id)
    advice = "Make a new one on the master: `understudy agent invite --name NAME`."
    if token is None or not hmac.compare_digest(token.secret_hash, secret_hash):
        raise Forbidden(f"The join token is not known here. {advice}")
    if token.used_at_us is not None:
        raise Forbidden(f"The join token was used already. {advice}")
    if token.expires_at_us <= now_us:
        raise Forbidden(f"The join token has expired. {advice}")
    join_tokens.mark_used(connection, token_id, now_us)
    return token


def remove(name: str, by: Principal, now_us: int, reason: str = "") -> Change[None]:
    """Remove an agent. Conflict while jobs are bound to it or it is a witness.

    Its name becomes free, its runs stay.
    """
    require(by, "agents.manage")

    def change(transaction: Transaction) -> None:
        connection = transaction.connection
        agent = find(connection, name)
        bound = jobs.count_of_agent(connection, agent.id)
        if bound:
            raise Conflict(f"{bound} jobs run on {name}. Move or delete them first: `understudy job list`.")
        watching = monitors.count_of_agent(connection, agent.id)
        if watching:
            raise Conflict(f"{watching} monitors watch on {name}. Delete them first: `understudy monitor list`.")
        if agent.witness or agent.former_witness:
            raise Conflict(f"{name} is a witness. Make another agent witness first: `understudy witness set`.")
        agents.update(connection, agent.id, removed_at_us=now_us, name=f"{name} (removed {agent.id[:8]})")
        gates.remove_of_agent(connection, agent.id)
        maintenance.close_of_agent(connection, agent.id, by.name, now_us)
        bury(connection, agent, now_us)
        debts.bury(connection, agent.id, now_us)
        happenings.unknown_changed(connection, agent.id, now_us)
        deployments.withdraw_agent(connection, agent.id, by.name, now_us)
        record(connection, by, now_us, "agents.remove", name, agent, "", reason)

    return change


def accept_restored(name: str, by: Principal, now_us: int, reason: str = "") -> Change[None]:
    """End the quarantine of an agent that was restored from a snapshot: its next connection is taken as it comes.

    The ticket is forgotten on this side; what was given to it before is `unknown` until its inventory is
    reconciled.
    """
    require(by, "agents.manage")

    def change(transaction: Transaction) -> None:
        connection = transaction.connection
        agent = find(connection, name)
        if agent.quarantined_at_us is None:
            raise Conflict(f"{name} is not quarantined. There is nothing to accept.")
        if agent.dead_at_us is not None:
            _accept_alive(connection, agent, by, now_us, reason)
            return
        witnesses.lose(connection, agent, "it was restored from a snapshot and may have forgotten a grant", now_us)
        agents.update(
            connection,
            agent.id,
            quarantined_at_us=None,
            quarantine_reason="",
            ticket=0,
            ticket_confirmed=0,
            reconciled_epoch=0,
        )
        record(connection, by, now_us, "agents.accept_restored", name, agent.quarantine_reason, "", reason)

    return change


def set_start_alone(name: str, allowed: bool, by: Principal, now_us: int, reason: str = "") -> Change[Agent]:
    """Let an agent begin standing orders after a reboot before a master has answered, or not (the rule).

    The agent keeps it: it holds from when the agent has said so. Returns the agent's row.
    """
    require(by, "agents.manage")

    def change(transaction: Transaction) -> Agent:
        connection = transaction.connection
        agent = find(connection, name)
        if bool(agent.start_alone_after_reboot) != allowed:
            agents.update(connection, agent.id, start_alone_after_reboot=int(allowed))
            words = ("on", "off") if agent.start_alone_after_reboot else ("off", "on")
            record(connection, by, now_us, "agents.set_start_alone", name, *words, reason)
        return find(connection, name)

    return change


def _accept_alive(connection: sqlite3.Connection, agent: Agent, by: Principal, now_us: int, reason: str) -> None:
    """A machine that was declared dead works again: its memory is whole, so its next ticket is checked as ever."""
    agents.update(connection, agent.id, dead_at_us=None, quarantined_at_us=None, quarantine_reason="")
    jobs.mark_agent_unplanned(connection, agent.id)
    record(connection, by, now_us, "agents.accept_restored", agent.name, agent.quarantine_reason, "", reason)


def replace(
    name: str, token: JoinToken, by: Principal, now_us: int, reason: str = "", machine_is_dead: bool = False
) -> Change[JoinToken]:
    """Give an agent's name to a new machine, with its jobs, once that uses the token; its history stays (SKY-20).

    The old machine is heard and given nothing: it starts nothing more once it has heard so, gives its orders back, and
    what it reports of its runs is taken. Until then its runs are `unknown` and its orders are its own: the new machine
    gets them when it has answered, when their time is over, or when somebody says that it is dead, here or later.
    """
    require(by, "agents.manage")

    def change(transaction: Transaction) -> JoinToken:
        connection = transaction.connection
        agent = find(connection, name)
        was_here = agent.ticket > 0 or agent.version != ""  # a ticket is forgotten when its agent is accepted
        is_gone = machine_is_dead or agent.dead_at_us is not None or not was_here
        told = f"{by.name} gave the name {name} to a new machine; this one starts nothing any more"
        values: dict[str, object] = {"quarantined_at_us": now_us, "quarantine_reason": told}
        values |= {"dead_at_us": agent.dead_at_us or now_us} if is_gone else {}
        values |= {"silent_since_us": agent.silent_since_us or now_us, "replaced_at_us": now_us}
        agents.update(connection, agent.id, name=replaced_name(agent), removed_at_us=now_us, **values)
        witnesses.lose(connection, agent, "its machine was replaced", now_us)
        gates.remove_of_agent(connection, agent.id)
        maintenance.close_of_agent(connection, agent.id, by.name, now_us)
        if is_gone:
            bury(connection, agent, now_us)
            debts.bury(connection, agent.id, now_us)
        else:
            _take_back(connection, agent)
        runs.lose_agent(connection, agent.id, "agent replaced", now_us)
        join_tokens.insert(connection, msgspec.structs.replace(token, name=name, replaces=agent.id))
        record(connection, by, now_us, "agents.replace", name, agent, "", reason)
        return token

    return change


def replaced_name(agent: Agent) -> str:
    """What a machine is called when its name was given to another."""
    return f"{agent.name}.replaced-{agent.id[:8]}"


def _take_back(connection: sqlite3.Connection, agent: Agent) -> None:
    after = 0
    while page := orders.of_agent(connection, agent.id, after):
        after = page[-1].id
        for order in page:
            if order.state == "active":
                orders.begin_release(connection, order)
    jobs.mark_agent_unplanned(connection, agent.id)


def find(connection: sqlite3.Connection, name: str) -> Agent:
    """The agent of that name that is not removed; raises NotFound."""
    agent = agents.by_name(connection, name)
    if agent is None:
        raise NotFound(f"There is no agent {name}. See the list of agents.")
    return agent


def check_name(name: str) -> None:
    """Raise Invalid when `name` cannot be an agent's."""
    if not _NAME.match(name):
        wrong = "must begin with a letter or digit and have up to 63 letters, digits, . _ -"
        raise Invalid(f"The agent's name {wrong}.", field="name")


def hand_on(connection: sqlite3.Connection, agent: Agent, now_us: int) -> None:
    """What a replaced machine never began goes to the one that has its name; its jobs are planned again for that."""
    following = agents.successor(connection, agent.id)
    if following is not None and runs.move_waiting(connection, agent.id, following.id, "agent replaced", now_us):
        jobs.mark_agent_unplanned(connection, following.id)
