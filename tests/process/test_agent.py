"""A real agent process and real jobs: JS7-1, JS7-3, SMA-4, BEY-4 as seen from the machine."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from pathlib import Path

from replication.core.types import Epoch
from server.agent.platform import is_same_process
from server.core import agent_wire as wire
from tests.process.agent_master import NODE, AgentMaster, AgentProcess, master_and_agent, now_us, spec
from tests.process.programs import until_there


def key(name: str) -> str:
    return f"j1.r{name}.a1"


def ran(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


async def test_a_dispatched_run_reports_begin_output_and_exit_code(tmp_path: Path) -> None:
    """One run: intent, output byte for byte, exit code, environment of the run and none of the agent's."""
    async with master_and_agent(tmp_path) as (master, _):
        command = 'echo "$UNDERSTUDY_RUN_ID $UNDERSTUDY_JOB $UNDERSTUDY_EPOCH [$UNDERSTUDY_DATA]"; exit 7'
        await master.say(wire.Dispatch(key("one"), spec(command)))
        await master.until(lambda: master.end(key("one")))
        end = master.end(key("one"))
        assert end is not None
        assert (end.exit_code, end.signal, end.cause) == (7, None, "")
        assert bytes(master.outputs[key("one")]) == b"j1.rone.a1 job 1 []\n"
        assert master.bodies(wire.Begun, key("one"))


async def test_kill_9_of_the_agent_loses_neither_exit_code_nor_output_and_runs_nothing_twice(
    tmp_path: Path,
) -> None:
    """JS7-3: while the agent is dead the job ends; the next start of the agent reports it, once."""
    proof = tmp_path / "ran"
    async with master_and_agent(tmp_path) as (master, agent):
        await master.say(wire.Dispatch(key("k"), spec(f"echo k >> {proof}; sleep 0.6; echo done; exit 3")))
        await master.until(lambda: master.bodies(wire.Begun, key("k")))
        while not ran(proof):
            await asyncio.sleep(0.01)
        await agent.end()
        await agent.start()
        await master.until(lambda: master.end(key("k")))
        end = master.end(key("k"))
        assert end is not None
        assert (end.exit_code, end.signal, end.cause) == (3, None, "")
        await master.until(lambda: master.outputs.get(key("k")) == b"done\n")
        await master.say(wire.Dispatch(key("k"), spec(f"echo k >> {proof}")))
        await master.say(wire.Dispatch(key("after"), spec("true")))
        await master.until(lambda: master.end(key("after")))
        assert ran(proof) == ["k"]


async def test_kill_9_at_many_moments_every_run_begins_exactly_once(tmp_path: Path) -> None:
    """JS7-3: dispatches under a series of kill -9; each key is in the jobs' own file once, each has its exit code."""
    proof = tmp_path / "ran"
    async with master_and_agent(tmp_path) as (master, agent):
        keys = []
        for turn in range(6):
            batch = [key(f"t{turn}-{n}") for n in range(5)]
            keys += batch
            for name in batch:
                await master.say(wire.Dispatch(name, spec(f"echo {name} >> {proof}; exit 4")))
            await asyncio.sleep(0.015 * turn)
            await agent.end()
            await agent.start()
            connections = turn + 2
            await master.until(lambda n=connections: sum(isinstance(m, wire.TicketKept) for m in master.messages) >= n)
            # A master gives again what the inventory did not name: nothing of it had begun.
            named = {note.key for note in master.presented[-1].runs}
            ended = {r.key for r in master.reports.values() if isinstance(r.body, wire.Ended)}
            for name in batch:
                if name not in named and name not in ended:
                    await master.say(wire.Dispatch(name, spec(f"echo {name} >> {proof}; exit 4")))
        await master.until(lambda: all(master.end(name) for name in keys), 40)
        assert sorted(ran(proof)) == sorted(keys)
        ends = [master.end(name) for name in keys]
        assert {(e.exit_code, e.cause) for e in ends if e} == {(4, "")}


async def test_sigterm_leaves_running_jobs_and_the_next_start_adopts_them(tmp_path: Path) -> None:
    """SMA-4: a clean stop is exit 0 and ends no job; its end is reported by the next agent."""
    gate = tmp_path / "gate"
    async with master_and_agent(tmp_path) as (master, agent):
        await master.say(wire.Dispatch(key("s"), spec(f"{until_there(gate)}; exit 9")))
        await master.until(lambda: master.bodies(wire.Begun, key("s")))
        while not (agent.data / "runs" / key("s") / "pid").exists():
            await asyncio.sleep(0.01)
        assert await agent.end(signal.SIGTERM) == 0
        await agent.start()
        await master.until(lambda: len(master.presented) == 2)
        assert [(n.key, n.state) for n in master.presented[1].runs] == [(key("s"), "running")]
        gate.touch()
        await master.until(lambda: master.end(key("s")))
        end = master.end(key("s"))
        assert end is not None
        assert end.exit_code == 9


async def test_standing_orders_go_on_without_a_master(tmp_path: Path) -> None:
    """JS7-1: with every link cut the instants begin on time; afterwards each result arrives exactly once."""
    proof = tmp_path / "ran"
    async with master_and_agent(tmp_path) as (master, _):
        first = (now_us() // 1_000_000 + 2) * 1_000_000
        order = wire.StandingOrder(
            1,
            5,
            1,
            now_us(),
            now_us() + 3_600_000_000,
            ((first, 1_000_000, 3),),
            spec(f"echo $UNDERSTUDY_SCHEDULED_FOR >> {proof}"),
        )
        await master.say(wire.GiveOrder(order))
        await master.until(lambda: wire.OrderKept(1, 1) in master.messages)
        await master.stop()
        while len(ran(proof)) < 3:
            await asyncio.sleep(0.05)
        assert not master.reports
        await master.start()
        await master.until(lambda: len(master.bodies(wire.Ended)) == 3)
        assert len(set(ran(proof))) == 3
        assert not master.doubled


async def test_a_locked_queue_holds_and_unlock_begins_in_order(tmp_path: Path) -> None:
    """SKY-2: the gate is acknowledged, what comes is held with its reason, and begins in order at unlock."""
    proof = tmp_path / "ran"
    async with master_and_agent(tmp_path) as (master, _):
        await master.say(wire.SetGates(wire.GateSet(3, ("queue_locked",))))
        await master.until(lambda: wire.GatesKept(3) in master.messages)
        for name in ("x", "y"):
            await master.say(wire.Dispatch(key(name), spec(f"echo {name} >> {proof}")))
        await master.until(lambda: len(master.bodies(wire.Held)) == 2)
        assert {held.reason for held in master.bodies(wire.Held)} == {"queue locked"}
        assert not proof.exists()
        await master.say(wire.SetGates(wire.GateSet(4, ())))
        await master.until(lambda: master.end(key("x")) and master.end(key("y")))
        begun = [r.key for r in master.reports.values() if isinstance(r.body, wire.Begun)]
        assert begun == [key("x"), key("y")]


async def test_a_stale_master_is_refused_and_the_refusal_is_told(tmp_path: Path) -> None:
    """BEY-4: after epoch 5 was obeyed, epoch 4 and epoch 5 of another node are refused, over kill -9 too."""
    proof = tmp_path / "ran"
    async with master_and_agent(tmp_path) as (master, agent):
        await master.say(wire.Office(NODE, "master", Epoch(5, NODE), now_us()))
        await master.until(lambda: any(p.epoch.number == 5 for p in master.presented))
        await agent.end()
        master.epoch = Epoch(4, NODE)
        await agent.start()
        refused = wire.EpochRefused(Epoch(4, NODE), Epoch(5, NODE))
        await master.until(lambda: refused in master.messages)
        await master.say(wire.Dispatch(key("stale"), spec(f"echo stale >> {proof}")))
        await master.say(wire.Office(NODE, "master", Epoch(6, NODE), now_us()))
        await master.until(lambda: any(p.epoch.number == 6 for p in master.presented))
        await master.say(wire.Dispatch(key("fresh"), spec(f"echo fresh >> {proof}")))
        await master.until(lambda: master.end(key("fresh")))
        assert ran(proof) == ["fresh"]
        assert any("epoch 4" in str(body) or "4/" in str(body) for body in master.bodies(wire.Trouble))


async def test_a_copy_of_the_directory_runs_nothing_on_its_own(tmp_path: Path) -> None:
    """A copied agent, started without any master on the same boot: each instant runs once, at the original alone."""
    proof = tmp_path / "ran"
    async with master_and_agent(tmp_path) as (master, agent):
        first = (now_us() // 1_000_000 + 1) * 1_000_000
        instants = ((first, 1_000_000, 600),)
        command = f"echo $UNDERSTUDY_RUN_ID >> {proof}"
        order = wire.StandingOrder(1, 5, 1, now_us(), now_us() + 3_600_000_000, instants, spec(command))
        await master.say(wire.GiveOrder(order))
        await master.until(lambda: wire.OrderKept(1, 1) in master.messages)
        while not ran(proof):
            await asyncio.sleep(0.05)
        await master.stop()
        await agent.end()
        copied = AgentProcess(tmp_path / "copy", {NODE: f"127.0.0.1:{master.port}"})
        shutil.copytree(agent.data, copied.data, ignore=shutil.ignore_patterns("*.sock", "lock"), dirs_exist_ok=True)
        try:
            await copied.start()
            while copied.keeper_pid() is None:
                await asyncio.sleep(0.05)
            await agent.start()
            before = len(ran(proof))
            while len(set(ran(proof))) < before + 4:
                await asyncio.sleep(0.05)
            assert len(ran(proof)) == len(set(ran(proof)))
        finally:
            await copied.end()
            keeper = copied.keeper_pid()
            if keeper is not None:
                os.kill(keeper, signal.SIGKILL)


async def test_a_witness_answers_durably_on_a_standbys_link(tmp_path: Path) -> None:
    """A claim is granted once and remembered over kill -9: a lower claim is refused afterwards."""
    standby = AgentMaster(node="d" * 32, role="standby")
    await standby.start()
    try:
        async with master_and_agent(tmp_path) as (master, agent):
            roster = {NODE: f"127.0.0.1:{master.port}", standby.node: f"127.0.0.1:{standby.port}"}
            await master.say(wire.Office(NODE, "master", master.epoch, now_us(), roster))
            await standby.until(lambda: standby.messages)
            claim = Epoch(2, standby.node)
            await standby.say(wire.AskGrant(1, claim, Epoch(1, NODE), 10))
            await standby.until(lambda: any(isinstance(m, wire.WitnessSays) for m in standby.messages))
            await agent.end()
            await agent.start()
            await standby.until(lambda: sum(isinstance(m, wire.Hello) for m in standby.messages) == 2)
            await standby.say(wire.AskGrant(2, Epoch(1, standby.node), Epoch(1, NODE), 10))
            await standby.until(lambda: sum(isinstance(m, wire.WitnessSays) for m in standby.messages) == 2)
            answers = [m for m in standby.messages if isinstance(m, wire.WitnessSays)]
            assert [(a.question, a.granted) for a in answers] == [(1, True), (2, False)]
            assert answers[1].epoch == claim
    finally:
        await standby.stop()


async def test_stop_ends_the_whole_tree_of_a_run(tmp_path: Path) -> None:
    """A child that left the process group by setsid dies with its run; the cause is what was asked for."""
    note = tmp_path / "child"
    async with master_and_agent(tmp_path) as (master, _):
        command = f"setsid sh -c 'echo $$ > {note}; exec sleep 300' & wait"
        await master.say(wire.Dispatch(key("tree"), spec(command)))
        while not ran(note):
            await asyncio.sleep(0.01)
        await master.say(wire.StopRun(key("tree"), kill=True))
        await master.until(lambda: master.end(key("tree")))
        end = master.end(key("tree"))
        assert end is not None
        assert (end.signal, end.cause) == (signal.SIGKILL, "killed")
        child = int(ran(note)[0])
        while is_same_process(child, None):
            await asyncio.sleep(0.01)
