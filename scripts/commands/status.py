"""`understudy status`: healthy, degraded, or no answer."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import click

from scripts.client import FAILED, OK, CommandError
from scripts.commands.options import Asker, asks_node

MODES = {
    "available": "without its standby the master goes on alone once the witnesses recorded it",
    "strict": "without its standby the master waits for it, or for go-alone",
}


@click.command()
@asks_node
def status(asker: Asker) -> int:
    """Role, epoch, position, peer, backlog, gates. Exit code 0 healthy, 1 degraded, 69 no answer."""
    found = asker.client.get("/api/v1/status")
    if not isinstance(found, dict):
        raise CommandError(FAILED, "this is no Understudy node")
    asker.show(found, lines(found))
    return OK if is_healthy(found) else FAILED


def is_healthy(found: dict[str, Any]) -> bool:
    """A master with its standby in sync, a standby in sync, or an observer that follows: nobody has to do anything."""
    if found.get("observer"):
        return found.get("state") == "SYNCING" and bool(found.get("master_node"))
    return bool(found.get("in_sync")) and found.get("role") in ("master", "standby")


def lines(found: dict[str, Any]) -> Iterator[str]:
    """The status for people, the verdict first."""
    yield verdict(found)
    if found.get("waiting_for"):
        yield f"Waiting: {found['waiting_for']}"
    if found.get("node") is None:
        return
    yield f"Node:    {found['name']} ({found['node'][:8]}), {found['role']}, {found['state']}, epoch {found['epoch']}"
    if found.get("mode"):
        yield f"Mode:    {found['mode']}: {MODES.get(found['mode'], '')}"
    position = found["position"]
    yield (
        f"Journal: request {position['sequence']}, committed {found['commit_sequence']}, "
        f"chain {position['hash'][:12]}, checksum {found['checksum']}"
    )
    yield f"Backlog: {backlog(found)}"
    if found.get("copy"):
        yield f"Copy:    {copy_line(found['copy'])}"
    for peer in found["peers"]:
        yield f"Peer:    {peer_line(peer)}"
        if peer.get("cannot_take_over"):
            yield f"  cannot take over: {peer['cannot_take_over']}"
        if peer.get("copy"):
            yield f"  copy:  {copy_line(peer['copy'])}"
    for slot in found.get("slots", ()):
        yield f"Slot:    {slot_line(slot)}"
    yield from counts(found)


def verdict(found: dict[str, Any]) -> str:
    """One sentence: is it well."""
    role, in_sync = found.get("role"), found.get("in_sync")
    if role == "master":
        return _verdict_of_master(found)
    if role == "standby":
        master = found.get("master") or "its master"
        if found.get("observer"):
            return f"This node is an observer of {master}: it follows, and nothing waits for it."
        return f"This node is the standby of {master}" + (" and has everything." if in_sync else "; not in sync.")
    if found.get("state") == "RESUMING":
        return "This node was master and is not master again yet."
    return "This node has no role yet."


def _verdict_of_master(found: dict[str, Any]) -> str:
    if found.get("in_sync"):
        return "This node is master; the standby has everything."
    if found.get("state") == "ALONE":
        since = datetime.fromtimestamp(found["alone_since"], UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        return f"This node is master and writes alone since {since}; no standby is in sync."
    if found.get("mode") == "available":
        return (
            "This node is master; no standby is in sync, and writes wait for it until the witnesses let it go on alone."
        )
    return (
        "This node is master; no standby is in sync, and writes wait for it. "
        "Start the standby, or let this node write alone: understudy go-alone"
    )


def copy_line(copy: dict[str, Any]) -> str:
    """How far a copy is: share, bytes, rate and what is left of it."""
    done, total, rate = (copy[name] / 1e6 for name in ("bytes_done", "bytes_total", "bytes_per_s"))
    text = f"{100 * copy['share']:.0f} %, {done:.0f} of {total:.0f} MB"
    if copy["waiting"]:
        return f"{text}; it waits: {copy['waiting']}"
    left = f", {copy['seconds_left']:.0f} s left" if copy["seconds_left"] is not None else ""
    return f"{text}, {rate:.0f} MB/s{left}" if rate else text


def backlog(found: dict[str, Any]) -> str:
    """File Replication Requests, or that the number is unknown."""
    value = found.get("backlog")
    if value is None:
        return "unknown"
    return (
        f"{value['requests']} File Replication Requests, {value['bytes']} bytes, oldest {value['oldest_seconds']:.1f} s"
    )


def peer_line(peer: dict[str, Any]) -> str:
    """A peer in one line."""
    link = "connected" if peer["connected"] else "not connected"
    role = "observer" if peer.get("observer") else peer["role"]
    return (
        f"{peer['node'][:8]} at {peer['address'] or 'an unknown address'}, {role}, {peer['state']}, {link}, "
        f"fsynced {peer['fsynced']}, applied {peer['applied']}, release {peer.get('version') or 'unknown'}"
    )


def slot_line(slot: dict[str, Any]) -> str:
    """What is kept of the journal for a standby, in one line."""
    return (
        f"{slot['node'][:8]}, {slot['state']}, {slot['pinned_bytes'] / 2**20:.0f} MiB of the journal kept, "
        f"{slot['seconds']:.0f} s. {slot['text']}"
    )


def silence(found: dict[str, Any]) -> Iterator[str]:
    """Agents that do not answer, what is unknown because of that, and what waits for their answer."""
    if found.get("silent"):
        more = f"; {found['unknown_runs']} runs are unknown" if found["unknown_runs"] else ""
        yield f"Silent:  {', '.join(found['silent'])}{more}. See: understudy run list --state unknown"
    if found.get("dead"):
        yield f"Dead:    {', '.join(found['dead'])}, declared dead"
    if found.get("owing"):
        yield (
            f"Owing:   {', '.join(found['owing'])} may hold what a lost master gave; {found['withheld_runs']} runs and "
            f"{found['withheld_orders']} orders wait until each answers or is declared dead: "
            "understudy agent declare-dead NAME"
        )


def counts(found: dict[str, Any]) -> Iterator[str]:
    """Scheduler, queues, agents, and the swap that runs."""
    if found.get("scheduler") is not None:
        running = "running" if found["scheduler"]["running"] else "stopped"
        queues, agents = found["queues"], found["agents"]
        active = f"{agents['active']} of " if agents["active"] is not None else ""
        yield (
            f"Work:    scheduler {running}; {queues['locked']} of {queues['total']} queues locked, "
            f"{queues['unacknowledged']} not acknowledged; {active}{agents['total']} agents"
            + (" active" if active else "")
        )
    yield from silence(found.get("silence") or {})
    if (found.get("witnesses") or {}).get("problem"):
        yield f"Witness: {found['witnesses']['problem']}"
    for gate in found.get("gates", ()):
        yield f"Gate:    {gate['kind']} by {gate['set_by']}" + (f": {gate['reason']}" if gate["reason"] else "")
    if found.get("swap"):
        yield f"Swap:    number {found['swap']['id']} is running"
