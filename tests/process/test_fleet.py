"""Master and agent together: a real store and fleet, a real agent process, real jobs."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from replication.core.types import Epoch
from replication.core.witness import Claim
from server.actions import agents, gates, history, runs
from server.actions.jobs import When
from server.office import agent_tickets, fleet
from server.storage import agents as agent_rows
from server.storage import gates as gate_rows
from server.storage import jobs as job_rows
from server.storage import missed as missed_rows
from server.storage import orders as order_rows
from server.storage import runs as run_rows
from server.storage import server_history, settings, system_messages
from tests.process.agent_master import AGENT, AgentProcess
from tests.process.fleet_office import BOSS, NODE, OfficeUnderTest, now_us, office
from tests.process.programs import until_there

QUARANTINED = lambda c: agent_rows.get(c, AGENT).quarantined_at_us  # noqa: E731 - a query in one line


def ended(key: str):
    return lambda c: (run := run_rows.by_key(c, key)) is not None and run.ended_at_us and run


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


@contextlib.asynccontextmanager
async def pair(tmp_path: Path) -> AsyncIterator[tuple[OfficeUnderTest, AgentProcess]]:
    """An office and its one agent, admitted."""
    async with office(tmp_path / "node") as desk:
        await desk.enrol(AGENT, "alpha")
        agent = AgentProcess(tmp_path / "agent", {NODE: f"127.0.0.1:{desk.port}"})
        try:
            await agent.start()
            await desk.until(lambda c: agent_rows.get(c, AGENT).ticket_confirmed > 0)
            yield desk, agent
        finally:
            await agent.end()
            if keeper := agent.keeper_pid():
                os.kill(keeper, signal.SIGKILL)


async def test_run_now_goes_all_the_way_and_its_output_is_an_object(tmp_path: Path) -> None:
    """Submitted, dispatched, begun, ended: exit code in the row, output byte for byte in the replicated object."""
    async with pair(tmp_path) as (desk, _):
        await desk.job("hello", "printf 'a\\377b'; exit 5", "alpha")
        run = await desk.write(runs.run_now("hello", "one", BOSS, now_us()))
        run = await desk.until(ended(run.key))
        assert (run.state, run.exit_code, run.signal) == ("failed", 5, None)
        assert run.started_at_us is not None
        await desk.until(lambda c: run_rows.by_key(c, run.key).output_bytes == 3)
        assert desk.store.object_path(f"run-{run.number}").read_bytes() == b"a\xffb"


async def test_a_ticket_advances_and_a_setting_arrives_while_an_agent_is_connected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """BEY-4: after something happened the next number is durable on both sides; idle, it stays."""
    monkeypatch.setattr(agent_tickets, "TICKET_S", 0.05)
    async with pair(tmp_path) as (desk, _):
        await desk.job("hello", "true", "alpha")
        first = (await desk.read(lambda c: agent_rows.get(c, AGENT))).ticket
        await desk.write(runs.run_now("hello", "one", BOSS, now_us()))
        await desk.until(lambda c: (row := agent_rows.get(c, AGENT)).ticket == row.ticket_confirmed > first)
        await desk.write(agents.set_start_alone("alpha", True, BOSS, now_us()))
        async with asyncio.timeout(20):
            while not desk.fleet.contact(AGENT).start_alone:
                await asyncio.sleep(0.05)


async def test_five_megabytes_of_output_arrive_whole_and_more_is_cut_in_the_middle(tmp_path: Path) -> None:
    """Chunks at offsets: equal bytes at both ends; above the bound head and tail are kept and the cut is marked."""
    async with pair(tmp_path) as (desk, _):
        make = "head -c 5242880 /dev/zero | tr '\\0' x; echo END"
        await desk.job("big", make, "alpha")
        await desk.job("bounded", f"echo START; {make}", "alpha", output_bytes_max=65536)
        for name in ("big", "bounded"):
            run = await desk.write(runs.run_now(name, "one", BOSS, now_us()))
            run = await desk.until(ended(run.key))
            await desk.until(lambda c, k=run.key: run_rows.by_key(c, k).output_bytes > 65000)
            path = desk.store.object_path(f"run-{run.number}")
            if name == "big":
                await desk.until(lambda c, k=run.key: run_rows.by_key(c, k).output_bytes == 5242884)
                assert path.read_bytes() == b"x" * 5242880 + b"END\n"
                assert not run.output_cut
            else:
                kept = path.read_bytes()
                assert run.output_cut
                assert kept.startswith(b"START\nxxx")
                assert kept.endswith(b"xxxEND\n")
                assert b"bytes were cut here" in kept


async def test_a_cron_job_runs_by_standing_order(tmp_path: Path) -> None:
    """JS7-1, JS7-2: the order is acknowledged with its validity, its instants become runs with their due times."""
    async with pair(tmp_path) as (desk, _):
        await desk.job("often", "true", "alpha", schedules=[When("* * * * * *")])
        await desk.until(lambda c: order_rows.autonomous_until_us(c, AGENT))
        await desk.until(lambda c: len(run_rows.page(c, None, "succeeded")) >= 2)
        found = await desk.read(lambda c: run_rows.page(c, None, "succeeded"))
        due = [line.scheduled_for_us for line in found]
        assert len(set(due)) == len(due)
        assert all(at is not None and at % 1_000_000 == 0 for at in due)


async def test_lock_holds_with_a_reason_and_unlock_lets_go_in_order(tmp_path: Path) -> None:
    """SKY-2: Locked once the agent has acknowledged; due instants wait at the agent with the reason, none is lost."""
    async with pair(tmp_path) as (desk, _):
        summary = await desk.write(gates.lock_all(BOSS, now_us()))
        await desk.until(lambda c: agent_rows.get(c, AGENT).gates_acknowledged == summary.revision)
        await desk.job("often", "true", "alpha", schedules=[When("* * * * * *")])
        await desk.until(lambda c: len(run_rows.page(c, None, "waiting")) >= 2)
        waiting = await desk.read(lambda c: run_rows.page(c, None, "waiting"))
        assert {line.reason for line in waiting} == {"queue locked"}
        assert not await desk.read(lambda c: run_rows.page(c, None, "succeeded"))
        await desk.write(gates.unlock_all(BOSS, now_us()))
        keys = {line.key for line in waiting}
        await desk.until(lambda c: all(run_rows.by_key(c, key).state == "succeeded" for key in keys))
        starts = [(await desk.run(key)).started_at_us for key in sorted(keys)]
        assert starts == sorted(starts)


async def test_a_stopped_scheduler_suppresses_and_says_so(tmp_path: Path) -> None:
    """BEY-9: what was due while the scheduler was stopped is in the ledger with its cause, and nothing began."""
    async with pair(tmp_path) as (desk, _):
        summary = await desk.write(gates.stop_scheduler(BOSS, now_us()))
        await desk.until(lambda c: agent_rows.get(c, AGENT).gates_acknowledged == summary.revision)
        await desk.job("often", "true", "alpha", schedules=[When("* * * * * *")])
        await desk.until(lambda c: missed_rows.count_open(c) >= 2)
        causes = {row.cause for row in await desk.read(lambda c: missed_rows.open_rows(c))}
        assert causes == {"scheduler stopped"}
        assert await desk.read(lambda c: run_rows.page(c)) == []


async def test_cancel_and_kill_reach_the_process(tmp_path: Path) -> None:
    """A request is a row; the agent ends the tree and says by whose wish."""
    async with pair(tmp_path) as (desk, _):
        began = tmp_path / "began"
        await desk.job("long", f"touch {began}; sleep 300", "alpha")
        run = await desk.write(runs.run_now("long", "one", BOSS, now_us()))
        await desk.until(lambda c: run_rows.by_key(c, run.key).state == "running" and began.exists())
        await desk.write(runs.cancel(run.number, BOSS, now_us()))
        run = await desk.until(ended(run.key))
        assert (run.state, run.signal, run.reason) == ("killed", signal.SIGTERM, "cancelled by boss")


async def test_a_new_office_marks_unknown_and_learns_the_truth(tmp_path: Path) -> None:
    """SKY-8: the agent ends a job while nobody is in office; the next office has its exit code."""
    proof = tmp_path / "ran"
    async with pair(tmp_path) as (desk, _):
        await desk.job("swap", f"echo $UNDERSTUDY_RUN_ID >> {proof}; sleep 0.4; exit 6", "alpha")
        run = await desk.write(runs.run_now("swap", "one", BOSS, now_us()))
        await desk.until(lambda c: run_rows.by_key(c, run.key).state == "running")
        await desk.leave()
        await asyncio.sleep(0.6)
        await desk.take(2)
        found = await desk.until(ended(run.key))
        assert (found.state, found.exit_code) == ("failed", 6)
        assert lines(proof) == [run.key]
        await desk.until(lambda c: agent_rows.get(c, AGENT).reconciled_epoch == 2)


async def test_what_was_marked_as_sent_and_never_arrived_is_given_again_once(tmp_path: Path) -> None:
    """A `starting` run of an earlier office is unknown until the agent's inventory frees it; then it runs once."""
    proof = tmp_path / "ran"
    async with pair(tmp_path) as (desk, agent):
        await desk.job("lost", f"echo $UNDERSTUDY_RUN_ID >> {proof}", "alpha")
        await agent.end()
        await desk.until(lambda c: desk.links.get(AGENT) is None)
        run = await desk.write(runs.run_now("lost", "one", BOSS, now_us()))
        await desk.write(lambda t: run_rows.update(t.connection, run.number, dispatched_epoch=1))
        await desk.leave()
        await desk.take(2)
        assert (await desk.run(run.key)).state == "unknown"
        await agent.start()
        found = await desk.until(ended(run.key))
        assert found.state == "succeeded"
        assert lines(proof) == [run.key]


async def test_a_cloned_agent_is_quarantined_and_accept_restored_ends_it(tmp_path: Path) -> None:
    """BEY-4: a copy of the directory connects: nothing begins at either, the reason names the command that helps."""
    async with pair(tmp_path) as (desk, agent):
        await desk.job("hello", "true", "alpha")
        clone_data = tmp_path / "clone"
        shutil.copytree(agent.data, clone_data, ignore=shutil.ignore_patterns("*.sock", "keeper.*", "*.log"))
        clone = AgentProcess(clone_data, {NODE: f"127.0.0.1:{desk.port}"})
        try:
            await clone.start()
            await desk.until(QUARANTINED)
            row = await desk.read(lambda c: agent_rows.get(c, AGENT))
            assert "understudy agent accept-restored alpha" in row.quarantine_reason
            run = await desk.write(runs.run_now("hello", "one", BOSS, now_us()))
            await asyncio.sleep(1.0)
            assert (await desk.run(run.key)).started_at_us is None
        finally:
            await clone.end()
            if keeper := clone.keeper_pid():
                os.kill(keeper, signal.SIGKILL)
        await desk.accept_restored("alpha")
        found = await desk.until(ended(run.key), 30)
        assert found.state == "succeeded"


async def test_a_completion_that_no_run_explains_goes_to_server_history(tmp_path: Path) -> None:
    """SKY-11: an office that lost its last writes gets results of a job it never had: kept with output and code."""
    async with pair(tmp_path) as (desk, agent):
        await desk.job("gone", "sleep 0.5; echo evidence; exit 4", "alpha")
        run = await desk.write(runs.run_now("gone", "one", BOSS, now_us()))
        await desk.until(lambda c: run_rows.by_key(c, run.key).state == "running")
        await agent.end()

        def lose(transaction) -> None:
            for table in ("runs", "orders", "schedules", "jobs"):
                transaction.connection.execute(f"DELETE FROM {table}")

        await desk.write(lose)
        await agent.start()
        entry = await desk.until(
            lambda c: (e := server_history.by_key(c, run.key)) is not None and e.ended_at_us and e.output and e
        )
        assert (entry.exit_code, entry.output, entry.agent_id) == (4, b"evidence\n", AGENT)
        assert not await desk.read(lambda c: job_rows.by_name(c, "gone"))


async def test_an_adopted_completion_is_in_job_history_once_however_often_its_agent_tells_of_it(tmp_path: Path) -> None:
    """SKY-11: adopted with output and code; a new master, to which the agent sends everything again, has one run."""
    async with pair(tmp_path) as (desk, agent):
        desk.in_sync = False
        await desk.job("gone", "sleep 0.5; echo evidence; exit 4", "alpha")
        run = await desk.write(runs.run_now("gone", "one", BOSS, now_us()))
        await desk.until(lambda c: run_rows.by_key(c, run.key).state == "running")
        await agent.end()

        def lose(transaction) -> None:
            for table in ("runs", "orders", "schedules", "jobs"):
                transaction.connection.execute(f"DELETE FROM {table}")

        await desk.write(lose)
        await agent.start()
        entry = await desk.until(
            lambda c: (e := server_history.by_key(c, run.key)) is not None and e.ended_at_us and e.output and e
        )
        await desk.job("kept", "true", "alpha")
        done = await desk.write(history.adopt(entry.id, "kept", BOSS, now_us()))
        assert (done.key, done.made) == (run.key, True)
        await desk.leave()
        desk.in_sync = True
        await desk.take(2)
        again = await desk.write(runs.run_now("kept", "two", BOSS, now_us()))
        await desk.until(ended(again.key))
        found = await desk.run(run.key)
        assert (found.number, found.state, found.exit_code, found.output_bytes) == (done.run, "failed", 4, 9)
        assert desk.store.object_path(f"run-{found.number}").read_bytes() == b"evidence\n"
        assert await desk.read(lambda c: c.execute("SELECT count(*) FROM runs").fetchone()[0]) == 2
        assert await desk.read(lambda c: c.execute("SELECT count(*) FROM server_history").fetchone()[0]) == 1


async def test_a_gate_that_only_the_agent_has_is_adopted(tmp_path: Path) -> None:
    """An office that lost the lock takes it from the agent, which still obeys it."""
    async with pair(tmp_path) as (desk, agent):
        summary = await desk.write(gates.lock("alpha", BOSS, now_us()))
        await desk.until(lambda c: agent_rows.get(c, AGENT).gates_acknowledged == summary.revision)
        await agent.end()

        def lose(transaction) -> None:
            transaction.connection.execute("DELETE FROM gates")
            transaction.connection.execute("DELETE FROM gate_changes")
            transaction.connection.execute("UPDATE agents SET gates_acknowledged = 0")
            settings.put(transaction.connection, settings.GATE_REVISION, "0")

        await desk.write(lose)
        await agent.start()
        await desk.until(lambda c: gate_rows.get(c, "queue_locked", AGENT))
        assert await desk.read(settings.gate_revision) > summary.revision


async def test_a_witness_agent_grants_through_the_links(tmp_path: Path) -> None:
    """The majority of one: granted by the agent's durable record, refused for a lower epoch, silent when it is dead."""
    async with pair(tmp_path) as (desk, agent):
        desk.witnesses = [AGENT]
        high, low = Epoch(9, NODE), Epoch(8, "c" * 32)
        verdict = await desk.asked.grant(Claim(high, Epoch(1, NODE), 1))
        assert verdict.has_majority
        assert await desk.asked.record_alone(high, NODE, 1)
        refused = await desk.asked.grant(Claim(low, Epoch(1, NODE), 1))
        assert (refused.answered, refused.granted, refused.highest, refused.alone) == (1, 0, high, NODE)
        await agent.end()
        silent = await desk.asked.grant(Claim(Epoch(10, NODE), high, 1))
        assert (silent.asked, silent.answered, silent.has_majority) == (1, 0, False)


async def test_a_restored_snapshot_is_quarantined_and_does_not_catch_up(tmp_path: Path) -> None:
    """An old copy of the directory shows an old connection; once accepted it runs new work and repeats nothing."""
    proof = tmp_path / "ran"
    async with pair(tmp_path) as (desk, agent):
        await desk.job("hello", f"echo $UNDERSTUDY_RUN_ID >> {proof}", "alpha")
        await agent.end(signal.SIGTERM)
        snapshot = tmp_path / "snapshot"
        shutil.copytree(agent.data, snapshot, ignore=shutil.ignore_patterns("*.sock", "keeper.*"))
        for turn in (2, 3):
            await agent.start()
            await desk.until(lambda c, n=turn: agent_rows.get(c, AGENT).ticket_confirmed == n)
            await agent.end(signal.SIGTERM)
        shutil.rmtree(agent.data)
        shutil.copytree(snapshot, agent.data)
        await agent.start()
        await desk.until(QUARANTINED)
        run = await desk.write(runs.run_now("hello", "one", BOSS, now_us()))
        await desk.accept_restored("alpha")
        found = await desk.until(ended(run.key), 30)
        assert found.state == "succeeded"
        assert lines(proof) == [run.key]


async def test_a_clock_one_hour_off_is_said_and_only_standing_orders_stop(tmp_path: Path) -> None:
    """The message names the command; a dispatch still runs; with the clock set right instants begin again."""
    async with pair(tmp_path) as (desk, agent):
        await agent.end()
        await agent.start(UNDERSTUDY_TEST_CLOCK_OFFSET_S="3600")
        text = await desk.until(
            lambda c: next((m.text for m in system_messages.page(c) if "timedatectl" in m.text), None)
        )
        assert text.startswith("alpha starts nothing by itself")
        await desk.job("often", "true", "alpha", schedules=[When("* * * * * *")])
        await desk.job("hello", "exit 2", "alpha")
        run = await desk.write(runs.run_now("hello", "one", BOSS, now_us()))
        assert (await desk.until(ended(run.key))).exit_code == 2
        assert await desk.read(lambda c: run_rows.page(c, None, "succeeded")) == []
        await agent.end()
        await agent.start()
        await desk.until(lambda c: run_rows.page(c, None, "succeeded"))


async def test_a_silent_agents_run_is_unknown_until_it_speaks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not missed and not lost: unknown with the reason, and then what really became of it."""
    monkeypatch.setattr(fleet, "SILENT_S", 0.2)
    async with pair(tmp_path) as (desk, agent):
        gate = tmp_path / "gate"
        await desk.job("long", f"{until_there(gate)}; exit 8", "alpha")
        run = await desk.write(runs.run_now("long", "one", BOSS, now_us()))
        await desk.until(lambda c: run_rows.by_key(c, run.key).state == "running")
        await agent.end()
        await desk.until(lambda c: run_rows.by_key(c, run.key).state == "unknown")
        assert (await desk.run(run.key)).reason == "its agent is silent"
        await agent.start()
        await desk.until(lambda c: run_rows.by_key(c, run.key).state == "running")
        gate.touch()
        assert (await desk.until(ended(run.key))).exit_code == 8
