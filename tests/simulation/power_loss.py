"""Simulated power losses of either node, on the shipped journal, writer, files and redo code.

    python -m tests.simulation.power_loss --count 500 --seed 1

A history of random writes, fsyncs, commits, checkpoints and restarts runs on a disk that records what was fsynced. At
and beside each write, fsync and checkpoint the power may go; the directory found afterwards is recovered by the shipped
redo and held against a model. With invariant 3 switched off at least 1 % of the cases must fail, else the check does.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from replication.errors import ReplicationError
from replication.files import Disk
from replication.redo import open_node
from tests.process.checker import Verdict
from tests.simulation.recording_disk import RecordingDisk
from tests.simulation.storage_model import SEGMENT_BYTES, Master, Model, Standby, Wrong, check

CUTS_PER_HISTORY = 8
STEPS = 45
MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
"""The recording disk knows what was fsynced; that the real one does it too would only cost time."""


@dataclass
class Case:
    """One power loss: which history, at which of its cuts, and what was wrong ("" when it recovered)."""

    role: str
    history: int
    cut: int
    at: str
    wrong: str = ""


class History:
    """Runs one history and recovers from power losses within it."""

    def __init__(self, role: str, seed: int, base: Path, *, unsafe: bool, only_cut: int | None = None) -> None:
        self._role = role
        self._seed = seed
        self._base = base
        self._unsafe = unsafe
        self._only_cut = only_cut
        self._cut_rng = random.Random(f"{role}/{seed}/cuts")
        self._steps = 0
        self._node: Master | Standby | None = None
        self._crashes: list[tuple[Case, Path, int]] = []

    def run(self) -> Iterator[Case]:
        """Yield each case, recovered and judged."""
        rng = random.Random(f"{self._role}/{self._seed}")
        disk = RecordingDisk(self._base / "node", self._at_step)
        if self._role == "master":
            master = Master(disk, rng, unsafe=self._unsafe)
            node: Master | Standby = master
            model = master.model
        else:
            model, requests = self._written(rng)
            node = Standby(disk, rng, requests, unsafe=self._unsafe)
        self._node = node
        for _ in range(STEPS):
            node.step()
        self._node = None
        node.close()
        disk.close()
        for case, directory, promised in self._crashes:
            for each in [*self._lose_power_again(directory), directory]:
                case.wrong = case.wrong or self._recover(each, model, promised)
            yield case

    def _written(self, rng: random.Random) -> tuple[Model, list[bytes]]:
        """Return a master's history for a standby to follow."""
        disk = Disk(self._base / "writer")
        master = Master(disk, rng, unsafe=False)
        for _ in range(STEPS):
            master.step()
        master.close()
        disk.close()
        return master.model, master.requests

    def _at_step(self, operation: str, name: str) -> None:
        """The power may go here: oftener beside fsyncs and SQLite's writing of the database."""
        if self._node is None:
            return
        self._steps += 1
        near = any(word in operation for word in ("sync", "sqlite", "rename"))
        drawn = self._cut_rng.random() < (0.06 if near else 0.015)
        wanted = self._steps == self._only_cut if self._only_cut else drawn and len(self._crashes) < CUTS_PER_HISTORY
        if wanted:
            directory = self._base / f"cut{self._steps}"
            node = self._node
            disk = node._disk
            assert isinstance(disk, RecordingDisk)
            disk.crash_into(directory, random.Random(f"{self._role}/{self._seed}/{self._steps}"))
            case = Case(self._role, self._seed, self._steps, f"{operation} {name}")
            self._crashes.append((case, directory, node.promised))

    def _lose_power_again(self, directory: Path) -> list[Path]:
        """Recover a copy, take office on it, and lose the power twice meanwhile; returns what is found then."""
        again = directory.with_name(directory.name + "-again")
        shutil.copytree(directory, again)
        rng = random.Random(f"{directory.name}/{self._seed}")
        found: list[Path] = []

        def at_step(operation: str, name: str) -> None:
            if rng.random() < 0.15 and len(found) < 2:
                found.append(directory.with_name(f"{directory.name}-lost{len(found)}"))
                disk.crash_into(found[-1], rng)

        disk = RecordingDisk(again, at_step)
        disk.adopt()
        try:
            applier = open_node(disk, segment_bytes=SEGMENT_BYTES)
            applier.apply_all()
            applier.checkpoint()
            applier.close()
        except ReplicationError:
            found.clear()  # judged by the recovery without a second loss
        finally:
            disk.close()
        return found

    @staticmethod
    def _recover(directory: Path, model: Model, promised: int) -> str:
        """Recover with the shipped redo and check; returns what was wrong."""
        disk = Disk(directory)
        try:
            applier = open_node(disk, segment_bytes=SEGMENT_BYTES)
            try:
                check(applier, model, promised)
            finally:
                applier.close()
        except (Wrong, ReplicationError, sqlite3.Error, KeyError, AssertionError) as error:
            return f"{type(error).__name__}: {error}"
        finally:
            disk.close()
        return ""


def simulate(count: int, seed: int, *, unsafe: bool = False) -> Iterator[Case]:
    """Yield `count` cases, alternating between a master and a standby."""
    done = 0
    while done < count:
        role = ("master", "standby")[seed % 2]
        with tempfile.TemporaryDirectory(prefix="power-loss-", dir=MEMORY) as base:
            for case in History(role, seed, Path(base), unsafe=unsafe).run():
                yield case
                done += 1
                if done == count:
                    return
        seed += 1


def judge(count: int, seed: int, say: Callable[[str], None]) -> Verdict:
    """Run `count` power losses, then half as many with invariant 3 switched off, of which at least 1 % must fail."""
    counts = {"power losses of a master": 0, "of a standby": 0, "kinds of cut points": 0, "failed": 0}
    faults: list[str] = []
    kinds: set[str] = set()
    for case in simulate(count, seed):
        counts["power losses of a master" if case.role == "master" else "of a standby"] += 1
        kinds.add(re.sub(r"\d+", "N", case.at))
        if case.wrong:
            say(f"again: python -m tests.simulation.power_loss --seed {case.history} --cut {case.cut}")
            faults.append(f"{case.role} history {case.history}, {case.at}: {case.wrong}")
    counts["kinds of cut points"], counts["failed"] = len(kinds), len(faults)
    broken = list(simulate(max(count // 2, 100), seed, unsafe=True))
    caught = sum(bool(case.wrong) for case in broken)
    counts["with invariant 3 switched off"], counts["of which failed"] = len(broken), caught
    if caught < len(broken) * 0.01:
        faults.append("the simulation no longer sees what invariant 3 prevents")
    return Verdict(counts, tuple(faults))


def soak(directory: Path, count: int, say: Callable[[str], None]) -> Verdict:
    """The same as a scenario of `./scripts/soak`; it keeps nothing in `directory`."""
    return judge(count, 1, say)


def main() -> int:
    """Run, print counts, and how to see each failure again; 0 only when all is as it must be."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--unsafe", action="store_true", help="with --cut: replay with invariant 3 switched off")
    parser.add_argument("--cut", type=int, help="replay one cut of history --seed")
    arguments = parser.parse_args()
    if arguments.cut:
        role = ("master", "standby")[arguments.seed % 2]
        with tempfile.TemporaryDirectory(prefix="power-loss-", dir=MEMORY) as base:
            history = History(role, arguments.seed, Path(base), unsafe=arguments.unsafe, only_cut=arguments.cut)
            cases = list(history.run())
        print(*cases, sep="\n")
        return 1 if any(case.wrong for case in cases) else 0
    verdict = judge(arguments.count, arguments.seed, print)
    print(verdict)
    return int(bool(verdict.faults))


if __name__ == "__main__":
    sys.exit(main())
