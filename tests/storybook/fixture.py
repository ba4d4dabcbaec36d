"""Names, instants and a `Status` that the stories share. No clock: it is always the same night."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeVar

import msgspec

from replication.core.slots import Cap, Sight, Slot, slot_sentence
from replication.core.types import (
    Backlog,
    CopyProgress,
    Epoch,
    Mode,
    PeerStatus,
    Position,
    Proof,
    Role,
    SlotState,
    SlotStatus,
    State,
    Status,
)
from server.storage.runs import RunLine
from server.web.forks import ForkLine
from server.web.frame import Frame, GateLine
from server.web.listings import LISTINGS
from server.web.pages.chart import Sample
from server.web.pages.pair import Flow
from server.web.render import Page

NOW_US = 1_792_897_384_000_000
SECOND_US = 1_000_000
MINUTE_US = 60 * SECOND_US
HOUR_US = 60 * MINUTE_US
DAY_US = 24 * HOUR_US

MASTER, STANDBY = "3f2a91c07be84d5f9e61a0c4d7b82e15", "a81c5e0d94f3472bb6d07f19c2e85a33"
CLUSTER = "dec55089222cf06382a395462938e098"
NAMES = {MASTER: "north", STANDBY: "south"}
WEB = {MASTER: "https://10.20.0.11:8008", STANDBY: "https://10.20.0.12:8008"}
CHECKSUM = 0x9C41_77E0_52AB_D318


T = TypeVar("T")


COPY = CopyProgress(5_368_709_120, 2_271_543_296, 2_140_000_256, 318_000_000.0, 9.7)
NO_ROOM = "no space left on the disk: the copy needs 212 MiB more. Free some, then it goes on"
COPY_WAITS = replace(COPY, bytes_per_s=0.0, seconds_left=None, waiting=NO_ROOM)


def changed(base: T, **more: object) -> T:
    """A copy of a frozen dataclass with other values."""
    return replace(base, **more)  # type: ignore[type-var]  # only dataclasses are given


@dataclass(frozen=True, slots=True)
class Story:
    """One page in one state; `name` is its file name."""

    name: str
    page: Page


def frame(title: str, path: str, **more: object) -> Frame:
    """The frame of an administrator on the master."""
    base = Frame(title, path, NOW_US, CLUSTER, "north", "master", "admin", "administrator")
    if path in LISTINGS:
        base = changed(base, exports=path, exports_word=LISTINGS[path].word, filters="match=north")
    return changed(base, **more)


STOPPED = GateLine("Scheduler stopped", "/scheduler", "circle-stop", "admin", NOW_US - 4 * MINUTE_US, "planned swap")
LOCKED = GateLine("All job queues locked", "/agents", "lock", "admin", NOW_US - 5 * MINUTE_US, "planned swap")


def peer(**more: object) -> PeerStatus:
    """The standby, in sync, as the master knows it."""
    base = PeerStatus(
        node=STANDBY,
        role=Role.STANDBY,
        state=State.IN_SYNC,
        address="10.20.0.12:8009",
        connected=True,
        received=184_220,
        fsynced=184_220,
        applied=184_220,
        checksum=CHECKSUM,
        lag_requests=0,
        lag_bytes=0,
        lag_seconds=0.0,
        last_seen_s=0.4,
        clock_skew_s=0.02,
        disk_free_bytes=81_000_000_000,
    )
    return changed(base, **more)


def status(**more: object) -> Status:
    """A healthy master."""
    base = Status(
        cluster=CLUSTER,
        node=MASTER,
        name="north",
        role=Role.MASTER,
        state=State.MASTER,
        epoch=Epoch(7, MASTER),
        position=Position(Epoch(7, MASTER), 184_220, bytes(range(32))),
        commit_sequence=184_220,
        applied_sequence=184_220,
        checksum=CHECKSUM,
        mode=Mode.AVAILABLE,
        in_sync=True,
        alone_since=None,
        master=MASTER,
        backlog=Backlog(0, 0, 0.0),
        backlog_age_s=0.4,
        backlog_proof="acknowledged at 184,220",
        peers=(peer(),),
        slots=(SlotStatus(STANDBY, SlotState.STREAMING, 184_220, 16 << 20, 0.0, "It keeps up."),),
        journal_bytes=80 << 20,
    )
    return changed(base, **more)


def slot_lost() -> SlotStatus:
    """A standby that has been away for too long."""
    slot = Slot(STANDBY, 91_002, absent_s=8 * 86_400.0, passed=Cap.AGE)
    text = slot_sentence(slot, SlotState.LOST, Sight())
    return SlotStatus(STANDBY, SlotState.LOST, 91_002, 0, 8 * 86_400.0, text)


def proof(in_office: bool, *bad_pages: int) -> Proof:
    """What a node found in its files an hour ago; damaged when pages are named."""
    return Proof(NOW_US - HOUR_US, 4.2, 184_020, CHECKSUM, 19_431, bad_pages, "" if in_office else "ok", in_office)


def proven(found: Proof) -> dict[str, object]:
    """The same as a peer reports it."""
    return {"proof_at_us": found.at_us, "proof_is_whole": found.is_whole, "proof_text": found.text}


def samples(top: int, unknown_last: int = 0) -> tuple[Sample, ...]:
    """Ten minutes, one sample each 5 s: a small sawtooth that rises to `top` at the end, or ends unknown."""
    made = []
    for place in range(120):
        value = (place * 7) % 5 + (top * max(0, place - 80) // 39 if top > 5 else 0)
        known = None if place >= 120 - unknown_last else value
        made.append(Sample(NOW_US - (119 - place) * 5 * SECOND_US, known))
    return tuple(made)


HEALTHY_FLOW = Flow(samples(4), 38.4, True)
QUIET_FLOW = Flow(samples(0), 0.0, False)


def catching_up(requests: int = 1234) -> tuple[Status, Flow]:
    """A standby that is connected and behind."""
    found = status(
        in_sync=False,
        backlog=Backlog(requests, requests * 9_300, 14.2),
        backlog_proof="",
        peers=(
            peer(
                state=State.SYNCING,
                received=184_220 - requests,
                fsynced=184_220 - requests,
                applied=184_100 - requests,
                lag_requests=requests,
                lag_bytes=requests * 9_300,
                lag_seconds=14.2,
            ),
        ),
    )
    return found, Flow(samples(requests), 310.0, True)


def lost(alone: bool) -> tuple[Status, Flow]:
    """A standby that does not answer; the master works alone or waits."""
    slot = Slot(STANDBY, 184_220, absent_s=312.0)
    text = slot_sentence(slot, SlotState.ABSENT, Sight())
    absent = SlotStatus(STANDBY, SlotState.ABSENT, 184_220, 16 << 20, 312.0, text)
    found = status(
        state=State.ALONE if alone else State.MASTER,
        in_sync=False,
        alone_since=NOW_US / 1e6 - 310 if alone else None,
        backlog=None,
        backlog_age_s=312.0,
        backlog_proof="",
        waiting_for="" if alone else "Writes wait for the standby south, silent since 23:58:12.",
        peers=(
            peer(
                connected=False,
                last_seen_s=312.0,
                lag_requests=None,
                lag_bytes=None,
                lag_seconds=None,
                clock_skew_s=None,
            ),
        ),
        slots=(absent,),
    )
    return found, Flow(samples(3, 62), None, False)


def run(
    number: int,
    job: str,
    job_id: int,
    agent: str,
    state: str,
    started_s: int | None = None,
    ended_s: int | None = None,
    **more: object,
) -> RunLine:
    """A run; `started_s` and `ended_s` are seconds ago. Without `requested_by` it was due when it started."""
    started_us = None if started_s is None else NOW_US - started_s * SECOND_US
    ended_us = None if ended_s is None else NOW_US - ended_s * SECOND_US
    due_us = started_us - 200_000 if started_us is not None and "requested_by" not in more else None
    values: dict[str, object] = {
        "number": number, "key": f"j{job_id}.s{job_id}.20261025T000000Z.a1", "job_id": job_id, "job": job,
        "agent_id": f"{agent}-id", "agent": agent, "attempt": 1, "state": state, "reason": "",
        "state_since_us": ended_us or started_us or NOW_US - 3 * MINUTE_US, "scheduled_for_us": due_us,
        "requested_by": "", "submitted_at_us": due_us or NOW_US - 3 * MINUTE_US, "started_at_us": started_us,
        "ended_at_us": ended_us, "exit_code": 0 if state == "succeeded" else None, "signal": None,
        "output_bytes": 0, "output_cut": False, "cancel_requested_by": "",
    }  # fmt: skip
    return msgspec.convert(values | more, RunLine)


FORKS = (
    ForkLine(
        name="48211-48213-9c1f0ab77e02",
        node=STANDBY,
        node_name="south",
        contents="whole",
        runs=1,
        edits=4,
        told=True,
        path="/var/lib/understudy/forks/48211-48213-9c1f0ab77e02",
        bytes=61_440,
        requests=3,
        first=48_211,
        last=48_213,
        epoch=6,
        kept_at_us=NOW_US - 3 * DAY_US,
        why="The master's history goes on differently from request 48211.",
    ),
    ForkLine(
        node=MASTER,
        node_name="north",
        name="damaged-20260901T031502.000000Z",
        path="/var/lib/understudy/forks/damaged-20260901T031502.000000Z",
        bytes=81_000_000,
        requests=None,
        first=None,
        last=None,
        epoch=None,
        kept_at_us=NOW_US - 54 * DAY_US,
        why="Found damaged at a start; kept before it was copied again.",
    ),
)
