"""The soaks of what somebody hostile may do; `tests/process/scenarios.py` registers them."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Callable
from functools import partial
from pathlib import Path

import psutil

from server.core import agent_wire as wire
from server.trust.identity import load_identity
from server.trust.tls import Peer
from tests.hostile import frames
from tests.hostile.certificates import REFUSED, Bearer, ask_all, bearer_of, forgeries
from tests.hostile.company import Honest, Memory, defects, hostile_agent, hostile_node
from tests.hostile.coverage_of import branches_of
from tests.hostile.removed import told
from tests.hostile.sockets import abuse
from tests.hostile.web import Target, half_open, storm
from tests.process.checker import Verdict
from tests.process.cluster import Node, running_pair
from tests.process.workload import Workload

Say = Callable[[str], None]
MEASURED = (
    "replication/core/codec.py",
    "replication/core/machine.py",
    "replication/links.py",
    "server/core/agent_wire.py",
    "server/core/agent_session.py",
    "server/actions/reports.py",
)
GROWTH_BYTES_MAX = 64 << 20


def hostile_frames(directory: Path, count: int, say: Say) -> Verdict:
    """Frames through decoders and machines in this process; branches and memory are printed."""
    frames.prepare()
    process = psutil.Process()
    frames.run(min(count, 20_000), first_seed=1_000_000)
    before = process.memory_info().rss
    with branches_of(MEASURED, say):
        tally = frames.run(count)
    grown = process.memory_info().rss - before
    for kind, sent in sorted(tally.frames.items()):
        decoded = sum(number for name, number in tally.decoded.items() if name.startswith(f"{kind} "))
        say(f"{kind}: {sent} frames, {tally.refused[kind]} refused as documented, {decoded} decoded and taken")
    say(f"memory grew by {grown >> 20} MiB")
    faults = list(tally.faults)
    if grown > GROWTH_BYTES_MAX:
        faults.append(f"memory grew by {grown >> 20} MiB")
    return Verdict({"frames": tally.frames.total(), "decoded": tally.decoded.total()}, tuple(faults))


LANES = 4
HALF_OPEN = 1000
IDLE, HEADS, BODIES = 200, 200, 100
ENDED_S = 50.0
"""The longest limit: 20 s for the head of a request, and as long and a little for the body of a sign-in."""


def hostile_web(directory: Path, count: int, say: Say) -> Verdict:
    """While a pair works: requests at the master's web port, then connections that do not go on, and WebSockets."""
    with running_pair(directory) as pair:
        master, _ = pair.wait_healthy()
        made = pair.type(
            master, "understudy", "user", "token", "create", "--name", "h", "--scope", "read-only", "--json"
        )
        token = str(json.loads(made)["token"])
        load = Workload(pair, rate=50.0, jobs_per_agent=1).start()
        context = ssl.create_default_context(cafile=str(master.data / "ca.crt"))
        target = Target(master.host, master.port, context, token)
        honest, memory = Honest(master).start(), Memory(master)
        asyncio.run(storm(target, count, LANES))
        say(f"{target.tally.total()} requests: " + ", ".join(f"{name} {n}" for name, n in sorted(target.tally.items())))
        ended = asyncio.run(half_open(target, HALF_OPEN, IDLE, HEADS, BODIES, ENDED_S))
        for name, what in {**ended, **asyncio.run(abuse(target))}.items():
            say(f"{name}: {what}")
        faults = [*target.faults, *honest.stop(), *memory.stop(), *defects(master)]
        say(str(honest))
        say(str(memory))
        verdict = load.finish()
    counts = {"requests": target.tally.total(), **verdict.counts}
    return Verdict(counts, (*faults, *verdict.faults))


def hostile_certificates(directory: Path, count: int, say: Say) -> Verdict:
    """Every path of both nodes' cluster ports, `count` times, with certificates that are not to be believed; then with
    those of a node and of an agent that are removed while the pair works.
    """
    with running_pair(directory) as pair:
        master, standby = pair.wait_healthy()
        nodes = (master, standby)
        west = hostile_node(master, directory, pair.fingerprint(master), pair.password_file)
        mallory = hostile_agent(master, directory, "mallory")
        load = Workload(pair, rate=50.0, jobs_per_agent=1).start()
        bearers = {"node": bearer_of(west), "agent": bearer_of(mallory)}
        faults, refused = [], 0
        for kind, who in bearers.items():
            answers = asyncio.run(ask_all(master.host, master.cluster_port, who, "node" if kind == "node" else "agent"))
            if "101" not in answers.values():
                faults.append(f"a {kind} of the cluster is not let in: {answers}")
        cluster = pair.nodes["north"].status()["cluster"]
        for _ in range(count):
            for kind, data in (("node", west), ("agent", mallory)):
                identity = load_identity(data)
                assert identity is not None
                peer = Peer("node" if kind == "node" else "agent", identity.id)
                for name, who in forgeries(directory, peer, cluster, data / "ca.crt", None).items():
                    refused += _refused_by(nodes, who, f"{kind}, {name}", faults)
        identity = load_identity(west)
        assert identity is not None
        removed = master.api.request("DELETE", f"/api/v1/nodes/{identity.id}")
        assert removed.status < 300, removed.value
        for node in nodes:
            pair.wait(f"{node.name} to refuse the removed node", partial(_is_refused, node, bearers["node"]))
        refused += _refused_by(nodes, bearers["node"], "a removed node", faults)
        pair.type(master, "understudy", "agent", "remove", "mallory", "--yes")
        faults += _removed_agent(master, mallory, bearers["agent"], say)
        say(f"{refused} refusals: every path of nodes and agents, at both nodes")
        faults += [*defects(master), *defects(standby)]
        verdict = load.finish()
    return Verdict({"refused": refused, **verdict.counts}, (*faults, *verdict.faults))


def _removed_agent(master: Node, data: Path, who: Bearer, say: Say) -> list[str]:
    """It is told that it was removed, and nothing that it says is recorded."""
    identity = load_identity(data)
    assert identity is not None
    heard = asyncio.run(told(master, who, identity.id))
    why = [message.reason for message in heard if isinstance(message, wire.Quarantined)]
    say(f"a removed agent was told: {why[0] if why else 'nothing'}")
    faults = [] if why and "removed" in why[0] else ["a removed agent was not told so"]
    if any(isinstance(message, wire.Kept | wire.Admitted) for message in heard):
        faults.append(f"a removed agent was let in: {heard}")
    if "a removed agent says this" in str(master.api.get("/api/v1/messages")):
        faults.append("what a removed agent said was recorded")
    return faults


def _is_refused(node: Node, who: Bearer) -> bool:
    return set(asyncio.run(ask_all(node.host, node.cluster_port, who)).values()) <= set(REFUSED)


def _refused_by(nodes: tuple[Node, ...], who: Bearer, what: str, faults: list[str]) -> int:
    """How many paths of these nodes refuse it; one that does not is a fault."""
    refused = 0
    for node in nodes:
        for path, answer in asyncio.run(ask_all(node.host, node.cluster_port, who)).items():
            refused += answer in REFUSED
            if answer not in REFUSED:
                faults.append(f"{node.name}, {path}, {what}: {answer}")
    return refused
