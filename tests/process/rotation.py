"""The cluster's authority is exchanged while clients write and jobs run, over swaps and killed masters.

Then once more while an agent is away and left behind, which comes back by its key.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.process.checker import Verdict
from tests.process.cluster import Node, Pair, running_pair
from tests.process.workload import Workload

AWAY = "beta"
WRITES_PER_SECOND = 500.0


def rotations(directory: Path, count: int, say: Callable[[str], None]) -> Verdict:
    """Exchange the authority `count` times under load: quietly, with a swap, with a killed master, in turn."""
    faults: list[str] = []
    with running_pair(directory) as pair:
        load = Workload(pair, WRITES_PER_SECOND).start()
        for number in range(count):
            how = ("", "swap", "kill")[number % 3]
            faults += _round(pair, load, number, how, say)
        verdict = load.finish()
        faults += _left_behind(pair, say)
    return replace(verdict, faults=(*verdict.faults, *faults))


def _round(pair: Pair, load: Workload, number: int, how: str, say: Callable[[str], None]) -> list[str]:
    master, standby = pair.wait_healthy()
    before, since = _shown(pair, master), time.time()
    pair.type(master, "understudy", "certificates", "rotate", "--yes", "--reason", "every year")
    if how == "swap":
        pair.type(master, "understudy", "swap", "--yes")
    elif how == "kill":
        master.program.kill()
        pair.type(standby, "standby-to-master", "--yes")
        master.program.start()
    master, _ = pair.wait_healthy()
    after = _ended(pair, master)
    load.wait_progress(f"the load to flow after exchange {number}")
    took, pause = time.time() - since, load.longest_pause_s(since)
    say(f"exchange {number} {how or 'quiet'}: over in {took:.1f} s, longest pause {pause:.2f} s")
    states = [one["state"] for one in after["authorities"]]
    faults = []
    if states != ["retired"] * (len(states) - 1) + ["current"] or len(states) != len(before["authorities"]) + 1:
        faults.append(f"exchange {number}: the authorities are {states}")
    old = [one["name"] for one in after["certificates"] if not one["current"]]
    if old:
        faults.append(f"exchange {number}: of the former authority are still {old}")
    files = [node.data / "ca.crt" for node in pair.nodes.values()]
    pair.wait("each node to keep one authority", lambda: all(file.read_text().count("BEGIN") == 1 for file in files))
    fingerprints = {pair.fingerprint(node) for node in pair.nodes.values()}
    if fingerprints != {after["authorities"][-1]["fingerprint"]}:
        faults.append(f"exchange {number}: the nodes show {fingerprints}")
    return faults


def _left_behind(pair: Pair, say: Callable[[str], None]) -> list[str]:
    """An agent that is away holds the exchange up, is left behind by an operator, and comes back by itself."""
    master, _ = pair.wait_healthy()
    pair.agents[AWAY].program.kill()
    pair.type(master, "understudy", "certificates", "rotate", "--yes")
    said = pair.wait("only the absent agent to be waited for", lambda: _only(AWAY, _shown(pair, master)))
    refused = pair.type(master, "understudy", "certificates", "advance", expect=1)
    faults = [] if AWAY in refused else [f"the refusal does not name {AWAY}: {refused}"]
    if said["phase"] != "introducing":
        faults.append(f"it went on without {AWAY}: {said}")
    flag = "--leave-silent-agents-behind"
    pair.type(master, "understudy", "certificates", "advance", flag)
    pair.wait("the others to renew", lambda: _only(AWAY, _shown(pair, master)))
    pair.type(master, "understudy", "certificates", "advance", flag)
    pair.wait("the exchange to be over", lambda: not _shown(pair, master)["phase"])
    pair.agents[AWAY].program.start()
    pair.wait_healthy()
    line = pair.wait("its new certificate to be noted", lambda: _current(AWAY, _shown(pair, master)))
    say(f"{AWAY} was left behind by both parts and came back by its key: {line}")
    return faults


def _shown(pair: Pair, master: Node) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(pair.type(master, "understudy", "certificates", "--json"))
    return found


def _ended(pair: Pair, master: Node) -> dict[str, Any]:
    def ended() -> dict[str, Any] | None:
        found = _shown(pair, master)
        return None if found["phase"] else found

    return pair.wait("the exchange to end", ended, 120)


def _only(name: str, found: dict[str, Any]) -> dict[str, Any] | None:
    return found if [one["name"] for one in found["awaited"]] == [name] else None


def _current(name: str, found: dict[str, Any]) -> dict[str, Any] | None:
    lines: list[dict[str, Any]] = found["certificates"]
    return next((one for one in lines if one["name"] == name and one["current"]), None)
