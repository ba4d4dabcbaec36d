"""Processor time of each program of a pair: what a job costs whom, which a busy machine changes little."""

from __future__ import annotations

import psutil

from tests.process.cluster import Pair

KEEPER = "server.agent.keeper"


class ProcessorTime:
    """Seconds that master, standby, agent and keeper took since `begin`, and those of the jobs that ended meanwhile.

    Make it when the agent is connected: its keeper must run.
    """

    def __init__(self, pair: Pair, agent: str) -> None:
        programs = {
            "master": pair.node("master").program.process,
            "standby": pair.node("standby").program.process,
            "agent": pair.agents[agent].program.process,
        }
        self._processes = {name: psutil.Process(process.pid) for name, process in programs.items() if process}
        where = str(pair.agents[agent].data)
        for process in psutil.process_iter(["cmdline"]):
            words = process.info["cmdline"] or []
            if KEEPER in words and where in words:
                self._processes["keeper"] = process
        self._before = self._now()

    def begin(self) -> None:
        """Count from here."""
        self._before = self._now()

    def ms_each(self, jobs: int) -> dict[str, float]:
        """Milliseconds for each of so many jobs, by program; `jobs` are the shells that the keeper started."""
        now = self._now()
        return {name: round((now[name] - self._before[name]) * 1000 / jobs, 2) for name in now}

    def _now(self) -> dict[str, float]:
        found = {}
        for name, process in self._processes.items():
            times = process.cpu_times()
            found[name] = times.user + times.system
            if name == "keeper":
                found["jobs"] = times.children_user + times.children_system
        return found
