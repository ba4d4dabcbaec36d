"""The pages of a node that is not in office: the standby's own page (SKY-9) and the node without a role. No sign-in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from aiohttp import web

from replication.core.types import CopyProgress, Proof, Role, State, Status
from server.web.frame import Frame
from server.web.pages import serve
from server.web.pages.pair import STATES, standby_of
from server.web.states import STANDBY_ACTIVE, STANDBY_CATCHING_UP, STANDBY_LOST, STANDBY_OBSERVES, STANDBY_UNABLE, Badge


@dataclass(frozen=True, slots=True)
class StandbyPage:
    """What the standby says of itself. `requests` None is unknown; `age_s` is the age of that number.

    `watching` is the address that a page which watched a swap here goes on to, or empty.
    """

    template: ClassVar[str] = "pages/standby_show.html"
    frame: Frame
    verdict: Badge
    headline: str
    advice: str
    connected: bool
    master_name: str
    master_address: str
    silent_s: float | None
    requests: int | None
    bytes: int | None
    oldest_s: float | None
    age_s: float | None
    proof: str
    received: int
    applied: int
    epoch: str
    checksum: str
    copy: CopyProgress | None
    forks: int
    can_take_over: bool
    follow: str = ""
    last_proof: Proof | None = None


@dataclass(frozen=True, slots=True)
class JoinPage:
    """A node without a role: what to type."""

    template: ClassVar[str] = "pages/node_join.html"
    frame: Frame
    directory: str


def page_from(frame: Frame, status: Status, names: dict[str, str], follow: str = "") -> StandbyPage:
    """What a standby, or a node that is between roles, shows."""
    peer = next((found for found in status.peers if found.node == status.master), standby_of(status))
    connected = peer is not None and peer.connected
    verdict, headline, advice = _words(status, connected)
    backlog = status.backlog
    return StandbyPage(
        frame=frame,
        verdict=verdict,
        headline=headline,
        advice=advice,
        connected=connected,
        master_name=names.get(peer.node, peer.node[:8]) if peer else "",
        master_address=frame.master_address,
        silent_s=peer.last_seen_s if peer else None,
        requests=backlog.requests if backlog else None,
        bytes=backlog.bytes if backlog else None,
        oldest_s=backlog.oldest_seconds if backlog else None,
        age_s=status.backlog_age_s,
        proof=status.backlog_proof,
        received=status.position.sequence,
        applied=status.applied_sequence,
        epoch=str(status.epoch.number),
        checksum=f"{status.checksum:016x}",
        copy=status.copy,
        forks=status.forks,
        can_take_over=status.role is Role.STANDBY and status.state is not State.COPYING and not status.cannot_take_over,
        follow=follow,
        last_proof=status.proof,
    )


def _words(status: Status, connected: bool) -> tuple[Badge, str, str]:
    """The badge, what it means, and what to do."""
    if status.state is State.RESUMING:
        return (
            STATES[status.state],
            "This node was master. It asks its standby whether it may be again.",
            (status.waiting_for or "Nothing to do while the standby answers."),
        )
    if status.role is Role.MASTER:
        return STATES[status.state], "This node is taking office.", "Jobs start once it has. Nothing to do."
    if status.cannot_take_over:
        return STANDBY_UNABLE, "This is the standby. It cannot take over.", status.cannot_take_over
    if status.state is State.IN_SYNC and connected:
        return STANDBY_ACTIVE, "This is the standby. It is active and has everything.", ""
    if not connected:
        advice = "It goes on trying. If the master is gone for good, this machine can take over; see below."
        return STANDBY_LOST, "This is the standby. It cannot reach its master.", advice
    if status.observer and status.state is State.SYNCING:
        advice = (
            "Nothing waits for it, so it may lack the newest changes. The master's Replication page gives it the seat."
        )
        return STANDBY_OBSERVES, "This is an observer. It follows the master.", advice
    if status.state is State.FORKED:
        advice = "Look at its forks on the master's Replication page before anything else."
        return STATES[State.FORKED], "This node kept work that the master never had.", advice
    if status.state is State.COPYING:
        waits = status.copy is not None and status.copy.waiting
        advice = "It goes on by itself once there is room." if waits else "Nothing to do; the master goes on meanwhile."
        return STANDBY_CATCHING_UP, "This is the standby. It copies what differs from the master.", advice
    return STANDBY_CATCHING_UP, "This is the standby. It is catching up.", "Nothing to do; do not swap roles now."


async def show(request: web.Request) -> web.Response:
    """`GET /` on a node that is not in office, and every other page there that has something to say."""
    return serve.html(await page(request))


async def page(request: web.Request, follow: str = "") -> StandbyPage | JoinPage:
    """The page of this node as it is now."""
    site = serve.site(request)
    status = site.status()
    if status is None or (status.role is Role.NONE and status.state is State.INIT):
        return JoinPage(await serve.bare_frame(request, "No role yet"), str(site.config.data))
    roster = await site.refresh_roster()
    names = {node.id: node.name for node in roster.values()}
    frame = await serve.bare_frame(request, "Standby" if status.role is Role.STANDBY else "Starting")
    return page_from(frame, status, names, follow)
