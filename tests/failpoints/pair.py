"""Two such processes, driven step by step; a step that finds one dead starts it again and goes on."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tests.bench.certificates import A, B, make_authority
from tests.process.programs import free_port

START_S = 60.0
"""For a Python process to say its first word on a machine that does much else: no promise."""
ORDER_S = 20.0
SETTLE_S = 40.0
NO_MASTER_S = 2.0
IN_OFFICE = ("MASTER", "ALONE", "HANDING_OFF")


class Died(Exception):
    """The process is gone; `code` is its exit code."""

    def __init__(self, name: str, code: int) -> None:
        super().__init__(f"node {name[0]} ended with {code}")
        self.name = name
        self.code = code


class DeadlyPair:
    """Nodes A and B on directories below `root`. `acknowledged` are the keys that were promised, `may_lose` those that
    an operator gave up with --allow-data-loss."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.ports = {A: free_port(), B: free_port()}
        self.running: dict[str, subprocess.Popen[str]] = {}
        self.acknowledged: set[str] = set()
        self.may_lose: set[str] = set()
        self.deaths: list[str] = []
        self.reached: dict[str, dict[str, int]] = {A: {}, B: {}}
        self._armed_start: dict[str, tuple[str, int]] = {}
        self.watched = ""
        make_authority(root)

    # processes

    def start(self, name: str) -> None:
        """Start a node; with a point armed for its next start it may die in it, and is then started unarmed."""
        peer = B if name == A else A
        words = [str(self.root), name, str(self.ports[name]), peer, str(self.ports[peer])]
        point, nth = self._armed_start.pop(name, ("", 1))
        command = [sys.executable, "-m", "tests.failpoints.program", *words, point, str(nth)]
        with open(self.root / f"log-{name[0]}", "ab") as log:
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, bufsize=1
            )
        self.running[name] = process
        try:
            self._answer(name, START_S)
        except Died as died:
            self._note_death(died)
            self.start(name)

    def arm_start(self, name: str, point: str, nth: int) -> None:
        """The next start of this node ends at `point`."""
        self._armed_start[name] = (point, nth)

    def _answer(self, name: str, within_s: float = ORDER_S) -> Any:
        process = self.running[name]
        assert process.stdout is not None
        ready, _, _ = select.select([process.stdout], [], [], within_s)
        if not ready:
            raise AssertionError(f"node {name[0]} does not answer within {within_s:.0f} s")
        line = process.stdout.readline()
        if not line:
            raise Died(name, process.wait(10))
        return json.loads(line)

    def ask(self, name: str, *order: object) -> Any:
        """Give one order and return its answer. Raises Died when the process ends instead."""
        process = self.running[name]
        assert process.stdin is not None
        try:
            process.stdin.write(json.dumps(order) + "\n")
            process.stdin.flush()
        except BrokenPipeError:
            raise Died(name, process.wait(10)) from None
        return self._answer(name)

    def _note_death(self, died: Died) -> None:
        self._drop(died.name)
        if died.code != -signal.SIGKILL:
            raise AssertionError(f"{died}: {self.tail(died.name)}")
        self.deaths.append(died.name)

    def _drop(self, name: str) -> None:
        process = self.running.pop(name)
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()

    def tail(self, name: str) -> str:
        """The end of what the process wrote to standard error."""
        return (self.root / f"log-{name[0]}").read_text(errors="replace")[-1500:]

    def kill(self, name: str) -> None:
        """kill -9 from outside."""
        if name in self.running:
            self._remember(name)
            process = self.running[name]
            process.kill()
            process.wait(10)
            self._drop(name)

    def stop(self, name: str) -> None:
        """A clean stop."""
        if name not in self.running:
            return
        self._remember(name)
        process = self.running[name]
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
        code = process.wait(ORDER_S)
        if code:
            self._note_death(Died(name, code))
        else:
            self._drop(name)

    def _remember(self, name: str) -> None:
        """Add what this process reached to what is known, for a run that arms nothing."""
        if self.watched:
            with contextlib.suppress(Died):
                for point, count in self.ask(name, "reached").items():
                    self.reached[name][point] = self.reached[name].get(point, 0) + count

    def close(self) -> None:
        """End both."""
        for name in list(self.running):
            os.kill(self.running[name].pid, signal.SIGCONT)
            self.kill(name)

    # steps: each survives the death of either node

    def try_order(self, name: str, *order: object) -> Any:
        """As `ask`, but None when the node is dead or dies of it."""
        if name not in self.running:
            return None
        try:
            return self.ask(name, *order)
        except Died as died:
            self._note_death(died)
            return None

    def write(self, name: str, prefix: str, count: int, size: int = 50) -> None:
        """Write keys on the master; what it acknowledges is promised. A node that dies meanwhile tells nothing."""
        for number in range(count):
            done = self.try_order(name, "write", f"{prefix}{number}-", 1, size)
            if not isinstance(done, list):
                return
            self.acknowledged.update(done)

    def states(self) -> dict[str, dict[str, Any]]:
        """The status of each node that answers."""
        found = {name: self.try_order(name, "status") for name in (A, B)}
        return {name: status for name, status in found.items() if status}

    def settle(self) -> tuple[str, str]:
        """Start what is dead and wait until there is a master, counted-on standby, and equal places; (master, standby).

        What an operator has to do is done as the product says: join, promote without leave to lose, go-alone.
        """
        deadline = time.monotonic() + SETTLE_S
        lonely_since = time.monotonic()
        while time.monotonic() < deadline:
            for name in (A, B):
                if name not in self.running:
                    self.start(name)
            states = self.states()
            if len(states) < 2:
                continue
            masters = [name for name, status in states.items() if status["state"] in IN_OFFICE]
            if masters:
                lonely_since = time.monotonic()
            found = self._settled(states)
            if found is not None:
                return found
            self._help(states, time.monotonic() - lonely_since)
            time.sleep(0.02)
        raise AssertionError(f"not settled: {self.states()}")

    def _settled(self, states: dict[str, dict[str, Any]]) -> tuple[str, str] | None:
        for master, standby in ((A, B), (B, A)):
            mine, other = states[master], states[standby]
            whole = mine["state"] == "MASTER" and mine["writes"] and other["state"] == "IN_SYNC" and mine["in_sync"]
            if whole and mine["place"] == other["place"] and mine["place"][3] == mine["place"][0]:
                return master, standby
        return None

    def _help(self, states: dict[str, dict[str, Any]], lonely_s: float) -> None:
        names = {status["state"]: name for name, status in states.items()}
        if "INIT" in names and (set(names) & set(IN_OFFICE) or len(names) == 2):
            self.try_order(names["INIT"], "join")
        elif list(names) == ["INIT"]:
            self.try_order(A, "found")
        elif lonely_s > NO_MASTER_S and not set(names) & set(IN_OFFICE):
            for name in (B, A):
                if states[name]["state"] in ("IN_SYNC", "SYNCING", "DEMOTED"):
                    self.try_order(name, "promote", False)

    def check(self) -> list[str]:
        """What is wrong with a settled pair: promised keys missing, nodes that differ, a fork that is half."""
        wrong = []
        contents = {name: self.ask(name, "contents") for name in (A, B)}
        if contents[A] != contents[B]:
            wrong.append("the nodes do not hold the same")
        missing = self.acknowledged - self.may_lose - set(contents[A]["keys"])
        if missing:
            wrong.append(f"acknowledged and gone: {sorted(missing)[:5]} ({len(missing)} in all)")
        for fork in self.root.glob("data-*/forks/*"):
            if not (fork / "fork.json").exists() and not list(fork.glob("*")):
                wrong.append(f"an empty fork is left: {fork.name}")
        return wrong
