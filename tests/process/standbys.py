"""Standbys that are stopped, slow, frozen, flapping or long away: the master's memory and its clients' pauses stay
bounded, nobody copies while the slot holds, and a slot that does not hold says so before the standby is back.
"""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.process.checker import Verdict
from tests.process.cluster import Node, Pair, running_pair
from tests.process.workload import RECORD, Workload

OUTPUT_BYTES = 90 << 20
"""More than the newest 64 MiB, which are kept for nobody: only a slot has more."""
SLOT_BYTES_MAX = 512 << 20
"""Room for one output and a minute of load, not for six."""
SETTINGS = {
    "UNDERSTUDY_SLOT_BYTES_MAX": str(SLOT_BYTES_MAX),
    "UNDERSTUDY_JOURNAL_FREE_BYTES_MIN": "0",
    "UNDERSTUDY_STANDBY_TIMEOUT_S": "2",
}
GROWTH_BYTES_MAX = 128 << 20
"""The window of 32 MiB, what is on its way, the groups of a large output, and what an allocator keeps."""
PAUSE_S_MAX = 15.0


class Rounds:
    """What is done to one pair, time and again."""

    def __init__(self, pair: Pair, load: Workload, frozen: Path | None) -> None:
        self.pair = pair
        self.load = load
        self._frozen = frozen
        self._outputs = 0

    def stopped(self, master: Node, standby: Node) -> None:
        """SIGSTOP for ten times as long as the master waits for it."""
        standby.program.send(signal.SIGSTOP)
        time.sleep(20)
        standby.program.send(signal.SIGCONT)

    def slow(self, master: Node, standby: Node) -> None:
        """It gets a tenth of the time, in slices."""
        for _ in range(100):
            standby.program.send(signal.SIGSTOP)
            time.sleep(0.13)
            standby.program.send(signal.SIGCONT)
            time.sleep(0.015)

    def flapping(self, master: Node, standby: Node) -> None:
        """The kernel closes its links every 300 ms."""
        for _ in range(30):
            words = ["ss", "-K", "dst", master.host, "dport", "=", str(master.cluster_port)]
            subprocess.run(words, check=False, capture_output=True)
            time.sleep(0.3)

    def frozen(self, master: Node, standby: Node) -> None:
        """Its file system takes no write; the process lives. The master names the disk."""
        if self._frozen is None or standby.name != self._frozen.name:
            return
        subprocess.run(["fsfreeze", "--freeze", str(self._frozen)], check=True)
        try:
            self.pair.wait("the stalled slot", lambda: _slot(master).get("state") == "stalled")
            assert "its disk does not" in _slot(master)["text"]
            time.sleep(10)
        finally:
            subprocess.run(["fsfreeze", "--unfreeze", str(self._frozen)], check=True)

    def away(self, master: Node, standby: Node) -> None:
        """Killed while more is written than is kept for nobody."""
        standby.program.kill()
        self._write_much(master)
        assert _slot(master)["pinned_bytes"] > OUTPUT_BYTES, _slot(master)
        standby.program.start()

    def lost(self, master: Node, standby: Node) -> None:
        """Killed while more is written than its slot may pin; the status says so while it is away."""
        standby.program.kill()
        while _slot(master)["state"] != "lost":
            self._write_much(master)
        assert "slot_bytes_max" in _slot(master)["text"], _slot(master)
        standby.program.start()

    def _large(self) -> Path:
        """A job that records itself as the others do, and prints much."""
        script = self.pair.directory / "large.sh"
        if not script.exists():
            text = RECORD.format(ran=self.load.ran_file, tenths=2)
            says = 'echo "output of $UNDERSTUDY_RUN_ID"'  # at both ends: some runs' output is read and looked through
            script.write_text(text.replace(says, f"{says}\nhead -c {OUTPUT_BYTES} /dev/urandom\n{says}"))
            script.chmod(0o755)
        return script

    def _write_much(self, master: Node) -> None:
        """A run whose output is replicated."""
        self._outputs += 1
        name = f"large-{self._outputs}"
        api = master.api
        api.post("/api/v1/jobs", {"name": name, "command": str(self._large()), "agent": "beta"}, key=name)
        api.post(f"/api/v1/jobs/{name}/run", key=f"run-{name}")
        api.close()
        before = int(master.status().get("journal_bytes") or 0)
        self.pair.wait(f"the output of {name}", lambda: _journal_grew(master, before), 180.0)


def _journal_grew(master: Node, before: int) -> bool:
    status = master.status()
    grown = int(status.get("journal_bytes") or 0) - before
    return grown > OUTPUT_BYTES or any(slot["state"] == "lost" for slot in status.get("slots", ()))


def _slot(master: Node) -> dict[str, Any]:
    slots: list[dict[str, Any]] = master.status().get("slots") or [{"state": "", "text": "", "pinned_bytes": 0}]
    return slots[0]


def _memory(node: Node, name: str) -> int:
    """A line of /proc/PID/status, in bytes."""
    assert node.program.process is not None
    lines = Path(f"/proc/{node.program.process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


def _copies(node: Node) -> int:
    return node.program.log.read_text(errors="replace").count("The master decided compare")


@contextmanager
def freezable(path: Path, mebibytes: int) -> Iterator[Path | None]:
    """A file system of its own on `path`, from a file; None where that is not allowed. It is thawed in any case."""
    path.mkdir(parents=True, exist_ok=True)
    image = path.with_suffix(".img")
    with image.open("wb") as file:
        file.truncate(mebibytes << 20)
    words = (["mkfs.ext4", "-q", str(image)], ["mount", "-o", "loop", str(image), str(path)])
    mounted = all(subprocess.run(each, capture_output=True, check=False).returncode == 0 for each in words)
    if mounted:
        (path / "lost+found").rmdir()
    try:
        yield path if mounted else None
    finally:
        if mounted:
            subprocess.run(["fsfreeze", "--unfreeze", str(path)], capture_output=True, check=False)
            subprocess.run(["umount", "--lazy", str(path)], check=True)


def standbys(directory: Path, count: int, say: Callable[[str], None]) -> Verdict:
    """Each trouble `count` times on a pair under load; then everything acknowledged is looked for."""
    with (
        freezable(directory / "south", 2048) as frozen,
        running_pair(directory, settings=SETTINGS) as pair,
    ):
        if frozen is None:
            say("*** SKIPPED: frozen, which needs root for a file system of its own")
        rounds = Rounds(pair, Workload(pair).start(), frozen)
        for number in range(1, count + 1):
            for trouble in (rounds.stopped, rounds.slow, rounds.flapping, rounds.frozen, rounds.away, rounds.lost):
                say(f"{trouble.__name__} {number}: {_round(rounds, trouble)}")
        return rounds.load.finish()


def _round(rounds: Rounds, trouble: Callable[[Node, Node], None]) -> str:
    """Do it, and judge memory, pauses and copies; returns the figures."""
    master, standby = rounds.pair.wait_healthy()
    copies, memory, began = _copies(standby), _memory(master, "VmRSS"), time.time()
    trouble(master, standby)
    rounds.pair.wait_healthy(180)
    rounds.load.wait_progress(f"load after {trouble.__name__}")
    grown = _memory(master, "VmRSS") - memory
    pause_s, copied = rounds.load.longest_pause_s(began), _copies(standby) - copies
    figures = f"master {memory >> 20} MiB {grown / 2**20:+.0f}, longest pause {pause_s:.1f} s, {copied} copies"
    assert grown < GROWTH_BYTES_MAX, figures
    assert pause_s < PAUSE_S_MAX, figures
    assert copied == (trouble.__name__ == "lost"), f"{figures}\n{standby.program.tail(40)}"
    return figures
