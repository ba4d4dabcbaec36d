"""The soaks of what somebody hostile may do; `tests/process/scenarios.py` registers them."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Callable
from pathlib import Path

import psutil

from tests.hostile import frames
from tests.hostile.company import Honest, Memory, defects
from tests.hostile.coverage_of import branches_of
from tests.hostile.sockets import abuse
from tests.hostile.web import Target, half_open, storm
from tests.process.checker import Verdict
from tests.process.cluster import running_pair
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
