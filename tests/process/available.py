"""Mode `available` under load: the standby is lost, stalls, comes back; the master goes on alone, dies, is replaced.

Nothing acknowledged is lost but what the bound named that `standby-to-master --allow-data-loss` printed.
"""

from __future__ import annotations

import random
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path

from tests.process.checker import Verdict
from tests.process.cluster import Node, Pair, running_pair
from tests.process.workload import Workload

TIMEOUT_S = 2.0
SETTINGS = {"UNDERSTUDY_STANDBY_STEADY_S": "0.25", "UNDERSTUDY_STANDBY_TIMEOUT_S": str(TIMEOUT_S)}
FENCE = """#!/bin/sh
# Notes whom it was told to fence; fails while a file named `broken` lies beside it.
echo "$UNDERSTUDY_FENCE_NODE $UNDERSTUDY_FENCE_ADDRESS $UNDERSTUDY_FENCE_EPOCH" >> "$0.told"
test ! -e "$0.broken" || { echo "no route to the power switch"; exit 3; }
"""


class Cycles:
    """What happens to one pair; `given_up` are acknowledged writes that an operator accepted to lose."""

    def __init__(self, pair: Pair, load: Workload) -> None:
        self.pair = pair
        self.load = load
        self.given_up: set[str] = set()

    def stalled(self) -> str:
        """SIGSTOP of the standby: its links stand, nothing moves; the master goes on alone, later with it."""
        master, standby = self.pair.wait_healthy()
        standby.program.send(signal.SIGSTOP)
        said = self._wait_alone(master)
        standby.program.send(signal.SIGCONT)
        return said

    def killed(self) -> str:
        """kill -9 of the standby under writes."""
        master, standby = self.pair.wait_healthy()
        standby.program.kill()
        said = self._wait_alone(master)
        standby.program.start()
        return said

    def resumed(self) -> str:
        """kill -9 of both; only the master comes back: a witness lets it go on, and no person acts."""
        master, standby = self.pair.wait_healthy()
        standby.program.kill()
        master.program.kill()
        master.program.start()
        said = self._wait_alone(master)
        standby.program.start()
        return said

    def refused(self) -> str:
        """The master goes on alone and dies; the standby is refused, and the master comes back: nothing is lost."""
        master, standby = self._lone_then_dead()
        said = self.pair.type(standby, "standby-to-master", "--yes", expect=1)
        assert re.search(r"heard the master \d+ s ago: it had acknowledged request [\d,]+; .* at stake", said), said
        assert "--allow-data-loss" in said, f"the refusal does not say what to type: {said}"
        master.program.start()
        self.pair.wait("the master in office again", master.is_master)
        return said.splitlines()[-1]

    def forced(self) -> str:
        """The same, and the operator accepts the loss: what the bound named may be gone; the old master keeps it."""
        master, standby = self._lone_then_dead()
        refusal = self.pair.type(standby, "standby-to-master", "--yes", expect=1)
        self._refuse_unfenced(standby)
        said = self.pair.type(standby, "standby-to-master", "--yes", "--allow-data-loss")
        held = re.search(r"holds everything up to request (\d+)", said)
        assert held, f"the report names no bound: {said}"
        assert "at stake" in refusal, f"the refusal names no bound: {refusal}"
        self.given_up |= {
            line["name"]
            for line in self.load.acknowledged()
            if line["event"] == "acknowledged" and line["node"] == master.host and line["sequence"] > int(held[1])
        }
        kept = standby.api.get("/api/v1/swap")["history"][0]
        assert (kept["kind"], f"request {held[1]} " in kept["report"]) == ("takeover", True), kept
        master.program.start()
        self.pair.wait_healthy()
        forks = int(master.status().get("forks") or 0)
        assert forks, f"{master.name} had what nobody else has, and keeps no fork of it"
        return (
            f"up to request {held[1]}; {len(self.given_up)} writes given up so far; {master.name} keeps {forks} forks"
        )

    def _refuse_unfenced(self, standby: Node) -> None:
        broken = fence(self.pair.directory).with_name("fence.broken")
        broken.touch()
        said = self.pair.type(standby, "standby-to-master", "--yes", "--allow-data-loss", expect=1)
        broken.unlink()
        assert "no route to the power switch" in said, f"the refusal does not say what the fence said: {said}"

    def replaced(self) -> str:
        """kill -9 of a master whose standby is in sync: the takeover is proven lossless, behind the fence."""
        master, standby = self.pair.wait_healthy()
        old = master.status()
        master.program.kill()
        said = self.pair.type(standby, "standby-to-master", "--yes")
        assert "The witnesses prove" in said, said
        told = fence(self.pair.directory).with_name("fence.told").read_text().splitlines()[-1].split()
        assert told == [old["node"], f"{master.host}:{master.cluster_port}", str(old["epoch"])], told
        master.program.start()
        return said.splitlines()[-2]

    def _lone_then_dead(self) -> tuple[Node, Node]:
        master, standby = self.pair.wait_healthy()
        standby.program.kill()
        self._wait_alone(master)
        master.program.kill()
        standby.program.start()
        self.pair.wait("the standby to answer", lambda: standby.status().get("role") == "standby")
        return master, standby

    def _wait_alone(self, master: Node) -> str:
        began = time.time()
        self.pair.wait("the master to be alone", lambda: master.status().get("alone_since"))
        alone_s = time.time() - began
        self.load.wait_progress("writes alone")
        return f"alone after {alone_s:.1f} s, longest pause of clients {self.load.longest_pause_s(began):.1f} s"


def fence(directory: Path) -> Path:
    """The hook of both nodes."""
    path = directory / "fence"
    if not path.exists():
        path.write_text(FENCE)
        path.chmod(0o755)
    return path


def available(directory: Path, count: int, say: Callable[[str], None]) -> Verdict:
    """`count` cycles: the first few in order, then at random; then everything acknowledged is looked for."""
    choice = random.Random(count)
    settings = SETTINGS | {"UNDERSTUDY_FENCE_COMMAND": str(fence(directory))}
    with running_pair(directory, settings=settings) as pair:
        cycles = Cycles(pair, Workload(pair).start())
        kinds = (cycles.stalled, cycles.forced, cycles.resumed, cycles.replaced, cycles.killed, cycles.refused)
        for number in range(1, count + 1):
            kind = kinds[number - 1] if number <= len(kinds) else choice.choice(kinds)
            said = kind()
            pair.wait_healthy()
            cycles.load.wait_progress(f"load after {kind.__name__} {number}")
            say(f"{kind.__name__} {number}: {said}")
        return cycles.load.finish(given_up=frozenset(cycles.given_up))
