"""The soaks of what somebody hostile may do; `tests/process/scenarios.py` registers them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import psutil

from tests.hostile import frames
from tests.hostile.coverage_of import branches_of
from tests.process.checker import Verdict

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
