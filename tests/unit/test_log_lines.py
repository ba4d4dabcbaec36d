"""What is written to the log: one line for each thing said, and no secrets that a defect had in its hands."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys

PROGRAM = """
import sys
import structlog
from server.log_lines import configure_log
{terminal}
configure_log("info")
def asked(password):
    raise RuntimeError("a defect")
try:
    asked("sentinel" + "-password")
except RuntimeError as error:
    structlog.get_logger().error("it failed", path="/x\\nforged line", exc_info=error)
structlog.get_logger().info("done", user="a\\r\\nb")
"""


def said(terminal: bool) -> str:
    """What the program logs to a pipe, or to what it takes for a terminal."""
    text = PROGRAM.format(terminal="sys.stderr.isatty = lambda: True" if terminal else "")
    done = subprocess.run(
        [sys.executable, "-c", text], capture_output=True, text=True, check=True, env=dict(os.environ)
    )
    return done.stderr


def test_each_event_is_one_line_that_programs_read() -> None:
    """What comes from outside begins no line of its own, and the time is UTC."""
    lines = [json.loads(line) for line in io.StringIO(said(terminal=False))]
    assert [line["event"] for line in lines] == ["it failed", "done"]
    assert lines[1]["user"] == "a\r\nb"
    assert all(line["timestamp"].endswith("Z") for line in lines)


def test_a_traceback_has_no_values() -> None:
    """A password that a defect had in a variable is in no log, for people neither."""
    for terminal in (False, True):
        text = said(terminal)
        assert "RuntimeError: a defect" in text
        assert "sentinel-password" not in text
        assert "\nforged line" not in text
