"""The network parts in the middle of an outage: the old master lives and reaches one agent, the standby takes over.

What the old master is asked for meanwhile it cannot commit, so it gives out nothing. As soon as its agent hears the new
epoch, that agent refuses it and says so to both nodes. The witness is the file that the jobs themselves append to.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.process.api import Answer, NoAnswer
from tests.process.checker import Verdict
from tests.process.cluster import Node, Pair, running_pair
from tests.process.namespaces import namespaces
from tests.process.partitions import stands_by, take_over
from tests.process.workload import Workload

Say = Callable[[str], None]
MACHINES = ("north", "south", "alpha", "beta")
REACHED, WITNESS = "alpha", "beta"
"""The agent that the old master reaches, and the one that the standby reaches and asks."""


def outage_failover(directory: Path, count: int, say: Say) -> Verdict:
    """`count` failovers while agents run on by their orders; nothing runs twice, nothing that was due is missing."""
    with namespaces(MACHINES) as network, running_pair(directory, witness=WITNESS, network=network) as pair:
        load = Workload(pair).start()
        for number in range(1, count + 1):
            say(f"failover {number}: {_round(pair, load, f'forbidden-{number}')}")
        return load.finish()


def _round(pair: Pair, load: Workload, forbidden: str) -> str:
    old, new = pair.wait_healthy()
    trace = pair.directory / forbidden
    _make_forbidden(pair, old, forbidden, trace)
    _part(pair, old, new)
    pair.wait(f"{WITNESS} to be silent at {old.name}", lambda: _agent(old, WITNESS).get("connected") is False)
    first = _ask_in_vain(old, f"/api/v1/jobs/{forbidden}/run")
    take_over(pair, new)
    load.wait_progress("work on both sides of the parting", runs=8)
    _ask_in_vain(old, f"/api/v1/jobs/{forbidden}/run")
    _ask_in_vain(old, f"/api/v1/agents/{REACHED}/lock")
    said = old.status()
    pair.cables.join(REACHED, new.name)
    pair.wait(f"{REACHED} to obey {new.name}", lambda: _agent(new, REACHED).get("state") == "active")
    refusal = pair.wait(f"{REACHED} to say whom it refuses", lambda: _refusal(new, int(said["epoch"])))
    _ask_in_vain(old, f"/api/v1/jobs/{forbidden}/run")
    assert _agent(new, REACHED)["queue"] == "open", "a lock that was never committed reached the agent"
    for other in (new.name, WITNESS):
        pair.cables.join(old.name, other)
    stands_by(pair, old, new)
    pair.wait_healthy(120.0)
    load.wait_progress("load after the failover")
    assert not trace.exists(), f"the old master gave out {forbidden}, which it could not commit"
    return f"{old.name} (epoch {said['epoch']}, {said['state']}) answered {first}; {new.name} heard: {refusal}"


def _part(pair: Pair, old: Node, new: Node) -> None:
    """On one side the old master with one agent, on the other the standby with the witness."""
    for one, other in ((old.name, new.name), (old.name, WITNESS), (REACHED, new.name)):
        pair.cables.part(one, other)


def _make_forbidden(pair: Pair, master: Node, name: str, trace: Path) -> None:
    api = master.api
    api.post("/api/v1/jobs", {"name": name, "command": f"touch {trace}", "agent": REACHED}, key=f"make-{name}")
    api.close()


def _ask_in_vain(node: Node, path: str) -> str:
    """Ask a master that can commit nothing; an assertion error when it says that it did."""
    api = node.api
    try:
        answer: Answer | None = api.request("POST", path, {})
    except NoAnswer:
        answer = None
    finally:
        api.close()
    assert answer is None or answer.status in (421, 503, 504), f"{path} at {node.name}: {answer}"
    return "nothing" if answer is None else f"{answer.status} {answer.code}"


def _agent(node: Node, name: str) -> dict[str, object]:
    """What a node says of an agent; {} when it does not answer."""
    api = node.api
    try:
        answer = api.request("GET", f"/api/v1/agents/{name}")
    except NoAnswer:
        return {}
    finally:
        api.close()
    return dict(answer.value) if answer.status == 200 else {}


def _refusal(node: Node, epoch: int) -> str:
    """The message that an agent refuses this epoch, "" while there is none."""
    api = node.api
    texts = [str(message["text"]) for message in api.get("/api/v1/messages", limit=50)]
    api.close()
    return next((text for text in texts if "refused" in text and f"poch {epoch}" in text), "")
