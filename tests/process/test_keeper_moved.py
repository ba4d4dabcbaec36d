"""The agent's directory is moved while its jobs run."""

from __future__ import annotations

import os
from pathlib import Path

from tests.process.test_keeper import record, wait_for, watched


async def test_a_moved_directory_keeps_its_keeper(tmp_path: Path) -> None:
    """What ran ends with its exit code and output at the new place, and what begins there begins."""
    gate, there = tmp_path / "gate", tmp_path / "there"
    os.mkfifo(gate)
    first = record("first", f"echo before; touch {there}; read line < {gate}; exit 7")
    async with watched(tmp_path / "a") as agent:
        agent.runner.start(first)
        await wait_for(there)
    os.rename(tmp_path / "a", tmp_path / "b")
    async with watched(tmp_path / "b", first) as moved:
        gate.write_text("go\n")
        end = await moved.end(first)
        assert (end.exit_code, moved.output(first)) == (7, b"before\n")
        second = record("second", "echo after")
        moved.runner.start(second)
        assert (await moved.end(second)).exit_code == 0
        assert moved.output(second) == b"after\n"
    assert not (tmp_path / "a").exists()
