"""An old master returns with writes that nobody else has: listed, exported, adopted, deleted. Both ways on (BEY-3)."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import ssl
import tarfile
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp

from tests.process.checker import Verdict
from tests.process.cluster import Node, Pair, running_pair

Say = Callable[[str], None]
WRITES = 1000
CLIENTS = ("127.0.0.11", "127.0.0.12", "127.0.0.13", "127.0.0.14")
"""One address may have 512 connections open (docs/connections.md)."""
CONNECTIONS = WRITES // len(CLIENTS)
ENDED = ("succeeded", "failed")
FLAGS = ("--mode", "strict")


def forks(directory: Path, count: int, say: Say) -> Verdict:
    """By turns an unapplied tail (CUT) and work done alone (COMPARE); each fork is looked at from every side."""
    totals: Counter[str] = Counter()
    with running_pair(directory, flags=FLAGS) as pair:
        api = pair.node("master").api
        api.post("/api/v1/jobs", {"name": "nightly", "command": "echo the books are closed; exit 3", "agent": "alpha"})
        api.close()
        for number in range(1, count + 1):
            totals += _cut(pair, number, say) if number % 2 else _compare(pair, number, say)
        pair.wait_healthy()
    return Verdict(faults=(), counts=dict(totals))


def _cut(pair: Pair, number: int, say: Say) -> Counter[str]:
    """The master journals what its dead standby cannot acknowledge, and dies: an unapplied tail."""
    master, standby = pair.wait_healthy()
    answers = asyncio.run(_write_many(master, f"tail{number}", WRITES, standby.program.kill))
    tail = _beyond_commit(master)
    master.program.kill()
    standby.program.start()
    pair.wait("the witness to answer the standby", partial(_has_witness, pair, standby))
    pair.type(standby, "standby-to-master", "--yes")
    say(f"fork {number}, CUT: {WRITES} writes at once, {tail} requests journaled and not acknowledged; {answers}")
    return _look_at(pair, number, master, standby, say, ended=False)


def _compare(pair: Pair, number: int, say: Say) -> Counter[str]:
    """The master writes alone by an operator's leave, and dies: its files went another way."""
    master, standby = pair.wait_healthy()
    standby.program.kill()
    pair.type(master, "understudy", "go-alone", "--yes")
    pair.wait("the master to be alone", lambda: master.status().get("alone_since"))
    answers = asyncio.run(_write_many(master, f"alone{number}", WRITES))
    pair.wait("a run to end while alone", partial(_has_ended_run, master))
    master.program.kill()
    standby.program.start()
    pair.wait("the standby to answer", lambda: standby.status().get("role") == "standby")
    pair.type(standby, "standby-to-master", "--allow-data-loss", "--yes")
    say(f"fork {number}, COMPARE: {WRITES} writes acknowledged alone; {answers}")
    return _look_at(pair, number, master, standby, say, ended=True)


def _has_witness(pair: Pair, node: Node) -> bool:
    if node.status().get("role") != "standby":
        return False
    found = json.loads(pair.type(node, "understudy", "witness", "list", "--json"))
    return bool(found["answering"])


def _beyond_commit(node: Node) -> int:
    status = node.status()
    return int(status["position"]["sequence"]) - int(status["commit_sequence"])


def _has_ended_run(node: Node) -> bool:
    """The newest run has ended, with its output in."""
    api = node.api
    newest = api.get("/api/v1/runs", limit=1)
    api.close()
    return bool(newest) and newest[0]["state"] in ENDED and newest[0]["output_bytes"] > 0


async def _write_many(node: Node, stem: str, count: int, first: Callable[[], None] = lambda: None) -> dict[int, int]:
    """So many changes at once, right after `first`: one run of `nightly`, the others new jobs. Answers by status."""
    context = ssl.create_default_context(cafile=str(node.data / "ca.crt"))
    headers = {"Authorization": f"Bearer {node.token}"}
    base = f"https://{node.host}:{node.port}/api/v1"
    async with contextlib.AsyncExitStack() as stack:
        sessions = []
        for address in CLIENTS:
            pool = aiohttp.TCPConnector(limit=CONNECTIONS, ssl=context, local_addr=(address, 0))
            sessions.append(await stack.enter_async_context(aiohttp.ClientSession(connector=pool, headers=headers)))
        turns = itertools.cycle(sessions)

        async def ask(path: str, body: dict[str, Any]) -> int:
            async with next(turns).post(base + path, json=body) as answer:
                await answer.read()
                return answer.status

        async def warm() -> None:
            async with next(turns).get(f"{base}/status") as answer:
                await answer.read()

        await asyncio.gather(*(warm() for _ in range(CONNECTIONS * len(sessions))))
        jobs = [{"name": f"{stem}-{number}", "command": "true", "agent": "beta"} for number in range(1, count)]
        first()
        work = [ask("/jobs/nightly/run", {}), *(ask("/jobs", job) for job in jobs)]
        return dict(Counter(await asyncio.gather(*work)))


def _look_at(pair: Pair, number: int, old: Node, new: Node, say: Say, ended: bool) -> Counter[str]:
    """The old master returns; its fork is listed on both nodes, exported, one run adopted, and at last deleted."""
    pair.wait("the standby to be master", new.is_master)
    old.program.start()
    fork = pair.wait("the fork in the master's list", partial(_listed, pair, new, number))
    name = fork["name"]
    runs = json.loads(pair.type(new, "understudy", "forks", "show", name, "--runs", "--json"))
    edits = json.loads(pair.type(new, "understudy", "forks", "show", name, "--edits", "--json"))
    assert fork["contents"] == "whole", fork
    assert (len(runs), len(edits)) == (fork["runs"], fork["edits"]), fork
    run = _only_run_of(runs, ended)
    _compare_with_export(pair, new, name, fork, runs, edits)
    _adopt_twice(pair, new, name, run, ended)
    _read_pages(new, name, run)
    pair.wait_healthy()
    shown = json.loads(pair.type(old, "understudy", "forks", "list", "--json"))
    assert name in [line["name"] for line in shown], "the standby's copy shows the fork too"
    made = sum(edit["action"] == "jobs.create" for edit in edits)
    say(f"  {fork['requests']} requests, {len(runs)} runs, {len(edits)} edits ({made} jobs made); run {run} adopted")
    if number > 2:
        new = _after_swap(pair, old, new, fork)
    _delete(pair, old, new, name)
    return Counter(requests=fork["requests"], runs=len(runs), edits=len(edits), adopted=1, deleted=1)


def _listed(pair: Pair, node: Node, number: int) -> dict[str, Any] | None:
    found = json.loads(pair.type(node, "understudy", "forks", "list", "--json"))
    kept = [line for line in found if line["state"] == "kept"]
    return kept[0] if kept else None


def _only_run_of(runs: list[dict[str, Any]], ended: bool) -> int:
    """The run that was asked for in the fork; with `ended` it ended there with exit code 3 and its output."""
    run = runs[-1]["run"]
    assert run["job"] == "nightly", runs
    if ended:
        assert (run["state"], run["exit_code"]) == ("failed", 3), run
        assert run["output_kept"] == run["output_bytes"] > 0, run
    return int(run["number"])


def _compare_with_export(
    pair: Pair, node: Node, name: str, fork: dict[str, Any], runs: list[Any], edits: list[Any]
) -> None:
    """The archive, fetched by the master from the node that keeps the fork, holds what the lists say."""
    target = pair.directory / f"{name}.tar"
    pair.type(node, "understudy", "forks", "export", name, "--to", str(target))
    with tarfile.open(target) as archive:
        files = {member.name.partition("/")[2]: member for member in archive.getmembers()}
        assert {"README.txt", "contents.json", "fork.json", "requests"} <= set(files), files
        held = json.load(archive.extractfile(files["contents.json"]))  # type: ignore[arg-type]  # it is a file
        sizes = archive.extractfile(files["requests"]).read()  # type: ignore[union-attr]  # it is a file
    assert [line["run"]["number"] for line in runs] == [run["number"] for run in held["run_list"]]
    assert [edit["id"] for edit in edits] == [edit["id"] for edit in held["edit_list"]]
    at = count = 0
    while at < len(sizes):
        at += 4 + int.from_bytes(sizes[at : at + 4], "big")
        count += 1
    assert count == fork["requests"], "the archive holds every request of the fork"


def _adopt_twice(pair: Pair, node: Node, name: str, run: int, ended: bool) -> None:
    """Twice is once; the entry says where it comes from, has the output, and nothing is run by it."""
    first, second = (
        json.loads(pair.type(node, "understudy", "forks", "adopt", name, str(run), "--reason", "books", "--json"))
        for _ in range(2)
    )
    assert first == second
    api = node.api
    history = [entry for entry in api.get("/api/v1/server-history") if entry["from_fork"] == name]
    api.close()
    assert [entry["id"] for entry in history] == [first["server_history"]]
    assert "books" in history[0]["why"]
    assert history[0]["output"] == ("the books are closed\n" if ended else "")


def _read_pages(node: Node, name: str, run: int) -> None:
    """People see it too: the alarm, the fork in Replication, its own page with the run on record."""
    api = node.api
    pages = {path: api.request("GET", path) for path in ("/messages", "/replication", f"/replication/forks/{name}")}
    api.close()
    assert [answer.status for answer in pages.values()] == [200, 200, 200]
    messages, replication, fork = (str(answer.value) for answer in pages.values())
    assert "returned with 1 run and" in messages
    assert f'href="/replication/forks/{name}"' in replication
    assert f'id="run-{run}"' in fork
    assert "on record" in fork


def _after_swap(pair: Pair, old: Node, new: Node, fork: dict[str, Any]) -> Node:
    """The node that keeps the fork is master now: it shows the same, and deletes it from its own directory."""
    pair.type(new, "understudy", "swap", "--yes")
    pair.wait("the swapped master", old.is_master)
    pair.wait_healthy()
    found = json.loads(pair.type(old, "understudy", "forks", "show", fork["name"], "--json"))
    same = ("name", "node", "requests", "runs", "edits", "contents")
    assert [found[word] for word in same] == [fork[word] for word in same], found
    return old


def _delete(pair: Pair, old: Node, new: Node, name: str) -> None:
    """Without the flag nothing happens and the refusal names it; with it the folder is gone from the node."""
    refusal = pair.type(new, "understudy", "forks", "delete", name, expect=2)
    assert "--yes-delete-the-only-copy" in refusal, refusal
    assert (old.data / "forks" / name).is_dir()
    pair.type(new, "understudy", "forks", "delete", name, "--yes-delete-the-only-copy", "--reason", "read")
    assert not (old.data / "forks" / name).exists()
    assert json.loads(pair.type(new, "understudy", "forks", "list", "--json")) == []
