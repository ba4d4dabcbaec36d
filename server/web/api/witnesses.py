"""The witnesses: who they are, what they say, and who they shall be."""

from __future__ import annotations

import msgspec

from server.actions import witnesses as actions
from server.errors import Conflict
from server.storage import agents
from server.storage import witnesses as rows
from server.web.api.endpoint import Answer, Call, Endpoint
from server.web.witnesses import Standing, read, standing


class Witnesses(msgspec.Struct, frozen=True):
    """The names of the agents that shall be witnesses: one or three."""

    agents: list[str]


async def show(call: Call) -> Standing:
    """Every witness with its record; the connected ones are asked for it now, within a second. On either node."""
    seated = await call.read(rows.seated)
    if call.site.witnesses is not None:
        await call.site.witnesses.look([agent.id for agent in seated])
    return standing(call.site, await call.read(read))


async def choose(call: Call) -> Answer:
    """Choose the witnesses: only while the standby is in sync, or before there was one; answers their names.

    The former witnesses are asked too until both nodes have applied it: see `change` of GET /api/v1/witnesses.
    """
    change = actions.choose(call.body.agents, call.by, call.now_us)
    call.site.store()
    status = call.site.status()
    if status is not None and status.standby_enrolled and not status.in_sync:
        raise Conflict(
            "The standby is not in sync, so the witnesses cannot change now: what the old ones know could be missed. "
            "Bring the standby back first (understudy status says what it waits for), then type this again."
        )
    known = await call.read(lambda c: {name: agents.by_name(c, name) for name in call.body.agents})
    silent = [name for name, agent in known.items() if agent is not None and not call.site.agent_connected(agent.id)]
    if silent:
        raise Conflict(
            f"{' and '.join(silent)} {'does' if len(silent) == 1 else 'do'} not answer, and a witness must. "
            "Start the agent there, or name another one: understudy agent list"
        )
    return await call.write(change)


ENDPOINTS = (
    Endpoint("GET", "/api/v1/witnesses", show, "Witnesses: seats, records, a change that waits", answer=Standing),
    Endpoint("PUT", "/api/v1/witnesses", choose, "Choose one or three witnesses", body=Witnesses, answer=list[str]),
)
