"""`python -m tests.soak NAME --count N [--keep]`: one scenario on real processes, its counts, commit and date."""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from tests.process.scenarios import SCENARIOS

ROOT = Path(__file__).resolve().parents[2]


def commit() -> str:
    """The commit that runs, marked when files differ from it."""
    words = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    return subprocess.run(words, capture_output=True, text=True, check=False).stdout.strip() or "unknown"


def main() -> int:
    """Entry point; 0 when every promise was kept, 1 when one was broken or a scenario got stuck."""
    parser = argparse.ArgumentParser(prog="./scripts/soak", description=__doc__)
    parser.add_argument("name", choices=SCENARIOS)
    parser.add_argument("--count", type=int, help="how often; the count of the release when left out")
    parser.add_argument("--keep", action="store_true", help="write what is printed to docs/soak/NAME.txt as well")
    parser.add_argument("--data", type=Path, help="keep the directories of the pair here instead of removing them")
    given = parser.parse_args()
    scenario, usual = SCENARIOS[given.name]
    count = given.count or usual
    printed: list[str] = []

    def say(text: str) -> None:
        printed.append(text)
        print(text, flush=True)

    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    say(f"{given.name}: count {count}, commit {commit()}, {now}")
    try:
        with tempfile.TemporaryDirectory(prefix="understudy-soak-", dir=None) as folder:
            directory = given.data or Path(folder)
            directory.mkdir(parents=True, exist_ok=True)
            verdict = scenario(directory, count, say)
        say(str(verdict))
        failed = bool(verdict.faults)
    except AssertionError as error:
        say(f"STUCK: {error}")
        failed = True
    say("FAILED" if failed else "every promise kept")
    if given.keep:
        folder_kept = ROOT / "docs" / "soak"
        folder_kept.mkdir(exist_ok=True)
        (folder_kept / f"{given.name}.txt").write_text("\n".join(printed) + "\n", encoding="utf-8")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
