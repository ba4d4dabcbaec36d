"""What is done to a pair under load, as often as asked; each prints its own counts and returns the verdict.

pytest runs each once or twice, `./scripts/soak NAME --count N` as often as wanted: the same functions.
"""

from __future__ import annotations

import contextlib
import hashlib
import random
import re
import shutil
import sqlite3
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tests.agent_search import soak as agent_search_soak
from tests.failpoints import runs as failpoint_runs
from tests.hostile import connections, storms
from tests.hostile import scenarios as hostile
from tests.mutations.security import controls
from tests.process import copies, partitions
from tests.process.agent_kills import agent_kills
from tests.process.api_roles import api
from tests.process.available import available
from tests.process.checker import Verdict
from tests.process.checkpoints import checkpoint_rounds
from tests.process.cluster import Node, Pair, running_pair
from tests.process.deployments import deployments
from tests.process.events import events
from tests.process.forks import forks
from tests.process.gates import requests
from tests.process.hard_jobs import hard_jobs
from tests.process.lost_results import alone_results
from tests.process.maintenance import maintenance
from tests.process.missed import missed
from tests.process.notifications import notifications
from tests.process.outage import outage
from tests.process.outage_failover import outage_failover
from tests.process.output_cuts import output_cuts
from tests.process.rotation import rotations
from tests.process.standbys import standbys
from tests.process.troubles import troubles
from tests.process.wire import rejoin_cost
from tests.process.workflows import workflows
from tests.process.workload import Workload
from tests.property import capture_soak, schedule_forms
from tests.search import soak as search_soak
from tests.simulation import pair_simulation, power_loss
from tests.versions.upgrade_nights import maintenance_upgrades

STRICT = ("--mode", "strict")
SWAP_WRITES_PER_SECOND = 600.0
"""Asked for, so that 500 a second are left after the pauses of one swap after another."""
Say = Callable[[str], None]
Scenario = Callable[[Path, int, Say], Verdict]


def swaps(directory: Path, count: int, say: Say) -> Verdict:
    """Planned swaps in a row under acknowledged writes and running jobs; then both databases hash the same."""
    with running_pair(directory) as pair:
        load = Workload(pair, SWAP_WRITES_PER_SECOND).start()
        for number in range(1, count + 1):
            master, standby = pair.wait_healthy()
            began = time.time()
            said = pair.type(master, "understudy", "swap", "--yes")
            now_master, _ = pair.wait_healthy()
            assert now_master is standby, f"{standby.name} should be master and {now_master.name} is"
            cost = rejoin_cost(master, standby, _handoff(said))
            load.wait_progress(f"load after swap {number}")
            pause_s = load.longest_pause_s(began)
            roles = f"{master.name} to {standby.name}"
            say(f"swap {number}: {roles}, clients paused {pause_s:.2f} s; {_proof(said)}; {cost}")
        verdict = load.finish()
        say(f"databases: {_equal_databases(pair)}")
        return verdict


def failovers(directory: Path, count: int, say: Say) -> Verdict:
    """kill -9 of the master, then `standby-to-master`; the old master comes back and does not act as master.

    Every second time the standby is killed just before, so that the old master has a tail that nobody else has.
    """
    tails = 0
    with running_pair(directory, flags=STRICT) as pair:
        load = Workload(pair).start()
        for number in range(1, count + 1):
            master, standby = pair.wait_healthy()
            kept = _forks(master)
            if number % 2:
                _kill_with_tail(pair, load, master, standby)
            else:
                master.program.kill()
            began = time.time()
            pair.type(standby, "standby-to-master", "--yes")
            pair.wait("the standby to be master", standby.is_master)
            master.program.start()
            _never_master_again(pair, master, standby)
            pair.wait_healthy()
            load.wait_progress(f"load after failover {number}")
            forks = _forks(master)
            tails += number % 2
            assert forks >= kept + number % 2, f"{master.name} had a tail and keeps no fork of it"
            say(
                f"failover {number}: {standby.name} took over, {master.name} keeps {forks} forks, longest pause "
                f"of clients {load.longest_pause_s(began):.2f} s"
            )
        say(f"{count} failovers, {tails} with a tail that only the old master had")
        return load.finish()


def _kill_with_tail(pair: Pair, load: Workload, master: Node, standby: Node) -> None:
    """Kill the standby, let the master journal what it cannot get acknowledged, kill it, start the standby."""
    standby.program.kill()
    pair.wait("requests that only the master holds", lambda: _has_tail(master))
    master.program.kill()
    standby.program.start()
    pair.wait("the standby to answer", lambda: standby.status().get("role") == "standby")


def _forks(node: Node) -> int:
    return int(node.status().get("forks") or 0)


def _said(node: Node, name: str) -> str:
    return str(node.status().get(name) or "")


def _backlog(node: Node) -> int | None:
    backlog = node.status().get("backlog")
    return None if backlog is None else int(backlog["requests"])


def _has_tail(node: Node) -> bool:
    """The node journaled requests beyond the commit sequence: nobody else can have them."""
    status = node.status()
    return bool(status) and int(status["position"]["sequence"]) > int(status["commit_sequence"])


def _never_master_again(pair: Pair, old: Node, new: Node) -> None:
    """Until the old master streams as a standby, no look at it ever finds a master."""

    def streams() -> bool:
        status = old.status()
        assert status.get("role") != "master", f"{old.name} acts as master: {status}\n{pair.tails()}"
        return status.get("role") == "standby" and bool(new.status().get("in_sync"))

    pair.wait(f"{old.name} to stream as a standby", streams)


def restarts(directory: Path, count: int, say: Say) -> Verdict:
    """Stop and start, kill -9 and start of the master, and kill -9 of both, `count` times each; no person acts."""
    kinds = (_stop_and_start, _kill_and_start, _kill_both_master_first, _kill_both_standby_first)
    with running_pair(directory, flags=STRICT) as pair:
        load = Workload(pair).start()
        for number in range(1, count + 1):
            for kind in (*kinds[:2], kinds[2 + number % 2]):
                master, standby = pair.wait_healthy()
                kind(master, standby)
                began = time.monotonic()
                now = pair.node("master")
                waited = time.monotonic() - began
                pair.wait_healthy()
                load.wait_progress(f"load after {kind.__name__} {number}")
                say(f"{kind.__name__.strip('_')} {number}: {now.name} is master after {waited:.1f} s")
        return load.finish()


def _stop_and_start(master: Node, standby: Node) -> None:
    assert master.program.stop() == 0, master.program.tail()
    master.program.start()


def _kill_and_start(master: Node, standby: Node) -> None:
    master.program.kill()
    master.program.start()


def _kill_both_master_first(master: Node, standby: Node) -> None:
    master.program.kill()
    standby.program.kill()
    master.program.start()
    standby.program.start()


def _kill_both_standby_first(master: Node, standby: Node) -> None:
    standby.program.kill()
    master.program.kill()
    standby.program.start()
    master.program.start()


def kills(directory: Path, count: int, say: Say) -> Verdict:
    """kill -9 of the standby or of an agent at random moments; all recovers, exit codes and output included."""
    choice = random.Random(count)
    victims = {"standby": 0, "alpha": 0, "beta": 0}
    with running_pair(directory, flags=STRICT) as pair:
        load = Workload(pair).start()
        for _ in range(count):
            _, standby = pair.wait_healthy()
            name = min(victims, key=victims.__getitem__) if count < 3 else choice.choice(list(victims))
            program = standby.program if name == "standby" else pair.agents[name].program
            time.sleep(choice.uniform(0, 1))  # a random moment, not a wait for something
            program.kill()
            time.sleep(choice.uniform(0, 0.5))
            program.start()
            victims[name] += 1
            load.wait_progress(f"load after kill -9 of {name}")
        say("killed: " + ", ".join(f"{name} {times}" for name, times in victims.items()))
        return load.finish()


def alone(directory: Path, count: int, say: Say) -> Verdict:
    """With the standby dead a restarted master says what it waits for; `go-alone` lets it write; all rejoins."""
    with running_pair(directory, witness="", flags=STRICT) as pair:
        load = Workload(pair).start()
        for number in range(1, count + 1):
            master, standby = pair.wait_healthy()
            standby.program.kill()
            master.program.kill()
            master.program.start()
            waiting = pair.wait("the reason for waiting", partial(_said, master, "waiting_for"))
            assert not master.is_master(), "a master without its standby is in office in strict mode"
            pair.type(master, "understudy", "go-alone", "--yes")
            pair.wait("the master to be alone", partial(_said, master, "alone_since"))
            load.wait_progress("load while alone")
            standby.program.start()
            pair.wait_healthy()
            say(f"alone {number}: it said {waiting!r}")
        return load.finish()


def _proof(said: str) -> str:
    """The sentence of the report that tells what both nodes held at the hand-off."""
    found = re.findall(r"both nodes are at request \d+, checksum [0-9a-f]{16}", said)
    assert found, f"the report of the swap proves nothing:\n{said}"
    return str(found[-1])


def _handoff(said: str) -> int:
    """The sequence of HANDOFF, from the report."""
    found = re.search(r"HANDOFF follows request (\d+)", said)
    assert found, f"the report of the swap does not say where office was handed over:\n{said}"
    return int(found[1]) + 1


def _equal_databases(pair: Pair) -> str:
    """Stop both nodes cleanly, master first, and compare the bytes of their databases."""
    master, standby = pair.node("master"), pair.node("standby")
    for agent in pair.agents.values():
        agent.program.stop()
    pair.wait("a quiet pair", lambda: _backlog(master) == 0)
    for node in (master, standby):
        assert node.program.stop() == 0, node.program.tail()
    digests = {node.name: _digest_checkpointed(node, pair.directory) for node in (master, standby)}
    assert len(set(digests.values())) == 1, f"the databases differ after a clean stop: {digests}"
    return f"sha256 {digests[master.name][:16]} on both"


def _digest_checkpointed(node: Node, directory: Path) -> str:
    """SHA-256 of the database of a stopped node, after a checkpoint made in a copy by SQLite itself."""
    copy = directory / f"{node.name}-copy.db"
    for ending in ("", "-wal"):
        origin = node.data / f"scheduler.db{ending}"
        if origin.exists():
            shutil.copyfile(origin, f"{copy}{ending}")
    with contextlib.closing(sqlite3.connect(copy)) as connection:
        busy, *_ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        assert busy == 0
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    return hashlib.sha256(copy.read_bytes()).hexdigest()


SCENARIOS: dict[str, tuple[Scenario, int]] = {
    "swaps": (swaps, 20),
    "failovers": (failovers, 20),
    "restarts": (restarts, 20),
    "kills": (kills, 50),
    "copy-kills": (copies.copy_kills, 20),
    "alone": (alone, 5),
    "alone-results": (alone_results, 500),
    "available": (available, 30),
    "forks": (forks, 10),
    "troubles": (troubles, 1),
    "standbys": (standbys, 3),
    "power-loss": (power_loss.soak, 500),
    "search": (search_soak.soak, 5),
    "agent-search": (agent_search_soak.soak, 25),
    "simulation": (pair_simulation.soak, 2000),
    "capture": (capture_soak.soak, 2000),
    "schedules": (schedule_forms.soak, 12),
    "failpoints": (failpoint_runs.soak, 5),
    "agent-kills": (agent_kills, 10),
    "checkpoints": (checkpoint_rounds, 10),
    "output-cuts": (output_cuts, 3),
    "hard-jobs": (hard_jobs, 10),
    "missed": (missed, 9),
    "deployments": (deployments, 3),
    "workflows": (workflows, 46),
    "partitions": (partitions.partitions, 24),
    "pauses": (partitions.pauses, 12),
    "rotations": (rotations, 6),
    "outage": (outage, 10),
    "outage-failover": (outage_failover, 10),
    "events": (events, 50),
    "requests": (requests, 10),
    "maintenance": (maintenance, 3),
    "maintenance-upgrades": (maintenance_upgrades, 12),
    "notifications": (notifications, 10),
    "api": (api, 20),
    "hostile-frames": (hostile.hostile_frames, 1_000_000),
    "hostile-certificates": (hostile.hostile_certificates, 3),
    "hostile-storms": (storms.hostile_storms, 60),
    "hostile-web": (hostile.hostile_web, 20_000),
    "hostile-connections": (connections.hostile_connections, 5_000),
    "controls": (controls, 1),
}
"""Name, function, and the count that the release asks for."""
