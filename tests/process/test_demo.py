"""The demo as a person meets it: it comes up, says where to look, and leaves nothing behind."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[2]
LAST_LINE = "Ctrl-C stops everything."


def processes_below(data: Path) -> list[list[str]]:
    """The command lines that name the directory, keepers included."""
    found = (process.info["cmdline"] or [] for process in psutil.process_iter(["cmdline"]))
    return [words for words in found if any(str(data) in word for word in words) and "scripts.demo" not in words]


def test_the_demo_comes_up_and_sigterm_leaves_no_process(tmp_path: Path) -> None:
    """It shows both addresses and the password, runs six processes (two are keepers), and SIGTERM ends them all."""
    data = tmp_path / "demo"
    command = [sys.executable, "-m", "scripts.demo", "--data", str(data)]
    demo = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    guard = threading.Timer(100, demo.terminate)  # a demo that says nothing more ends, and the test fails below
    guard.start()
    try:
        assert demo.stdout is not None
        said = []
        for line in demo.stdout:
            said.append(line.rstrip("\n"))
            if said[-1] == LAST_LINE:
                break
        assert said[-1] == LAST_LINE, "\n".join(said)
        text = "\n".join(said)
        assert (data / "admin-password").read_text() in text
        web, _ = json.loads((data / "ports.json").read_text())
        assert f"Master    https://127.0.0.1:{web}" in text
        assert f"Standby   https://127.0.0.2:{web}" in text
        assert text.count("succeeded, exit code 0") == 4, text
        assert len(processes_below(data)) == 6
    finally:
        demo.terminate()
        rest = demo.communicate(timeout=60)[0]
        guard.cancel()
    assert demo.returncode == 130
    assert "Stopped." in rest
    assert processes_below(data) == []
