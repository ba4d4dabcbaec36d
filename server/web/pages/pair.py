"""The pair as people see it: two cards, the line between them, and the verdict about the standby. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from replication.core.types import CopyProgress, Mode, PeerStatus, Role, State, Status
from server.core.notices import is_damaged
from server.web.pages.chart import Chart, Sample, chart
from server.web.states import (
    BAD,
    BUSY,
    IDLE,
    OK,
    STANDBY_ACTIVE,
    STANDBY_CATCHING_UP,
    STANDBY_DAMAGED,
    STANDBY_DIFFERS,
    STANDBY_LOST,
    STANDBY_NONE,
    STANDBY_UNABLE,
    WARN,
    Badge,
)

STATES = {
    State.INIT: Badge("No role yet", "circle-dashed", IDLE),
    State.COPYING: Badge("Copying", "loader-circle", BUSY),
    State.SYNCING: Badge("Catching up", "loader-circle", WARN),
    State.IN_SYNC: Badge("In sync", "circle-check", OK),
    State.PROMOTING: Badge("Taking over", "loader-circle", BUSY),
    State.MASTER: Badge("In office", "circle-check", OK),
    State.ALONE: Badge("Alone", "triangle-alert", WARN),
    State.HANDING_OFF: Badge("Handing over", "arrow-left-right", BUSY),
    State.RESUMING: Badge("Starting", "hourglass", WARN),
    State.DEMOTED: Badge("Stood down", "circle-pause", WARN),
    State.FORKED: Badge("Has a fork", "git-fork", BAD),
}
"""The finer state of a node. Keyed by every `State`."""


@dataclass(frozen=True, slots=True)
class NodeCard:
    """One node of the pair. `href` is empty for the node that serves the page; `seen_s` is an age."""

    title: str
    name: str
    here: bool
    href: str
    badge: Badge
    epoch: str
    sequence: int | None
    applied: int | None
    seen_s: float | None


@dataclass(frozen=True, slots=True)
class Pair:
    """Two cards and what flows between them. `requests` is None while it is unknown: never a stale 0.

    `tone` colours the number; `moving` is true while requests flow; `headline` and `advice` are sentences.
    """

    master: NodeCard
    standby: NodeCard | None
    verdict: Badge
    headline: str
    advice: str
    command: str
    requests: int | None
    bytes: int | None
    oldest_s: float | None
    age_s: float | None
    rate: float | None
    left_s: float | None
    proof: str
    copy: CopyProgress | None
    moving: bool
    chart: Chart


@dataclass(frozen=True, slots=True)
class Flow:
    """What the sampler knows: samples of ten minutes, requests acknowledged per second, whether they flow now."""

    samples: tuple[Sample, ...] = ()
    rate: float | None = None
    moving: bool = False


def standby_of(status: Status) -> PeerStatus | None:
    """The peer that is, or should be, this master's standby: the one with the seat before others, no observer."""
    others = [peer for peer in status.peers if not peer.observer]
    peers = sorted(
        others, key=lambda peer: (peer.node != status.seat, peer.role is not Role.STANDBY, not peer.connected)
    )
    return peers[0] if peers else None


def agrees(status: Status, peer: PeerStatus) -> bool | None:
    """Whether both nodes have the same checksum; None unless they are connected and at one position."""
    if not peer.connected or peer.checksum is None or peer.applied != status.position.sequence:
        return None
    return peer.checksum == status.checksum


def verdict(status: Status) -> Badge:
    """SKY-8: green only while in sync, equal, whole and connected; amber while catching up; red when not."""
    peer = standby_of(status)
    if peer is None:
        return STANDBY_NONE
    if not peer.connected:
        return STANDBY_LOST
    if agrees(status, peer) is False:
        return STANDBY_DIFFERS
    if is_damaged(peer):
        return STANDBY_DAMAGED
    if peer.cannot_take_over and not status.in_sync:
        return STANDBY_UNABLE
    return STANDBY_ACTIVE if status.in_sync else STANDBY_CATCHING_UP


def page_pair(status: Status, flow: Flow, names: dict[str, str], now_us: int, web: dict[str, str]) -> Pair:
    """Build the pair as its master sees it. `names` and `web` are names and web addresses by node id."""
    peer = standby_of(status)
    badge = verdict(status)
    backlog = status.backlog if peer is not None and peer.connected else None
    headline, advice, command = _sentences(status, badge, peer)
    return Pair(
        master=_own_card(status, "Master"),
        standby=_peer_card(peer, names, web, badge) if peer else None,
        verdict=badge,
        headline=headline,
        advice=advice,
        command=command,
        requests=backlog.requests if backlog else None,
        bytes=backlog.bytes if backlog else None,
        oldest_s=backlog.oldest_seconds if backlog else None,
        age_s=status.backlog_age_s if backlog else peer.last_seen_s if peer else None,
        rate=flow.rate,
        left_s=_left(backlog.requests, flow.rate) if backlog else None,
        proof=status.backlog_proof,
        copy=peer.copy if peer else None,
        moving=flow.moving and peer is not None and peer.connected and badge is not STANDBY_DIFFERS,
        chart=chart(flow.samples, now_us),
    )


def _left(requests: int, rate: float | None) -> float | None:
    """Seconds until nothing is left at the present rate; None when there is nothing to wait for or no rate."""
    return requests / rate if requests and rate else None


def _own_card(status: Status, title: str) -> NodeCard:
    badge = STATES.get(status.state, STATES[State.INIT])
    return NodeCard(title, status.name, True, "", badge, str(status.epoch.number), status.position.sequence, None, None)


def _peer_card(peer: PeerStatus, names: dict[str, str], web: dict[str, str], badge: Badge) -> NodeCard:
    name = names.get(peer.node, peer.node[:8])
    href = web.get(peer.node, "")
    applied = peer.applied if peer.connected else None
    return NodeCard("Standby", name, False, href, badge, "", peer.fsynced, applied, peer.last_seen_s)


def _sentences(status: Status, badge: Badge, peer: PeerStatus | None) -> tuple[str, str, str]:
    """A headline, what to do next, and the command to type (empty when nothing is to be done)."""
    if peer is None:
        return (
            "There is no standby yet.",
            "If this machine is lost, so is its data. Type this on the second machine:",
            "master-to-standby",
        )
    if badge is STANDBY_ACTIVE:
        requests = status.backlog.requests if status.backlog else None
        if requests == 0:
            return "The standby has everything.", "", ""
        return "The standby is active and a moment behind.", "", ""
    if badge is STANDBY_DIFFERS:
        return (
            "The standby's data differs from this master's.",
            "Do not swap roles: it stops and copies what differs by itself. If this does not change, read both files:",
            "understudy verify",
        )
    if badge is STANDBY_DAMAGED:
        return (
            "The standby's files are damaged.",
            "Do not swap roles. What differs is copied from this master by itself. Then read the files of both again:",
            "understudy verify",
        )
    if badge is STANDBY_CATCHING_UP and peer.copy is not None and peer.copy.waiting:
        return "The copy waits for room on the standby's disk.", "Free some there, then it goes on by itself.", ""
    if badge is STANDBY_UNABLE:
        return "The standby cannot take over.", peer.cannot_take_over, ""
    if badge is STANDBY_CATCHING_UP:
        what = "being copied" if peer.state is State.COPYING else "catching up"
        return f"The standby is {what}.", "It protects you again once it is in sync. Nothing to do.", ""
    if status.alone_since is not None:
        return (
            "The standby is lost. This master works alone.",
            "Writes since then exist only on this machine. Bring the standby's machine back:",
            "understudy serve",
        )
    if status.mode is Mode.AVAILABLE:
        return (
            "The standby is lost.",
            "Writes wait until it is back, or until the witnesses let this master go on alone. If they do not answer:",
            "understudy go-alone",
        )
    return (
        "The standby is lost.",
        "Writes wait until it is back. If it will not come back soon, give this master leave to work without it:",
        "understudy go-alone",
    )
