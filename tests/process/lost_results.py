"""A master that wrote alone acknowledges hundreds of results and dies for good, its directory with it.

Its agents send again what the new master lacks. What a silent agent alone knows is listed by key; declared dead, it
frees its future only; switched on again it starts nothing, and what it ran is taken after all.
"""

from __future__ import annotations

import json
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from tests.process.api import Api
from tests.process.checker import RanLine, Verdict
from tests.process.cluster import Node, Pair, running_pair
from tests.process.workload import EVERY_SECOND, RECORD, Workload

SETTINGS = {"UNDERSTUDY_STANDBY_STEADY_S": "0.25", "UNDERSTUDY_STANDBY_TIMEOUT_S": "2"}
JOBS_PER_AGENT = 6
AGENTS = ("alpha", "beta")


class Loss:
    """One pair, its jobs, and `results`: exit codes that the lone master acknowledged, by run key."""

    def __init__(self, pair: Pair, say: Callable[[str], None]) -> None:
        self.pair = pair
        self.say = say
        self.load = Workload(pair)
        self.results: dict[str, int | None] = {}
        self.agent_of: dict[str, str] = {}

    def jobs(self, master: Node) -> None:
        """Six jobs of every second on each agent; each appends its key to a file outside the product, fsynced."""
        self.load.ran_file.touch()
        api = master.api
        for agent in AGENTS:
            script = self.pair.directory / "record.sh"
            script.write_text(RECORD.format(ran=self.load.ran_file, tenths=1))
            script.chmod(0o755)
            for number in range(JOBS_PER_AGENT):
                body = job(f"{agent}-{number}", agent, str(script))
                api.post("/api/v1/jobs", body, key=f"make-{agent}-{number}")
        api.close()
        self.load.wait_progress("the jobs to run", writes=0, runs=10)

    def lone(self, count: int) -> Node:
        """The standby dies, the master goes on alone and acknowledges `count` results that nobody else has."""
        master, standby = self.pair.wait_healthy()
        before = self.ended(master)
        standby.program.kill()
        self.pair.wait("the master to be alone", lambda: master.status().get("alone_since"))

        def enough() -> bool:
            found = self.ended(master)
            self.results = {key: run["exit_code"] for key, run in found.items() if key not in before}
            self.agent_of = {key: str(run["agent"]) for key, run in found.items()}
            return len(self.results) >= count

        self.pair.wait(f"{count} results acknowledged alone", enough, 300.0)
        return master

    def ended(self, node: Node) -> dict[str, dict[str, Any]]:
        """Runs that a node shows with an end, by key."""
        api = node.api
        found = {run["key"]: run for run in api.pages("/api/v1/runs", "number") if run["ended_at_us"] is not None}
        api.close()
        return found

    def of(self, agent: str) -> set[str]:
        """The keys of the acknowledged results of one agent."""
        return {key for key in self.results if self.agent_of[key] == agent}

    def listed(self, node: Node) -> set[str]:
        """What `run list --state unknown` names on a node: runs and occurrences, by key."""
        said = self.pair.type(node, "understudy", "run", "list", "--state", "unknown", "--limit", "1000", "--json")
        return {str(run["key"]) for run in json.loads(said)}

    def wrong(self, node: Node, keys: Iterable[str]) -> list[str]:
        """Acknowledged results that the node shows otherwise, or not at all."""
        found = self.ended(node)
        return [key for key in keys if key not in found or found[key]["exit_code"] != self.results[key]]


def job(name: str, agent: str, command: str) -> dict[str, Any]:
    """A job of every second whose missed times are let be."""
    when = [{"cron": EVERY_SECOND, "zone": "UTC"}]
    return {"name": name, "command": command, "agent": agent, "misfire_policy": "skip", "schedules": when}


def alone_results(directory: Path, count: int, say: Callable[[str], None]) -> Verdict:
    """`count` results acknowledged alone; the master and its disk are gone, one of two agents is silent."""
    with running_pair(directory, settings=SETTINGS) as pair:
        loss = Loss(pair, say)
        master, standby = pair.wait_healthy()
        loss.jobs(master)
        master = loss.lone(count)
        say(f"the lone master acknowledged {len(loss.results)} results; {master.name} dies for good, beta too")
        pair.agents["beta"].program.kill()
        master.program.kill()
        shutil.rmtree(master.data)
        standby.program.start()
        promote(pair, standby, say)
        api = standby.api
        faults = recovered(loss, standby)
        faults += listed(loss, standby)
        declared = dead(loss, api, standby)
        back(loss, api, standby)
        wrong = loss.wrong(standby, loss.results)
        faults += [f"{key} was acknowledged and is not recovered, although its agent is back" for key in wrong]
        faults += twice(loss.load.ran())
        api.close()
        counts = {
            "acknowledged": len(loss.results),
            "runs": len({line.key for line in loss.load.ran()}),
            "of the silent agent": len(loss.of("beta")),
            "declared unknown": declared,
        }
        return Verdict(counts, tuple(faults))


def promote(pair: Pair, standby: Node, say: Callable[[str], None]) -> None:
    """Refused without the flag, since the witness knows who wrote alone; done with it."""
    pair.wait("the standby to answer", lambda: standby.status().get("role") == "standby")
    refused = pair.type(standby, "standby-to-master", "--yes", expect=1)
    assert "--allow-data-loss" in refused, f"the refusal does not say what to type: {refused}"
    pair.type(standby, "standby-to-master", "--yes", "--allow-data-loss")
    pair.wait("the standby to be master", standby.is_master)
    owing = pair.wait("the silent agent to owe an answer", lambda: (standby.status().get("silence") or {}).get("owing"))
    say(f"{standby.name} took over with the flag; it says that {', '.join(owing)} owe an answer")


def recovered(loss: Loss, node: Node) -> list[str]:
    """The agent that lives sends everything again, exit codes included."""
    keys = loss.of("alpha")
    loss.pair.wait("alpha to owe nothing", lambda: (node.status().get("silence") or {}).get("owing") == ["beta"])
    try:
        loss.pair.wait("alpha's results", lambda: not loss.wrong(node, keys), 60.0)
    except AssertionError:
        return [f"{key} was acknowledged and alpha did not send it again" for key in loss.wrong(node, keys)]
    loss.say(f"alpha sent {len(keys)} results again: all are in Job History with their exit codes")
    return []


def listed(loss: Loss, node: Node) -> list[str]:
    """What only the silent agent knows is named, key by key."""
    loss.pair.wait("beta to be silent", lambda: "beta" in ((node.status().get("silence") or {}).get("silent") or ()))
    text = "beta is silent since a takeover that may have lost something"
    loss.pair.wait("the message of it", lambda: any(text in one["text"] for one in node.api.get("/api/v1/messages")))
    keys = loss.of("beta")
    missing = keys - loss.listed(node) - set(loss.ended(node))
    loss.say(f"beta's {len(keys)} results are listed as unknown, by key")
    return [f"{key} was acknowledged, is not recovered, and is not listed" for key in sorted(missing)]


def dead(loss: Loss, api: Api, node: Node) -> int:
    """Declared dead: its jobs go to alpha and run there; what it may have run stays unknown."""
    pair = loss.pair
    said = json.loads(pair.type(node, "understudy", "agent", "declare-dead", "beta", "--yes", "--json"))
    pair.wait("nothing to be owed", lambda: not (node.status().get("silence") or {}).get("owing"))
    for number in range(JOBS_PER_AGENT):
        pair.type(node, "understudy", "job", "update", f"beta-{number}", "--agent", "alpha")
    ran = len(loss.load.ran())
    pair.wait("its jobs to run on alpha", lambda: len(loss.load.ran()) > ran + 4 * JOBS_PER_AGENT)
    last = pair.wait("a run of a job of beta on alpha", lambda: on_alpha(api))
    loss.say(f"declared dead: {said['unknown_occurrences']} occurrences stay unknown; {last['key']} ran on alpha")
    return int(said["unknown_runs"]) + int(said["unknown_occurrences"])


def on_alpha(api: Api) -> dict[str, Any] | None:
    """A run of a job that was beta's, on alpha."""
    for number in range(JOBS_PER_AGENT):
        for run in api.get(f"/api/v1/runs?job=beta-{number}&state=succeeded&limit=20"):
            if run["agent"] == "alpha":
                return dict(run)
    return None


def back(loss: Loss, api: Api, node: Node) -> None:
    """The dead machine is on again: it starts nothing, what it ran is taken, nothing stays unknown."""
    pair = loss.pair
    pair.agents["beta"].program.start()
    pair.wait("what beta ran", lambda: not loss.wrong(node, loss.of("beta")))
    pair.wait("nothing unknown", lambda: not loss.listed(node))
    state = api.get("/api/v1/agents/beta")["state"]
    assert state == "quarantined", f"a machine that was declared dead is {state}"
    time.sleep(3)  # three instants of each of its former jobs: it has no leave to begin one
    begun = [run for run in api.get("/api/v1/runs?limit=200") if run["agent"] == "beta" and run["ended_at_us"] is None]
    assert not begun, f"a quarantined machine began {begun}"
    pair.type(node, "understudy", "agent", "accept-restored", "beta")
    pair.wait("beta to be active", lambda: api.get("/api/v1/agents/beta")["state"] == "active")
    loss.say("on again, beta started nothing and sent what it had run; accepted, it is active")


def twice(ran: Iterable[RanLine]) -> list[str]:
    """Keys that began more than once, by the jobs' own file."""
    begun = Counter(line.key for line in ran if line.exit_code is None)
    return [f"{key} ran {times} times" for key, times in begun.items() if times > 1]
