"""A machine that took a name over: the one before is silent with orders and an unknown run, or has given all back."""

from __future__ import annotations

from server.core.model import Agent
from server.web.pages.agent_replaced import Former, ReplacedPart
from server.web.pages.agents import AgentPage, view
from server.web.pages.contacts import Contact
from tests.storybook.fixture import DAY_US, HOUR_US, NOW_US, Story, frame
from tests.storybook.home import RUNNING
from tests.storybook.work import agent


def _page(former: Former, **more: object) -> AgentPage:
    line = agent("dock-1", awaits_former=former.orders > 0, **more)
    shown = view(line, None, 42, Contact(0.02))
    return AgentPage(frame("Agent dock-1", "/agents"), shown, None, RUNNING[:1], 40, 3, 40, (ReplacedPart((former,)),))


def stories() -> list[Story]:
    """Both, the first with forty orders."""
    old = Agent(
        id="3f2a91c0" * 4,
        name="dock-1.replaced-3f2a91c0",
        enrolled_at_us=NOW_US - 90 * DAY_US,
        silent_since_us=NOW_US - 2 * HOUR_US,
        replaced_at_us=NOW_US - HOUR_US,
    )
    waits = Former(old, 37, NOW_US + 6 * DAY_US, 2)
    return [
        Story("agent-replaced", _page(waits)),
        Story("agent-replaced-draining", _page(Former(old, 0, NOW_US, 0), draining=True)),
    ]
