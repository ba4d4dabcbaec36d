"""A copy that is killed again and again, on either side, under load: what arrived is not sent a second time."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.process import ballast
from tests.process.checker import Verdict
from tests.process.cluster import AGENTS, SETTINGS, Node, Pair, start_master
from tests.process.workload import Workload

BYTES_PER_KILL = 100_000_000
"""The size of the database for each kill: 20 kills interrupt a copy of 2 GB."""
SMALL_BYTES = 60_000_000
SECONDS_PER_KILL = 2.5
SMALL_SECONDS_PER_KILL = 1.0
TIMES_MAX = 1.2
DEADLINE_S = 600.0


def copy_kills(directory: Path, count: int, say: Callable[[str], None]) -> Verdict:
    """kill -9 of master and standby in turn, `count` times during the first copy; counts what the master sent."""
    size = SMALL_BYTES if count < 10 else BYTES_PER_KILL * count
    rate = size / count / (SMALL_SECONDS_PER_KILL if count < 10 else SECONDS_PER_KILL) / 1e6
    pair = Pair(directory, settings=SETTINGS | {"UNDERSTUDY_COPY_RATE_MB_S": f"{rate:.1f}"})
    try:
        north = _large_master(pair, size)
        load = Workload(pair).start()
        south = _empty_standby(pair, north)
        part = size * 4 // 5 // count
        sent = sum(_interrupted(pair, north, (south, north)[number % 2], part, say) for number in range(count))
        sent += _finished(pair, north)
        pair.wait_healthy(DEADLINE_S)
        total = (south.data / "scheduler.db").stat().st_size
        times = sent / total
        say(f"{count} kills during a copy of {total / 1e6:.0f} MB: {sent / 1e6:.0f} MB sent, {times:.2f} times")
        assert times <= TIMES_MAX, f"{times:.2f} times the bytes were sent\n{pair.tails()}"
        return load.finish()
    finally:
        pair.stop()


def _large_master(pair: Pair, size: int) -> Node:
    north = start_master(pair)
    assert north.program.stop() == 0, north.program.tail()
    ballast.fill(north.data, size)
    north.program.start()
    pair.wait("the large master", north.is_master)
    for name in AGENTS:
        pair.add_agent(name)
    return north


def _empty_standby(pair: Pair, north: Node) -> Node:
    south = pair.add_node("south")
    south.program.start()
    pair.wait("the empty node to wait", lambda: (south.data / "understudy.sock").exists())
    words = ["master-to-standby", "--master", north.host, "--port", str(north.port), "--no-wait", "--yes"]
    words += ["--fingerprint", pair.fingerprint(north), "--password-file", str(pair.password_file)]
    pair.type(south, *words, "--name", "south")
    return south


def _interrupted(pair: Pair, north: Node, victim: Node, part: int, say: Callable[[str], None]) -> int:
    """Let the copy go on by `part` bytes, kill one side, start it again; returns the bytes that the master had sent."""
    pair.wait(f"{part} more bytes of the copy", lambda: _copy(north).get("bytes_moved", 0) >= part, DEADLINE_S)
    copy, sent = _copy(north), bytes_sent(north)
    victim.program.kill()
    victim.program.start()
    done = f"{copy.get('bytes_done', 0) / 1e6:.0f} of {copy.get('bytes_total', 0) / 1e6:.0f} MB done"
    say(f"kill of {victim.name}: {done}, {sent / 1e6:.1f} MB sent since the last")
    return sent


def _copy(node: Node) -> dict[str, Any]:
    """How far the copy is that a master serves; {} while there is none."""
    peers = node.status().get("peers") or []
    return next((peer["copy"] for peer in peers if peer.get("copy")), {})


def _finished(pair: Pair, north: Node) -> int:
    """Wait for the end of the copy; returns what was sent since the last kill, as the master says it."""
    last = 0

    def ended() -> bool:
        nonlocal last
        copy = _copy(north)
        last = max(last, int(copy.get("bytes_moved", 0)))
        return last > 0 and not copy

    pair.wait("the end of the copy", ended, DEADLINE_S)
    return last


def bytes_sent(master: Node) -> int:
    """Bytes that the master's process has sent on the links of its cluster port, agents' links too, by the kernel."""
    assert master.program.process is not None
    words = ["ss", "-tinpOH", "sport", "=", f":{master.cluster_port}"]
    shown = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    own = [line for line in shown.splitlines() if f"pid={master.program.process.pid}," in line]
    return sum(int(found) for line in own for found in re.findall(r"bytes_sent:(\d+)", line))
