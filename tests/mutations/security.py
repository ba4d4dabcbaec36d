"""`python -m tests.mutations.security [PART …]`: take controls away, see who notices; also `./scripts/soak controls`.

The tree is copied once. Each control of the table (those whose name has one of the PARTs) is removed in the copy, its
tests run there, and the copy is mended. What the copy's tests say before anything is removed is looked at first.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.mutations.controls import Control, read
from tests.process.checker import Verdict

ROOT = Path(__file__).resolve().parents[2]
COPIED = ("server", "replication", "scripts", "templates", "tests", "docs")
PLUGINS = ("-p", "pytest_asyncio.plugin", "-p", "pytest_timeout")
"""Those that these tests need: loading all takes longer than most of them."""
TIMEOUT_S = 900.0
FAILED = re.compile(r"^FAILED tests/(.+?)(?: - .*)?$", re.MULTILINE)
Say = Callable[[str], None]


def copy_tree(target: Path) -> None:
    """The parts of the project that tests need, with what Python has compiled already."""
    for name in COPIED:
        shutil.copytree(ROOT / name, target / name)
    for file in ROOT.iterdir():
        if file.is_file() and file.name != ".git":
            shutil.copy2(file, target / file.name)
    for words in (["init", "-q"], ["add", "-A"]):  # a test asks which files the project has
        subprocess.run(["git", "-C", str(target), *words], check=True, capture_output=True)


def failed_tests(tree: Path, tests: Sequence[str]) -> tuple[set[str], str]:
    """Which of these tests fail in a tree, and what pytest printed when it could not even run them."""
    words = ["-m", "pytest", "-q", "-rf", "--tb=no", "-p", "no:cacheprovider", *PLUGINS]
    environment = {**os.environ, "PYTHONPATH": str(tree), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    run = [sys.executable, *words, *(f"tests/{test}" for test in tests)]
    done = subprocess.run(
        run, cwd=tree, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )
    said = "" if done.returncode in (0, 1) else done.stdout[-800:] + done.stderr[-400:]
    return set(FAILED.findall(done.stdout)), said


def remove(control: Control, tree: Path) -> dict[Path, str]:
    """Take the control away in a tree; what its files held before. AssertionError when the table is out of date."""
    before: dict[Path, str] = {}
    for file, old, new in control.places:
        path = tree / file
        text = path.read_text(encoding="utf-8")
        before.setdefault(path, text)
        assert text.count(old) == 1, f"{control.name}: {file} holds {old!r} {text.count(old)} times, not once"
        write(path, text.replace(old, new))
    return before


def write(path: Path, text: str) -> None:
    """Change a file so that Python compiles it anew: it compares whole seconds and sizes."""
    at_s = path.stat().st_mtime + 2
    path.write_text(text, encoding="utf-8")
    os.utime(path, (at_s, at_s))


def try_without(control: Control, tree: Path) -> str:
    """Remove it, run its tests, put it back; which test did not notice, "" when all did."""
    try:
        before = remove(control, tree)
    except AssertionError as error:
        return str(error)
    try:
        failed, broken = failed_tests(tree, control.tests)
    finally:
        for path, text in before.items():
            write(path, text)
    blind = [test for test in control.tests if not any(one == test or one.startswith(f"{test}[") for one in failed)]
    if broken or blind:
        return f"removed {control.name}: not noticed by {', '.join(blind) or 'anybody'} {broken}"
    return ""


def controls(directory: Path, count: int, say: Say, parts: Sequence[str] = ()) -> Verdict:
    """Each control `count` times; `parts` chooses by name."""
    chosen = [control for control in read() if not parts or any(part in control.name for part in parts)]
    tests = sorted({test for control in chosen for test in control.tests})
    counts = {"controls": len(chosen), "tests": len(tests), "removed and noticed": 0}
    tree = directory / "tree"
    copy_tree(tree)
    failed, broken = failed_tests(tree, tests)
    if failed or broken:
        return Verdict(counts, (f"with all controls in place these fail: {', '.join(sorted(failed))} {broken}",))
    say(f"with all controls in place {len(tests)} tests pass")
    faults = []
    for control in chosen * count:
        fault = try_without(control, tree)
        if fault:
            faults.append(fault)
            say(f"FAULT: {fault}")
            continue
        counts["removed and noticed"] += 1
        say(f"removed {control.name}: caught by {', '.join(control.tests)}")
    return Verdict(counts, tuple(faults))


def main() -> int:
    """Entry point; 0 when each removal was noticed."""
    with tempfile.TemporaryDirectory(prefix="understudy-controls-") as folder:
        verdict = controls(Path(folder), 1, lambda text: print(text, flush=True), sys.argv[1:])
    print(verdict)
    return int(bool(verdict.faults))


if __name__ == "__main__":
    sys.exit(main())
