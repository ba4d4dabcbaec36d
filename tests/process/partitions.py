"""Networks that break and processes that stand still, under acknowledged writes and running jobs.

In `strict` mode a master that cannot reach its standby acknowledges nothing, whatever the reason; so nothing is lost
when the other one takes over with the witness's proof, and the old one, when it is heard again, is an old master.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path

from tests.process.checker import Verdict
from tests.process.cluster import Node, Pair, running_pair
from tests.process.namespaces import namespaces
from tests.process.workload import Workload

Say = Callable[[str], None]
Trouble = Callable[[Pair, Workload, Node, Node, float], str]
STRICT = ("--mode", "strict")


def _cable_of_the_standby(pair: Pair, load: Workload, master: Node, standby: Node, seconds: float) -> str:
    assert pair.network is not None
    pair.network.unplug(standby.name)
    time.sleep(seconds)
    pair.network.plug(standby.name)
    return f"cable of the standby out for {seconds:g} s"


def _one_way(pair: Pair, load: Workload, master: Node, standby: Node, seconds: float) -> str:
    assert pair.network is not None
    sender, receiver = (master, standby) if int(seconds) % 2 else (standby, master)
    pair.network.deafen(sender.name, receiver.name)
    time.sleep(seconds)
    pair.network.heal(sender.name, receiver.name)
    role = "master" if sender is master else "standby"
    return f"what the {role} sent was lost for {seconds:g} s"


def _isolated_master(pair: Pair, load: Workload, master: Node, standby: Node, seconds: float) -> str:
    """The standby takes over meanwhile; plugged in again the old master stands down."""
    assert pair.network is not None
    pair.network.unplug(master.name)
    take_over(pair, standby)
    pair.network.plug(master.name)
    stands_by(pair, master, standby)
    return "cable of the master out, the standby took over, the old master stands by"


def _standby_stands_still(pair: Pair, load: Workload, master: Node, standby: Node, seconds: float) -> str:
    standby.program.send(signal.SIGSTOP)
    time.sleep(seconds)
    standby.program.send(signal.SIGCONT)
    return f"the standby stood still for {seconds:g} s"


def _master_stands_still(pair: Pair, load: Workload, master: Node, standby: Node, seconds: float) -> str:
    """It goes on in the belief that it is master; nothing that it says from then on counts."""
    master.program.send(signal.SIGSTOP)
    take_over(pair, standby)
    time.sleep(seconds)
    master.program.send(signal.SIGCONT)
    stands_by(pair, master, standby)
    return f"the master stood still, the standby took over, {seconds:g} s later the old one woke and stands by"


def take_over(pair: Pair, standby: Node) -> None:
    """`standby-to-master`, until the witness lets it."""

    def taken() -> bool:
        pair.type(standby, "standby-to-master", "--yes", expect=None)
        return standby.is_master()

    pair.wait("the standby to take over", taken)


def stands_by(pair: Pair, old: Node, new: Node) -> None:
    """Wait until the old master follows the new one, in sync."""

    def streams() -> bool:
        return old.status().get("role") == "standby" and bool(new.status().get("in_sync"))

    pair.wait(f"{old.name} to stream as a standby", streams)


def _rounds(pair: Pair, troubles: tuple[Trouble, ...], count: int, longest_s: float, say: Say) -> Verdict:
    load = Workload(pair).start()
    for number in range(count):
        master, standby = pair.wait_healthy()
        seconds = (1.0, 3.0, 6.0, 12.0, 30.0, 60.0)[number // len(troubles) % 6]
        said = troubles[number % len(troubles)](pair, load, master, standby, min(seconds, longest_s))
        pair.wait_healthy(120.0)
        load.wait_progress(f"load after trouble {number + 1}")
        say(f"trouble {number + 1}: {said}")
    return load.finish()


def partitions(directory: Path, count: int, say: Say, longest_s: float = 12.0) -> Verdict:
    """Cables pulled and directions lost, between machines that are network namespaces."""
    troubles = (_cable_of_the_standby, _one_way, _isolated_master, _one_way)
    with namespaces() as network, running_pair(directory, flags=STRICT, network=network) as pair:
        return _rounds(pair, troubles, count, longest_s, say)


def pauses(directory: Path, count: int, say: Say, longest_s: float = 60.0) -> Verdict:
    """SIGSTOP of the standby and of the master, 1 to 60 s."""
    with running_pair(directory, flags=STRICT) as pair:
        return _rounds(pair, (_standby_stands_still, _master_stands_still), count, longest_s, say)
