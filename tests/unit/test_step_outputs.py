"""What a step tells those after it: which lines of its file count, and that they are durable with its exit status."""

from __future__ import annotations

import json
import os
from pathlib import Path

from server.agent.child import Child, finish, write_status
from server.agent.output_file import OutputFile
from server.agent.process_tree import Tree
from server.core.step_outputs import OUTPUTS_BYTES_MAX, of_item, parse


def test_lines_that_are_no_variables_are_left_out() -> None:
    """The last line of a name counts; a value may hold anything but a NUL and a line's end."""
    text = b"A=1\nB=x = y\nA=2\n\nno line\n9=x\nUNDERSTUDY_STEP=z\nBAD=\xff\nNUL=\0\nEMPTY=\nLAST=no newline"
    assert parse(text) == {"A": "2", "B": "x = y", "EMPTY": "", "LAST": "no newline"}


def test_what_is_behind_the_bound_is_not_kept() -> None:
    """A line that the bound cuts is left out whole."""
    line = b"K%03d=" + b"x" * 994 + b"\n"
    found = parse(b"".join(line % number for number in range(100)))
    assert len(found) == OUTPUTS_BYTES_MAX // 1000
    assert all(len(value) == 994 for value in found.values())


def test_items_have_their_number_behind_the_name() -> None:
    """Only of a step with `for_each`."""
    assert of_item({"A": "1"}, 3, True) == {"A_3": "1"}
    assert of_item({"A": "1"}, 0, False) == {"A": "1"}


def test_outputs_are_in_the_status_file(tmp_path: Path) -> None:
    """So they are there exactly when the exit status is."""
    (tmp_path / "outputs").write_text("SIZE=7\n")
    reading, writing = os.pipe()
    os.close(writing)
    child = Child("j1.rx.a1", None, reading, OutputFile(tmp_path, 100, lambda: True), 1, tmp_path, Tree("j1.rx.a1"))
    child.ended = (0, None)
    write_status(tmp_path, finish(child))
    os.close(reading)
    assert json.loads((tmp_path / "status").read_text())["outputs"] == {"SIZE": "7"}
