"""How many branches of the shipped files ran."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import coverage

ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def branches_of(files: tuple[str, ...], say: Callable[[str], None]) -> Iterator[None]:
    """Say of each file, after the block, how many of its branches were taken in the block."""
    measured = coverage.Coverage(
        branch=True, include=[str(ROOT / name) for name in files], data_file=None, config_file=False
    )
    measured.start()
    try:
        yield
    finally:
        measured.stop()
    with tempfile.NamedTemporaryFile(suffix=".json") as report:
        measured.json_report(outfile=report.name)
        found = json.loads(Path(report.name).read_text())["files"]
    for name, facts in sorted(found.items()):
        summary = facts["summary"]
        taken, every = summary["covered_branches"], summary["num_branches"]
        relative = Path(name).resolve().relative_to(ROOT) if Path(name).is_absolute() else Path(name)
        say(f"branches of {relative}: {taken} of {every} ({100 * taken / max(every, 1):.0f} %)")
