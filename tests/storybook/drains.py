"""An agent while it drains, when it is drained, and while its machine goes down."""

from __future__ import annotations

import msgspec

from server.core.agent_reports import Parted
from server.core.agent_requests import Request
from server.core.model import Gate
from server.storage.drains import DrainRow
from server.web.pages.agent_drain import AgentDrain
from server.web.pages.agent_requests import AgentRequests, Pending, PendingList
from server.web.pages.agents import AgentPage, view
from server.web.pages.contacts import Contact
from tests.storybook.fixture import HOUR_US, MINUTE_US, NOW_US, Story, changed, frame
from tests.storybook.home import RUNNING
from tests.storybook.work import HOST_LOCK, agent, agents_page

ASKED_US = NOW_US - 4 * MINUTE_US
GATE = Gate(
    kind="draining", agent_id="dock-1-id", set_by="operator", set_at_us=ASKED_US, reason="new memory", revision=40
)
MAINTENANCE = Gate(
    kind="maintenance", agent_id="dock-1-id", set_by="operator", set_at_us=ASKED_US, reason="new kernel", revision=40
)
PARTED = (
    Parted("j3.s3.20260922T010000Z.a1", "nightly-archive", "cut"),
    Parted("j5.s5.20260922T011500Z.a1", "checksum-documents", "finished"),
    Parted("j6.s6.20260922T012000Z.a1", "disk-usage", "not started"),
)


REQUESTS = (
    Request(kind="kill", what="kill run 9121", since_us=NOW_US - HOUR_US, by="operator", run=9121),
    Request(kind="lock", what="lock its queue", since_us=ASKED_US, by="admin", reason="planned swap", everywhere=True),
    Request(kind="drain", what="drain", since_us=ASKED_US, by="operator", reason="new memory"),
    Request(kind="order", what="keep 7 standing orders in the present version", by="scheduler"),
)


def drain(state: str, origin: str = "request", **more: object) -> DrainRow:
    """A drain's row."""
    values: dict[str, object] = {
        "agent_id": "dock-1-id",
        "asked_at_us": ASKED_US,
        "origin": origin,
        "asked_by": "operator" if origin == "request" else "the machine",
        "reason": "new memory",
        "limit_s": 600,
        "state": state,
        "began_at_us": ASKED_US + 200_000,
        "ended_at_us": None,
        "outcomes": [],
    }
    return DrainRow(**(values | more))  # type: ignore[arg-type]  # values by name


def _away() -> AgentPage:
    line = agent("dock-1", runs=1, draining=True, last_drain="request asked", silent_since_us=NOW_US - 2 * HOUR_US)
    seen = view(line, None, 42, None)
    parts = (AgentRequests(line, REQUESTS), AgentDrain(GATE, drain("asked"), None, 600, "auto"))
    return AgentPage(frame("Agent dock-1", "/agents"), seen, None, (), 7, 7, 6, parts, NOW_US - 2 * HOUR_US)


def _page(part: AgentDrain, **more: object) -> AgentPage:
    last = f"{part.latest.origin} {part.latest.state}" if part.latest else ""
    kind = part.maintenance.kind if part.maintenance else ""
    line = agent("dock-1", runs=2, draining=part.gate is not None, last_drain=last, maintenance=kind)
    seen = view(line, None, 42, Contact(0.02))
    return AgentPage(frame("Agent dock-1", "/agents", **more), seen, None, tuple(RUNNING[:1]), 7, 0, 6, (part,))


def stories() -> list[Story]:
    """Each phase, and the question before it."""
    over = drain("drained", ended_at_us=NOW_US - MINUTE_US, outcomes=list(PARTED))
    silent_us = NOW_US - 2 * HOUR_US
    away = Pending("warehouse", REQUESTS, "it cannot be reached", silent_us)
    never = Pending("new-machine", REQUESTS[1:2], "it has never connected")
    return [
        Story("agents-requests", changed(agents_page(HOST_LOCK, 2), requests=PendingList((never, away)))),
        Story("agent-requests", _away()),
        Story("agent-drain-confirm", _page(AgentDrain(None, None, None, 600, "auto"), confirm="drain")),
        Story("agent-stop-confirm", _page(AgentDrain(None, None, None, 600, "auto"), confirm="on-stop")),
        Story("agent-drain-asked", _page(AgentDrain(GATE, drain("asked"), None, 600, "auto"))),
        Story("agent-draining", _page(AgentDrain(GATE, drain("draining"), None, 600, "auto"))),
        Story("agent-drained", _page(AgentDrain(GATE, over, None, 600, "auto"))),
        Story("agent-maintenance", _page(AgentDrain(None, None, MAINTENANCE, 600, "auto"))),
        Story(
            "agent-maintenance-suspended",
            _page(
                AgentDrain(
                    None,
                    None,
                    msgspec.structs.replace(MAINTENANCE, kind="maintenance_suspended", agent_id=""),
                    600,
                    "auto",
                )
            ),
        ),
        Story("agent-stopping", _page(AgentDrain(None, drain("draining", "stop"), None, 600, "drain"))),
    ]
