"""`GET /api/v1/status`: one consistent look at this node, and a part of it for everybody near."""

from __future__ import annotations

import sqlite3
from typing import Any

from replication.core.types import CopyProgress, PeerStatus, Proof, SlotStatus, Status
from replication.errors import ReplicationError
from server.core.maintenance import HOST, Phase, meaning
from server.core.model import Gate
from server.core.witness_seats import is_held, problem
from server.errors import UnderstudyError
from server.site import Site
from server.storage import agents, debts, gates, maintenance, settings, silence, swaps, witnesses
from server.web.api.endpoint import NOBODY, Call, Endpoint
from server.web.session import is_loopback, require_principal


async def show(call: Call) -> dict[str, Any]:
    """Everything for who is signed in; role, state, sync, backlog and master for a standby's and this
    machine's visitors.
    """
    status = call.site.status()
    if call.by is NOBODY:
        if call.site.in_office and not is_loopback(call.request):
            require_principal(call.request)
        return public_status(call.site, status)
    return await full_status(call.site, status, call.by.tenant)


def public_status(site: Site, status: Status | None) -> dict[str, Any]:
    """What needs no sign-in: SKY-9's line."""
    if status is None:
        return {
            "role": "none",
            "state": "INIT",
            "in_sync": False,
            "backlog": None,
            "master": "",
            "waiting_for": "Nobody made this node a member of a cluster yet. Type: "
            f"master-to-standby --data {site.config.data} --master HOST --port PORT",
        }
    return {
        "role": status.role.value,
        "state": status.state.value,
        "in_sync": status.in_sync,
        "backlog": backlog_of(status),
        "master": site.master_url(),
        "waiting_for": status.waiting_for,
    }


async def full_status(site: Site, status: Status | None, tenant: str = "") -> dict[str, Any]:
    """The whole answer of the contract; counts of rows come from what this node holds, without waiting."""
    public = public_status(site, status)
    if status is None:
        return public | {"version": site.version, "node": None, "cluster": None, "peers": []}
    answer = public | {
        "cluster": status.cluster,
        "node": status.node,
        "name": status.name,
        "version": site.version,
        "epoch": status.epoch.number,
        "epoch_node": status.epoch.node,
        "position": {
            "epoch": status.position.epoch.number,
            "sequence": status.position.sequence,
            "hash": status.position.hash.hex(),
        },
        "commit_sequence": status.commit_sequence,
        "applied_sequence": status.applied_sequence,
        "checksum": f"{status.checksum:016x}",
        "alone_since": status.alone_since,
        "master_node": status.master,
        "seat": status.seat or None,
        "observer": status.observer,
        "mode": status.mode.value,
        "backlog_age_s": status.backlog_age_s,
        "backlog_proof": status.backlog_proof,
        "copy": copy_of(status.copy),
        "forks": status.forks,
        "proof": _proof(status.proof),
        "peers": [_peer(peer) for peer in status.peers],
        "slots": [_slot(slot) for slot in status.slots],
        "journal_bytes": status.journal_bytes,
        "schema": status.schema,
        "schema_max": status.schema_max,
        "cannot_take_over": status.cannot_take_over,
    }
    try:
        return answer | await site.read_now(lambda connection: _rows(connection, site), tenant)
    except (UnderstudyError, ReplicationError, sqlite3.Error):
        return answer | {
            "scheduler": None,
            "queues": None,
            "agents": None,
            "swap": None,
            "witnesses": None,
            "silence": None,
            "maintenance": None,
            "gates": [],
        }


def backlog_of(status: Status | None) -> dict[str, Any] | None:
    """File Replication Requests, or None while the number is unknown."""
    if status is None or status.backlog is None:
        return None
    backlog = status.backlog
    return {"requests": backlog.requests, "bytes": backlog.bytes, "oldest_seconds": backlog.oldest_seconds}


def copy_of(copy: CopyProgress | None) -> dict[str, Any] | None:
    """How far a copy is, for programs; None while there is none."""
    if copy is None:
        return None
    return {
        "share": round(copy.share, 4),
        "bytes_total": copy.bytes_total,
        "bytes_done": copy.bytes_done,
        "bytes_moved": copy.bytes_moved,
        "bytes_per_s": round(copy.bytes_per_s),
        "seconds_left": round(copy.seconds_left, 1) if copy.seconds_left is not None else None,
        "waiting": copy.waiting,
    }


def _proof(proof: Proof | None) -> dict[str, Any] | None:
    if proof is None:
        return None
    return {
        "at_us": proof.at_us,
        "sequence": proof.sequence,
        "checksum": f"{proof.checksum:016x}",
        "pages": proof.pages,
        "bad_pages": list(proof.bad_pages[:1000]),
        "soundness": proof.soundness,
        "whole": proof.is_whole,
        "text": proof.text,
    }


def _peer(peer: PeerStatus) -> dict[str, Any]:
    return {
        "node": peer.node,
        "role": peer.role.value,
        "state": peer.state.value,
        "address": peer.address,
        "connected": peer.connected,
        "received": peer.received,
        "fsynced": peer.fsynced,
        "applied": peer.applied,
        "checksum": f"{peer.checksum:016x}" if peer.checksum is not None else None,
        "observer": peer.observer,
        "lag_requests": peer.lag_requests,
        "lag_bytes": peer.lag_bytes,
        "lag_seconds": peer.lag_seconds,
        "last_seen": peer.last_seen_s,
        "clock_skew_s": peer.clock_skew_s,
        "disk_free_bytes": peer.disk_free_bytes,
        "copy": copy_of(peer.copy),
        "proof": {"at_us": peer.proof_at_us, "whole": peer.proof_is_whole, "text": peer.proof_text}
        if peer.proof_at_us
        else None,
        "version": peer.version,
        "protocol": peer.protocol,
        "schema_latest": peer.schema_latest,
        "schema_max": peer.schema_max,
        "cannot_take_over": peer.cannot_take_over,
    }


def _slot(slot: SlotStatus) -> dict[str, Any]:
    """A slot with its state in a word and in a sentence."""
    return {
        "node": slot.node,
        "state": slot.state.value,
        "fsynced": slot.fsynced,
        "pinned_bytes": slot.pinned_bytes,
        "seconds": slot.seconds,
        "text": slot.text,
    }


def _rows(connection: sqlite3.Connection, site: Site) -> dict[str, Any]:
    """Counts that the status carries, from one snapshot."""
    in_force = gates.every(connection)
    everywhere = {gate.kind for gate in in_force if not gate.agent_id}
    total = agents.count(connection)
    behind = agents.unacknowledged(connection, settings.gate_revision(connection))
    locked = total - behind if "queue_locked" in everywhere else gates.locked_agents(connection)
    running = swaps.open_swap(connection)
    return {
        "scheduler": {"running": "scheduler_stopped" not in everywhere},
        "queues": {"locked": locked, "total": total, "unacknowledged": behind, "all": "queue_locked" in everywhere},
        "agents": {"active": site.agents_active() if site.in_office else None, "total": total},
        "witnesses": _witnesses(connection),
        "silence": _silence(connection),
        "gates": [_gate(gate) for gate in in_force if not gate.agent_id],
        "maintenance": _maintenance(connection),
        "swap": {"id": running.id, "state": running.state, "to": running.to_node} if running else None,
    }


def _witnesses(connection: sqlite3.Connection) -> dict[str, Any]:
    seated = witnesses.seated(connection)
    names = [agent.name for agent in seated if agent.witness and is_held(agent, "witness")]
    return {"names": names, "problem": problem(seated)}


def _silence(connection: sqlite3.Connection) -> dict[str, Any]:
    """Agents that do not answer, by name, and those that owe an answer since a loss, with what waits for it."""
    silent = silence.silent(connection)
    runs, orders = debts.count_withheld(connection)
    return {
        "silent": [agent.name for agent in silent if agent.dead_at_us is None],
        "dead": [agent.name for agent in silent if agent.dead_at_us is not None],
        "owing": debts.names(connection),
        "withheld_runs": runs,
        "withheld_orders": orders,
        "unknown_runs": silence.count_unknown_runs(connection),
    }


def _maintenance(connection: sqlite3.Connection) -> dict[str, Any]:
    """The phase of the host's, and what it means for who works here (CRY-3)."""
    session = maintenance.open_of(connection, HOST)
    if session is None:
        return {"phase": Phase.NONE}
    return {
        "phase": session.phase,
        "meaning": meaning(session.phase, session.policy),
        "started_by": session.started_by,
        "started_at_us": session.started_at_us,
        "reason": session.reason,
        "end_at_us": session.end_at_us,
    }


def _gate(gate: Gate) -> dict[str, Any]:
    return {"kind": gate.kind, "set_by": gate.set_by, "set_at_us": gate.set_at_us, "reason": gate.reason}


ENDPOINTS = (
    Endpoint("GET", "/api/v1/status", show, "Role, epoch, position, peers, backlog, gates", answer=dict, public=True),
)
