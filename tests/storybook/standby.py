"""The standby's own page in its states, and the node without a role."""

from __future__ import annotations

from replication.core.schema import cannot_open
from replication.core.types import Backlog, Role, State
from server.web.frame import Frame
from server.web.pages.standby import JoinPage
from server.web.pages.standby import page_from as standby_from
from tests.storybook.fixture import (
    COPY,
    COPY_WAITS,
    MASTER,
    NAMES,
    NOW_US,
    STANDBY,
    WEB,
    Story,
    changed,
    frame,
    peer,
    proof,
    status,
)


def standby_frame(title: str, **more: object) -> Frame:
    """The frame that a standby serves, where nobody is signed in."""
    whole = frame(title, "/", node="south", role="standby", user="", user_role="", master_address=WEB[MASTER])
    return changed(whole, **more)


def stories() -> list[Story]:
    """What a node says of itself when it is not in office."""
    own = {"node": STANDBY, "name": "south", "role": Role.STANDBY, "state": State.IN_SYNC}
    north = peer(node=MASTER, role=Role.MASTER, state=State.MASTER)
    active = status(**own, peers=(north,), backlog_age_s=0.6, backlog_proof="")
    behind = status(
        **own | {"state": State.SYNCING},
        peers=(north,),
        backlog=Backlog(1234, 11_476_200, 14.2),
        backlog_age_s=0.8,
        backlog_proof="",
        in_sync=False,
    )
    lost = status(**own, peers=(changed(north, connected=False, last_seen_s=312.0),), backlog=None, backlog_age_s=312.0)
    copying = status(**own | {"state": State.COPYING}, peers=(north,), backlog=None, copy=COPY, in_sync=False)
    full = changed(copying, copy=COPY_WAITS)
    closed = changed(
        lost, backlog=Backlog(0, 0, 0.0), backlog_proof="the master closed cleanly with nothing outstanding"
    )
    damaged = changed(active, proof=proof(False, 17, 18))
    observer = changed(behind, observer=True)
    old_release = changed(behind, cannot_take_over=cannot_open("0.1.0", 1, 3, "this node"))
    following = f"{WEB[MASTER]}/swap"
    return [
        Story("standby-active", standby_from(standby_frame("Standby"), active, NAMES)),
        Story("standby-catching-up", standby_from(standby_frame("Standby"), behind, NAMES)),
        Story("standby-lost", standby_from(standby_frame("Standby"), lost, NAMES)),
        Story("standby-copying", standby_from(standby_frame("Standby"), copying, NAMES)),
        Story("standby-copying-full", standby_from(standby_frame("Standby"), full, NAMES)),
        Story("standby-damaged", standby_from(standby_frame("Standby"), damaged, NAMES)),
        Story("standby-observer", standby_from(standby_frame("Standby"), observer, NAMES)),
        Story("standby-old-release", standby_from(standby_frame("Standby"), old_release, NAMES)),
        Story("standby-closed", standby_from(standby_frame("Standby"), closed, NAMES)),
        Story("standby-after-swap", standby_from(standby_frame("Standby"), active, NAMES, following)),
        Story("node-join", JoinPage(Frame("No role yet", "/", NOW_US, "", "", "none"), "/var/lib/understudy")),
    ]
