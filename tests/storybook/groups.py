"""Groups of agents: the list, one with runs that wait, one that is not deployed, and the form that was wrong."""

from __future__ import annotations

import msgspec

from server.core.groups import Recall
from server.storage.groups import GroupLine, Waiting
from server.storage.limits import Holder
from server.web.api.groups import GroupView, MemberView
from server.web.pages.agent_groups import Deployment
from server.web.pages.agents import view
from server.web.pages.contacts import Contact
from server.web.pages.groups import EMPTY, GroupPage, GroupsPage, members_text
from tests.storybook import work
from tests.storybook.fixture import DAY_US, HOUR_US, MINUTE_US, NOW_US, Story, changed, frame, run

AGENTS = ("dock-1", "dock-2", "dock-3", "warehouse", "gatehouse")


def _line(number: int, name: str, **more: object) -> GroupLine:
    base = GroupLine(
        id=f"{number:032}",
        name=name,
        policy="least_loaded",
        description="",
        deployment=3,
        deployed_by="admin",
        deployed_at_us=NOW_US - number * DAY_US,
        members=3,
        jobs=4,
        running=0,
        waiting=0,
    )
    return msgspec.structs.replace(base, **more)


def _group(**more: object) -> GroupView:
    base = GroupView(
        name="web",
        policy="least_loaded",
        description="Renders and thumbnails",
        deployment=7,
        deployed_by="operator",
        deployed_at_us=NOW_US - 5 * MINUTE_US,
        members=[
            MemberView("dock-1", "", 8, 8, 0, True, 8),
            MemberView("dock-2", "", 5, 8, 4, True, 4),
            MemberView("dock-3", "queue locked", 1, 8, 0, False, 1),
            MemberView("warehouse", "not connected", 0, 0, 0, True),
        ],
        jobs=4,
        running=13,
        waiting=[
            Waiting(reason="no capacity in group web", count=12, first=9122, since_us=NOW_US - 3 * MINUTE_US),
            Waiting(reason="job held", count=1, first=9007, since_us=NOW_US - HOUR_US),
        ],
        recalls=[
            Recall(
                id=4,
                run=9119,
                agent_id="gatehouse-id",
                group_id="0" * 32,
                requested_by="operator",
                requested_at_us=NOW_US - 5 * MINUTE_US,
                reason="another deployment",
            )
        ],
    )
    return msgspec.structs.replace(base, **more)


_HOLDERS = [
    Holder(number=9101 + number, job_id=4, job="thumbnails", state=state, holds={"group web": 1})
    for number, state in enumerate(["running"] * 13 + ["unknown"])
]


def _values(group: GroupView) -> dict[str, str]:
    return {"agents": members_text(group), "runs_at_once": str(group.runs_at_once)}


def stories() -> list[Story]:
    """All of them."""
    lines = (
        _line(1, "reports", policy="preferred", jobs=2, description="The warehouse first"),
        _line(2, "spare", policy="all", members=0, jobs=0),
        _line(3, "web", running=13, waiting=12, runs_at_once=15),
    )
    whole = frame("Groups", "/groups")
    busy, idle = _group(runs_at_once=15, holders=_HOLDERS), _group(members=[], waiting=[], recalls=[], running=0)
    wrong = frame("Group web", "/groups", problem="There is no agent dock-9. See the list of agents.")
    agents = work.agent_stories()
    page = next(story.page for story in agents if story.name == "agent")
    undeployed = view(work.agent("dock-1", autonomous_until_us=None), None, 42, Contact(0.02), False)
    listed = next(story.page for story in agents if story.name == "agents-open")
    return [
        Story("groups", GroupsPage(whole, lines, AGENTS)),
        Story(
            "run-waits-for-a-member",
            changed(
                next(story.page for story in work.run_stories() if story.name == "run-waiting"),
                run=run(9122, "thumbnails", 3, "group web", "waiting", reason="no capacity in group web", group="web"),
                members="dock-1 8 of 8, dock-2 4 of 4 of this group, dock-3 queue locked, warehouse not connected",
            ),
        ),
        Story("groups-empty", GroupsPage(whole, (), AGENTS)),
        Story(
            "groups-wrong",
            GroupsPage(
                frame("Groups", "/groups", problem="There is a group web already. Choose another name."),
                lines,
                AGENTS,
                "",
                {**EMPTY, "name": "web", "agents": "dock-1\ndock-2:4"},
                {"name": "There is one already."},
            ),
        ),
        Story("group", GroupPage(frame("Group web", "/groups"), busy, ("gatehouse",), _values(busy))),
        Story("group-undeployed", GroupPage(frame("Group web", "/groups"), idle, AGENTS, _values(idle))),
        Story(
            "group-wrong",
            GroupPage(
                wrong, busy, (), {**_values(busy), "agents": "dock-1\ndock-9"}, {"agents": "There is no agent dock-9."}
            ),
        ),
        Story("agent-deployed", changed(page, parts=(Deployment(("reports", "web"), True, True, 8),))),
        Story(
            "agent-undeployed",
            changed(page, agent=undeployed, orders_active=0, parts=(Deployment((), True, False, 0),)),
        ),
        Story("agents-undeployed", changed(listed, deployed=frozenset({"dock-1-id", "dock-2-id"}))),
    ]
