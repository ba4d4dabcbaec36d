"""What CI says of test files that pass, fail, crash or hang."""

from __future__ import annotations

from pathlib import Path

import pytest

from server.agent.platform import is_same_process
from tests.by_file import main, run_file

PASSES = "def test_it():\n    pass\n"
FAILS = "def test_it():\n    assert 1 == 2\n"
CRASHES = "import os\n\n\ndef test_it():\n    os._exit(70)\n"
HANGS = "import threading\n\n\ndef test_it():\n    threading.Event().wait()\n"
LEAVES = """import subprocess


def test_it():
    with open({note!r}, "w") as note:
        subprocess.run(["/bin/sh", "-c", "sleep 100 & echo $!"], stdout=note, start_new_session=True)
"""
FAILS_ONCE = """from pathlib import Path


def test_it():
    mark = Path(__file__).with_suffix(".mark")
    was_there = mark.exists()
    mark.touch()
    assert was_there
"""


def written(folder: Path, text: str) -> Path:
    """A file with one test."""
    file = folder / "test_made.py"
    file.write_text(text)
    return file


def test_a_file_that_passes_or_fails_says_so(tmp_path: Path) -> None:
    """The exit code of pytest is the file's, and its words are kept."""
    assert run_file(written(tmp_path, PASSES), tmp_path).passed
    failed = run_file(written(tmp_path, FAILS), tmp_path)
    assert (failed.passed, failed.code) == (False, 1)
    assert "assert 1 == 2" in failed.said


def test_a_file_that_ends_its_process_has_failed(tmp_path: Path) -> None:
    """A crash is a failed file with its exit code, not a silence."""
    assert run_file(written(tmp_path, CRASHES), tmp_path).code == 70


def test_a_file_that_hangs_is_ended_and_says_where(tmp_path: Path) -> None:
    """After its time a file is ended; the stack of the waiting thread is printed."""
    hung = run_file(written(tmp_path, HANGS), tmp_path, bound_s=4.0)
    assert not hung.passed
    assert "test_made.py" in hung.said
    assert "ended after 4 s" in hung.said


def test_what_a_file_leaves_behind_is_ended(tmp_path: Path) -> None:
    """Also a process that has left group and session; it is told, and nothing else is ended."""
    note = tmp_path / "note"
    result = run_file(written(tmp_path, LEAVES.format(note=str(note))), tmp_path)
    assert result.passed
    assert result.left == ("sleep 100",)
    assert not is_same_process(int(note.read_text()), None)


@pytest.mark.parametrize(("text", "code"), [(PASSES, 0), (CRASHES, 1), (FAILS_ONCE, 0)])
def test_what_fails_beside_others_has_to_pass_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, code: int
) -> None:
    """Green needs every file to pass, at the latest the second time; a first failure is said."""
    assert main([str(written(tmp_path, text))]) == code
    said = capsys.readouterr().out
    assert ("Once more, alone" in said) == (text != PASSES)
    assert ("failed alone too" in said) == (code == 1)
