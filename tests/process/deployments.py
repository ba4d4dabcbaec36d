"""The members of a group are replaced while its runs run; the witness of what ran is a file that the jobs fsync."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.process.checker import Verdict
from tests.process.cluster import Node, Pair, running_pair

ALL = ("alpha", "beta", "gamma", "delta", "epsilon")
JOB = """#!/bin/sh
# Says durably that it began and where, works, and says that it ends.
printf 'start %s %s\\n' "$UNDERSTUDY_RUN_ID" "$1" >> '{ran}'
sync '{ran}'
sleep {seconds}
printf 'end %s %s\\n' "$UNDERSTUDY_RUN_ID" "$1" >> '{ran}'
"""
EVERY_SECOND = "* * * * * *"
Say = Callable[[str], None]


@dataclass
class Group:
    """A pair with agents in the group `web`, and what ran."""

    pair: Pair
    names: tuple[str, ...]
    seconds: float
    submitted: list[str] = field(default_factory=list)

    @property
    def ran_file(self) -> Path:
        return self.pair.directory / "ran"

    def make(self, capacity: int) -> None:
        """Agents beyond those of the pair, the group, and a job of it on request and one of each second."""
        for name in self.names:
            if name not in self.pair.agents:
                self.pair.add_agent(name)
        master, _ = self.pair.wait_healthy()
        script = self.pair.directory / "job.sh"
        script.write_text(JOB.format(ran=self.ran_file, seconds=self.seconds))
        script.chmod(0o755)
        self.ran_file.touch()
        self.pair.type(master, "understudy", "group", "create", "web", *self.names)
        api = master.api
        for name in self.names:
            answer = api.request("PUT", f"/api/v1/agents/{name}/capacity", {"capacity": capacity})
            assert answer.status == 200, answer
        for name, when in (("asked", []), ("ticking", [{"cron": EVERY_SECOND, "zone": "UTC"}])):
            job = {"name": name, "command": f"{script} {name}", "group": "web", "schedules": when}
            api.post("/api/v1/jobs", job | {"misfire_policy": "skip"}, key=f"make-{name}")
        api.close()

    def submit(self, count: int) -> None:
        """Ask for runs; each is asked for until it was answered, with the same key."""
        for _ in range(count):
            name = f"ask-{len(self.submitted)}"
            self.submitted.append(str(self.ask("POST", "/api/v1/jobs/asked/run", {}, name)["key"]))

    def ask(self, method: str, path: str, body: Any, key: str) -> Any:
        """One request to whoever is master, repeated with its key."""

        def answered() -> Any:
            for node in self.pair.nodes.values():
                api = node.api
                try:
                    answer = api.request(method, path, body, key=key)
                except Exception:
                    continue
                finally:
                    api.close()
                if answer.status < 300:
                    return answer.value
            return None

        return self.pair.wait(f"{method} {path}", answered)

    def deploy(self, names: tuple[str, ...], number: int) -> Any:
        """Replace the members; returns what the master answered."""
        return self.ask("PUT", "/api/v1/groups/web", {"agents": list(names)}, f"deploy-{number}")

    def lines(self, word: str, job: str = "asked") -> Counter[str]:
        """How often each run of a job said that word."""
        found = (line.split(" ") for line in self.ran_file.read_text().split("\n")[:-1])
        return Counter(key for said, key, named in found if (said, named) == (word, job))

    def is_done(self) -> bool:
        """Every run that was asked for has come to its end, by the file."""
        return set(self.submitted) <= set(self.lines("end"))

    def judge(self) -> list[str]:
        """What is wrong, as sentences: by the file, and by the rows of the master."""
        wrong = []
        for job in ("asked", "ticking"):
            wrong += [f"{key} began {n} times" for key, n in self.lines("start", job).items() if n > 1]
        wrong += [f"{key} never began" for key in self.submitted if not self.lines("start")[key]]
        api = self.pair.node("master").api
        runs = {run["key"]: run for run in api.pages("/api/v1/runs", "number")}
        wrong += [f"{key} is {runs[key]['state']}" for key in self.submitted if runs[key]["state"] != "succeeded"]
        ticks = [run for run in runs.values() if run["job"] == "ticking"]
        began = self.lines("start", "ticking")
        wrong += [f"{key} ran without a row" for key in began if key not in runs]
        states = ("succeeded", "running")
        unseen = [run for run in ticks if run["key"] not in began and run["state"] in states]
        wrong += [f"{run['key']} is {run['state']}, and the file says otherwise" for run in unseen]
        wrong += self._gaps(ticks, api)
        api.close()
        return wrong

    def _gaps(self, ticks: list[dict[str, Any]], api: Any) -> list[str]:
        """Instants of the scheduled job without a run and without a row in the ledger."""
        instants = {int(run["scheduled_for_us"]) // 1_000_000 for run in ticks}
        missed = {int(row["scheduled_for_us"]) // 1_000_000 for row in api.pages("/api/v1/missed", "id", all=1)}
        known = instants | missed
        return [f"nothing is known of the instant {at}" for at in range(min(known), max(known)) if at not in known]


def _trouble(group: Group, kind: str) -> str:
    """kill -9 of the master, which starts again; or its end, and the standby takes over."""
    master, standby = group.pair.wait_healthy()
    master.program.kill()
    if kind == "kill":
        master.program.start()
        return f"{master.name} killed and started again"
    group.pair.type(standby, "standby-to-master", "--yes")
    group.pair.wait("the standby to be master", standby.is_master)
    master.program.start()
    return f"{standby.name} took over from {master.name}"


def _round(group: Group, number: int, asked: int, trouble: str, small: tuple[str, ...]) -> str:
    """Runs are asked for; the members are taken out and come back while they run, with trouble between."""
    group.submit(asked // 2)
    group.pair.wait("runs to run", lambda: len(group.lines("start")) > len(group.submitted) - asked + asked // 8)
    out = group.deploy(small, 2 * number)
    what = _trouble(group, trouble) if trouble else "no trouble"
    group.submit(asked - asked // 2)
    back = group.deploy(group.names, 2 * number + 1)
    group.pair.wait("every run to come to its end", group.is_done, 180)
    group.pair.wait("every report to be in the rows", lambda: not _open(group), 60)
    wrong = group.judge()
    assert not wrong, "\n".join([*wrong[:20], group.pair.tails()])
    return (
        f"{asked} runs, removed {out['removed']}, asked back {out['asked']}, then {len(back['members'])} again; {what}"
    )


def _open(group: Group) -> list[str]:
    api = group.pair.node("master").api
    runs = [run for run in api.pages("/api/v1/runs", "number") if run["job"] == "asked"]
    api.close()
    return [run["key"] for run in runs if run["ended_at_us"] is None]


def deployments(directory: Path, count: int, say: Say) -> Verdict:
    """5 members to 3 and back under 200 runs, with kill -9 of the master and failovers in the middle of it."""
    with running_pair(directory) as pair:
        group = Group(pair, ALL, 1.0)
        group.make(capacity=8)
        for number in range(count):
            began = time.monotonic()
            trouble = ("", "kill", "failover")[number % 3]
            said = _round(group, number, 200, trouble, ALL[:3])
            say(f"round {number + 1}: {said}; {time.monotonic() - began:.0f} s")
        begun = sum(group.lines("start").values()) + sum(group.lines("start", "ticking").values())
        say(f"{begun} processes began, each run once, {len(group.submitted)} of them asked for")
        return Verdict({"rounds": count, "asked for": len(group.submitted), "began": begun}, ())


def small(directory: Path, say: Say) -> None:
    """The same in little: 2 members to 1 and back under 30 runs; the agents' own logs say where they serve."""
    with running_pair(directory) as pair:
        group = Group(pair, ALL[:2], 0.3)
        group.make(capacity=5)
        say(_round(group, 0, 30, "", ALL[:1]))
        told = json.loads(pair.type(_master(pair), "understudy", "group", "show", "web", "--json"))
        assert [member["told"] for member in told["members"]] == [True] * 2
        log = pair.agents["beta"].program.log.read_text()
        assert "this agent is not deployed" in log
        assert "this agent serves groups" in log


def _master(pair: Pair) -> Node:
    return pair.node("master")
