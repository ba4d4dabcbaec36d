"""The operator's fence command: what it is told, what counts as success, and that it ends."""

from __future__ import annotations

import time
from pathlib import Path

import psutil

from replication.core.types import Epoch
from server.fence import FenceCommand

OLD = "a" * 32


def script(folder: Path, text: str) -> str:
    """An executable shell script; returns its command line."""
    path = folder / "fence.sh"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


async def test_the_command_is_told_whom_to_fence(tmp_path: Path) -> None:
    """Node, address and epoch of the old master are in its environment, its own arguments stay one word each."""
    line = 'echo "$UNDERSTUDY_FENCE_NODE $UNDERSTUDY_FENCE_ADDRESS $UNDERSTUDY_FENCE_EPOCH $1"'
    command = FenceCommand(f"{script(tmp_path, line)} 'socket 3'", 5.0)
    held, said = await command.fence(OLD, "192.0.2.7:8009", Epoch(5, OLD))
    assert (held, said) == (True, f"{OLD} 192.0.2.7:8009 5 socket 3")


async def test_any_other_exit_code_is_a_failure_with_its_last_line(tmp_path: Path) -> None:
    """What the command printed last, also on stderr, is what people read."""
    command = FenceCommand(script(tmp_path, "echo one; echo no route to the switch >&2; echo; exit 3"), 5.0)
    held, said = await command.fence(OLD, "", Epoch(5, OLD))
    assert (held, said) == (False, "it exited with 3. Its last line: no route to the switch")


async def test_a_command_that_does_not_end_is_killed_with_its_children(tmp_path: Path) -> None:
    """Bounded: the promotion is refused, and nothing goes on switching machines off behind its back."""
    pid = tmp_path / "pid"
    command = FenceCommand(script(tmp_path, f"sleep 60 & echo $! > {pid}; wait"), 0.5)
    held, said = await command.fence(OLD, "", Epoch(5, OLD))
    assert (held, said) == (False, "it did not end within 0.5 s.")
    child = int(pid.read_text())
    deadline = time.monotonic() + 5
    while psutil.pid_exists(child) and psutil.Process(child).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline, "a child of the fence command lives on"


async def test_a_program_that_is_gone_is_a_failure(tmp_path: Path) -> None:
    """Removed after the start: said, not raised."""
    held, said = await FenceCommand(str(tmp_path / "gone"), 5.0).fence(OLD, "", Epoch(5, OLD))
    assert not held
    assert "No such file" in said
