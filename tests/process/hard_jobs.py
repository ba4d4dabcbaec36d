"""Jobs that make it hard for whoever runs them, on a real agent and keeper: each must end as docs/jobs.md says.

A case starts one run, meddles with it, and returns what it saw; an assertion that fails is a fault of the round.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from server.agent.control_group import group_of
from server.agent.ends import RUNS
from server.agent.platform import is_same_process
from server.agent.process_tree import processes_of
from server.core import agent_wire as wire
from tests.process.agent_master import AgentMaster, AgentProcess, master_and_agent, spec
from tests.process.checker import Verdict

Say = Callable[[str], None]
GIB = 1 << 30
MIB = 1 << 20
GONE_S = 20.0
IN_GROUPS = group_of(Path("/"), "x") is not None
OUTPUT_BYTES_MAX = 10 * MIB
FORKER = """
import os, sys, time
alive = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
for _ in range(4):
    if os.fork() == 0:
        os.setsid()
        while True:  # each generation lives for a moment, and is another process than the one before
            if os.fork():
                os._exit(0)
            os.write(alive, b".")
            time.sleep(0.0005)
time.sleep(300)
"""


@dataclass
class Bench:
    """One agent and its master. `directory` is for what jobs leave; `round` keeps keys apart."""

    master: AgentMaster
    agent: AgentProcess
    directory: Path
    round: int

    def key(self, name: str) -> str:
        return f"j1.r{name}{self.round}.a1"

    def note(self, name: str) -> Path:
        return self.directory / f"{name}{self.round}"

    async def start(self, name: str, command: str, **values: Any) -> str:
        await self.master.say(wire.Dispatch(self.key(name), spec(command, **values)))
        return self.key(name)

    async def end(self, key: str) -> wire.Ended:
        await self.master.until(lambda: self.master.end(key), 60)
        end = self.master.end(key)
        assert end is not None
        return end

    async def output(self, key: str, size: int) -> bytes:
        await self.master.until(lambda: len(self.master.outputs.get(key, b"")) >= size, 60)
        return bytes(self.master.outputs.get(key, b""))

    async def pid(self, name: str) -> int:
        """The pid that a process of a job wrote down."""
        path = self.note(name)
        async with asyncio.timeout(60):
            while not (path.exists() and path.read_text().endswith("\n")):
                await asyncio.sleep(0.01)
        return int(path.read_text())


Case = Callable[[Bench], Awaitable[str]]


async def forks(bench: Bench) -> str:
    """Children that it waits for are part of it: all output, its own exit code."""
    key = await bench.start("forks", "for n in 1 2 3; do (echo child $n) & done; wait; exit 5")
    end = await bench.end(key)
    assert end.exit_code == 5, end
    assert sorted((await bench.output(key, 24)).split(b"\n")[:3]) == [b"child 1", b"child 2", b"child 3"]
    return "forks: exit 5 and the lines of 3 children"


async def leaves_a_daemon(bench: Bench) -> str:
    """Double fork and setsid: the run ends with its main process, the daemon lives on."""
    note = bench.note("daemon")
    command = f"(setsid sh -c 'echo $$ > {note}; exec sleep 300' &); while [ ! -s {note} ]; do sleep 0.01; done; exit 3"
    key = await bench.start("daemon", command)
    end, daemon = await bench.end(key), await bench.pid("daemon")
    assert (end.exit_code, end.cause) == (3, ""), end
    assert is_same_process(daemon, None), "what a job leaves behind is not killed when it ends by itself"
    os.kill(daemon, signal.SIGKILL)
    return "leaves a daemon: exit 3, the daemon lived on"


async def closes_its_descriptors(bench: Bench) -> str:
    """An end of the output is not the end of the run."""
    key = await bench.start("closes", f"exec <&- >&- 2>&-; sleep 0.5; echo $$ > {bench.note('closes')}; exit 4")
    end = await bench.end(key)
    assert (end.exit_code, end.output_bytes) == (4, 0), end
    assert bench.note("closes").exists(), "the run was ended when it closed its descriptors"
    return "closes its descriptors: exit 4, no output"


async def keeps_the_pipe(bench: Bench) -> str:
    """A child in the background holds the pipe: two seconds for what is on its way, nothing after that."""
    note, gate = bench.note("holder"), bench.note("gate")
    os.mkfifo(gate)
    child = f"echo $$ > {note}; read go < {gate}; echo late"
    key = await bench.start("pipe", f"sh -c '{child}' & while [ ! -s {note} ]; do sleep 0.01; done; echo now; exit 0")
    holder, end = await bench.pid("holder"), await bench.end(key)
    assert is_same_process(holder, None)
    gate.write_text("go\n")
    async with asyncio.timeout(60):
        while is_same_process(holder, None):
            await asyncio.sleep(0.01)
    assert (end.exit_code, end.output_bytes) == (0, 4), end
    assert await bench.output(key, 4) == b"now\n"
    return "keeps the pipe in a child: exit 0 with what was printed until then, what the child prints later is dropped"


async def ignores_sigterm(bench: Bench) -> str:
    """SIGTERM, and after the grace SIGKILL."""
    note = bench.note("deaf")
    key = await bench.start("deaf", f"trap '' TERM; echo $$ > {note}; while :; do sleep 0.05; done")
    await bench.pid("deaf")
    await bench.master.say(wire.StopRun(key, grace_s=1))
    end = await bench.end(key)
    assert (end.signal, end.cause) == (signal.SIGKILL, "cancelled"), end
    return "ignores SIGTERM: killed after the grace of 1 s"


async def children_have_the_grace(bench: Bench) -> str:
    """The main process ends at SIGTERM at once; its child, which has left the group, cleans up and is waited for."""
    note, clean = bench.note("cleaner"), bench.note("clean")
    child = f"trap 'sleep 0.5; echo > {clean}; exit 0' TERM; echo $$ > {note}; while :; do sleep 0.05; done"
    key = await bench.start("cleaner", f'setsid sh -c "{child.replace("$", chr(92) + "$")}" & wait')
    await bench.pid("cleaner")
    await bench.master.say(wire.StopRun(key, grace_s=20))
    end = await bench.end(key)
    assert (end.signal, end.cause) == (signal.SIGTERM, "cancelled"), end
    assert clean.exists(), "a child was killed within the grace"
    return "children have the grace: one that cleans up for 0.5 s was waited for"


async def still_alive(names: Sequence[str], pids: Sequence[int]) -> list[str]:
    """Which of them do not go: a kill is no wait, and whoever adopted them may be slow to bury them."""
    alive = list(names)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(GONE_S):
            while alive := [name for name, pid in zip(names, pids, strict=True) if is_same_process(pid, None)]:
                await asyncio.sleep(0.05)
    return alive


async def hides(bench: Bench) -> str:
    """setsid, a double fork, a cleared environment: a stop finds them all; all three at once in a control group."""
    names = ("session", "double", "clean-env", *(["all-three"] if IN_GROUPS else []))
    note = {name: bench.note(name) for name in names}
    all_three = f"(env -i PATH=$PATH setsid sh -c 'echo $$ > {bench.note('all-three')}; exec sleep 300' &)"
    key = await bench.start(
        "hides",
        f"setsid sh -c 'echo $$ > {note['session']}; exec sleep 300' & "
        f"(setsid sh -c 'echo $$ > {note['double']}; exec sleep 300' &) ; "
        f"env -i PATH=$PATH setsid sh -c 'echo $$ > {note['clean-env']}; exec sleep 300' & "
        f"{all_three if IN_GROUPS else ':'}; wait",
    )
    pids = [await bench.pid(name) for name in names]
    await bench.master.say(wire.StopRun(key, kill=True))
    end = await bench.end(key)
    assert (end.signal, end.cause) == (signal.SIGKILL, "killed"), end
    alive = await still_alive(names, pids)
    assert not alive, f"not found by the stop: {alive}"
    return f"hides by setsid, double fork, cleared environment{', all three at once' if IN_GROUPS else ''}: all killed"


async def forks_while_killed(bench: Bench) -> str:
    """Processes that are others at every look are ended all the same."""
    script = bench.note("forker.py")
    script.write_text(FORKER)
    alive = bench.note("generations")
    key = await bench.start("forker", f"exec {sys.executable} -S -E {script} {alive}")
    async with asyncio.timeout(60):
        while not alive.exists() or alive.stat().st_size < 400:
            await asyncio.sleep(0.05)
    await bench.master.say(wire.StopRun(key, kill=True))
    end = await bench.end(key)
    assert (end.signal, end.cause) == (signal.SIGKILL, "killed"), end
    generations = alive.stat().st_size
    await asyncio.sleep(0.5)  # a chain that lives would have hundreds of generations meanwhile
    assert alive.stat().st_size == generations, f"still forking: {processes_of(key)}"
    return f"forks while being killed: none left of 4 chains of processes after {generations} generations"


async def takes_too_long(bench: Bench) -> str:
    """The keeper keeps the time; the whole tree ends."""
    note = bench.note("slow")
    key = await bench.start("slow", f"(setsid sh -c 'echo $$ > {note}; exec sleep 300' &); sleep 300", timeout_s=1)
    end, child = await bench.end(key), await bench.pid("slow")
    assert (end.signal, end.cause) == (signal.SIGTERM, "timeout"), end
    assert not is_same_process(child, None)
    return "takes too long: SIGTERM for the whole tree, cause timeout"


async def prints_bytes(bench: Bench) -> str:
    """Neither NULs nor bytes that are no UTF-8 are changed."""
    key = await bench.start("bytes", r"printf '\377\376\0x\303'; printf '\0\200' >&2")
    await bench.end(key)
    assert await bench.output(key, 7) == b"\xff\xfe\0x\xc3\0\x80"
    return "prints invalid UTF-8 and NULs: the same 7 bytes"


async def exits_by_signal(bench: Bench) -> str:
    """The signal is the status, not a number made of it; an exit code above 128 stays one."""
    signalled, high = await bench.start("segv", "kill -SEGV $$"), await bench.start("high", "exit 139")
    first, second = await bench.end(signalled), await bench.end(high)
    assert (first.exit_code, first.signal) == (None, signal.SIGSEGV), first
    assert (second.exit_code, second.signal) == (139, None), second
    return "exits by signal: SIGSEGV; exit 139 is exit 139"


CASES: tuple[Case, ...] = (
    forks,
    leaves_a_daemon,
    closes_its_descriptors,
    keeps_the_pipe,
    ignores_sigterm,
    children_have_the_grace,
    hides,
    forks_while_killed,
    takes_too_long,
    prints_bytes,
    exits_by_signal,
)


async def prints_a_lot(bench: Bench, size: int) -> str:
    """Head and tail are kept and the cut is marked; the memory of agent and keeper and the disk are bounded."""
    keeper = bench.agent.keeper_pid()
    assert keeper is not None
    programs = {"agent": psutil.Process(bench.agent.pid), "keeper": psutil.Process(keeper)}
    before = {name: program.memory_info().rss for name, program in programs.items()}
    began = time.monotonic()
    key = await bench.start("lot", f"echo START; head -c {size} /dev/zero | tr '\\0' x; echo; echo END")
    most = dict.fromkeys((*before, "disk"), 0)
    while bench.master.end(key) is None:
        for name, program in programs.items():
            most[name] = max(most[name], program.memory_info().rss - before[name])
        most["disk"] = max(most["disk"], disk_bytes(bench.agent.data / RUNS / key))
        await asyncio.sleep(0.02)
    end = await bench.end(key)
    kept = await bench.output(key, end.output_bytes)
    mark = f"\n[{size + 11 - OUTPUT_BYTES_MAX} bytes were cut here]\n".encode()
    assert end.output_cut, end
    assert len(kept) == OUTPUT_BYTES_MAX + len(mark) == end.output_bytes, len(kept)
    assert kept.startswith(b"START\nxxx")
    assert kept.endswith(b"xxx\nEND\n")
    assert mark in kept
    assert most["disk"] <= 2 * OUTPUT_BYTES_MAX + len(mark), most
    assert most["keeper"] < 16 * MIB, most
    assert most["agent"] < 64 * MIB, most
    figures = ", ".join(f"{name} at most {most[name] / MIB:.1f} MiB" for name in ("disk", "keeper", "agent"))
    return f"prints {size / MIB:.0f} MiB: {len(kept)} bytes kept, {figures} more, {time.monotonic() - began:.1f} s"


def disk_bytes(directory: Path) -> int:
    """What the files of a run occupy; they come and go meanwhile."""
    total = 0
    try:
        for entry in os.scandir(directory):
            total += entry.stat().st_size
    except FileNotFoundError:
        pass
    return total


async def _rounds(directory: Path, count: int, say: Say, size: int) -> Verdict:
    faults: list[str] = []
    async with master_and_agent(directory) as (master, agent):
        cases = [case for case in CASES if IN_GROUPS or case is not forks_while_killed]
        if not IN_GROUPS:
            say("*** SKIPPED: forks_while_killed, which needs a writable control group (cgroup v2)")
        for number in range(count):
            bench = Bench(master, agent, directory, number)
            found = await asyncio.gather(*(case(bench) for case in cases), return_exceptions=True)
            found.append(*await asyncio.gather(prints_a_lot(bench, size), return_exceptions=True))
            for case, said in zip((*cases, prints_a_lot), found, strict=True):
                if isinstance(said, BaseException):
                    faults.append(f"{case.__name__}: {type(said).__name__} {said}")
                elif number == 0:
                    say(said)
        doubled = len(master.doubled)
        runs = sum(isinstance(report.body, wire.Ended) for report in master.reports.values())
    return Verdict({"rounds": count, "runs": runs, "doubled reports": doubled}, tuple(faults))


def hard_jobs(directory: Path, count: int, say: Say, size: int = GIB) -> Verdict:
    """Every case side by side, then the one that prints `size` bytes; `count` rounds on one agent."""
    return asyncio.run(_rounds(directory, count, say, size))
