"""Every test file in a process of its own, a few at a time: `python -m tests.by_file [--but FOLDER] [FILE ...]`.

A file that crashes or hangs is one failed file and not the end of the run. What fails beside others is said, printed
whole, and has to pass once more, alone. Exit code 0: every file passed. What a file started is ended with it.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[1]
TESTS = ROOT / "tests"
LONGEST = (
    "agent_search/test_agent_search.py",
    "process/test_pair.py",
    "process/test_pair_losses.py",
    "simulation/test_pair_simulation.py",
    "failpoints/test_failpoints.py",
    "versions/test_two_builds.py",
    "simulation/test_points.py",
    "process/test_enrolment.py",
)
"""Files that take so long that whatever else there is runs beside them; then, by folder:"""
LONGEST_FIRST = ("versions", "simulation", "search", "browser", "failpoints", "process", "pair", "property")
FILE_S = 1200.0
"""A file that takes longer is ended: it prints where each of its threads stands, and has failed."""
ALL_S = 3600.0
"""After so long no file gets more than `LEAST_S`: a run always ends."""
LEAST_S = 1.0
ABORT_S = 10.0
NO_TESTS = 5
SLOWEST = 15
MARK = "BY_FILE"
"""In the environment of all that a file starts, whatever group or session it is in."""


@dataclass(frozen=True)
class Result:
    """How a file ended. `code` is pytest's, negative for a signal; `said` is all it printed."""

    file: Path
    code: int
    said: str
    took_s: float
    processor_s: float = 0.0
    """Of it and of all children that were waited for: what is less than `took_s` was waiting."""
    left: tuple[str, ...] = ()
    """What still ran at its end, and was ended."""

    @property
    def passed(self) -> bool:
        """Every test of the file passed or was skipped with a reason."""
        return self.code in (0, NO_TESTS)

    @property
    def line(self) -> str:
        """One line for people."""
        last = next((text for text in reversed(self.said.splitlines()) if re.search(r"\d+ \w+", text)), "no last words")
        verdict = "passed" if self.passed else f"FAILED (exit code {self.code})"
        return f"{verdict:8} {os.path.relpath(self.file, ROOT)}: {last.strip('= ')}, processor {self.processor_s:.1f} s"


def test_files(folders: Iterable[Path]) -> list[Path]:
    """The test files below these folders, or these files; what takes longest first."""
    found = {file for folder in folders for file in ([folder] if folder.is_file() else folder.rglob("test_*.py"))}

    def turn(file: Path) -> tuple[int, str]:
        name = os.path.relpath(file, TESTS)
        if name in LONGEST:
            return (LONGEST.index(name) - len(LONGEST), "")
        folder = name.split(os.sep)[0]
        return (LONGEST_FIRST.index(folder) if folder in LONGEST_FIRST else len(LONGEST_FIRST), str(file))

    return sorted(found, key=turn)


def run_file(file: Path, temporary: Path, bound_s: float = FILE_S) -> Result:
    """Run one file to its end, at most `bound_s` seconds; its files are removed.

    All files share one place for bytecode: where the environment forbids it, hundreds of processes compile everything
    they import, which is more than half of what they do.
    """
    started_s = time.monotonic()
    place = Path(tempfile.mkdtemp(prefix="f", dir=temporary))
    words = [sys.executable, "-m", "pytest", "-q", "--no-header", "-rsf", f"--basetemp={place / 't'}", str(file)]
    with (place / "said").open("w+b") as said:
        bytecode = os.environ.get("PYTHONPYCACHEPREFIX", str(temporary / "bytecode"))
        environment = {**os.environ, MARK: str(place), "PYTHONPYCACHEPREFIX": bytecode}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        process = subprocess.Popen(words, cwd=ROOT, stdout=said, stderr=said, start_new_session=True, env=environment)
        processor_s = _wait(process, bound_s)
        if processor_s is None:
            processor_s = _abort(process)
            said.write(f"\nended after {bound_s:.0f} s\n".encode())
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        left = end_what_is_left(place)
        said.seek(0)
        text = said.read().decode(errors="replace")
    shutil.rmtree(place, ignore_errors=True)
    return Result(file, process.returncode, text, time.monotonic() - started_s, processor_s, left)


def _wait(process: subprocess.Popen[bytes], bound_s: float) -> float | None:
    """Reap it; the processor time of it and its children, or None when it has not ended in time."""
    end_s = time.monotonic() + bound_s
    while time.monotonic() < end_s:
        pid, status, used = os.wait4(process.pid, os.WNOHANG)
        if pid:
            process.returncode = os.waitstatus_to_exitcode(status)
            return used.ru_utime + used.ru_stime
        time.sleep(0.05)
    return None


def _abort(process: subprocess.Popen[bytes]) -> float:
    """SIGABRT has Python print the stack of every thread; then it is killed."""
    process.send_signal(signal.SIGABRT)
    processor_s = _wait(process, ABORT_S)
    while processor_s is None:
        process.kill()
        processor_s = _wait(process, ABORT_S)
    return processor_s


def end_what_is_left(place: Path) -> tuple[str, ...]:
    """End, by pid, what a file started and left behind; the command lines. Keepers outlive their agents, for one.

    It is known by the mark in its environment, or, where a job cleared that, by a path of the file's own directory.
    """
    ended = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            words = process.cmdline()
            if process.environ().get(MARK, "").startswith(str(place)) or any(str(place) in word for word in words):
                process.kill()
                ended.append(" ".join(words))
    return tuple(ended)


def run_all(files: Sequence[Path], lanes: int, temporary: Path, end_s: float) -> list[Result]:
    """Run the files, `lanes` at a time; print a line for each, and all that a failed one said. `end_s`: monotonic."""
    results: list[Result] = []

    def run(file: Path) -> Result:
        return run_file(file, temporary, min(FILE_S, max(end_s - time.monotonic(), LEAST_S)))

    with ThreadPoolExecutor(lanes) as pool:
        try:
            for future in as_completed([pool.submit(run, file) for file in files]):
                result = future.result()
                results.append(result)
                print(f"[{len(results)}/{len(files)}] {result.line}", flush=True)
                if not result.passed:
                    print(result.said, flush=True)
        except BaseException:  # asked to end: nothing of it goes on
            pool.shutdown(wait=False, cancel_futures=True)
            end_what_is_left(temporary)
            raise
    return results


def print_slowest(results: Sequence[Result]) -> None:
    """Where the time went: of each file how long it took, and how much of that the processor worked."""
    for result in sorted(results, key=lambda result: -result.took_s)[:SLOWEST]:
        print(f"{result.took_s:6.0f} s, {result.processor_s:4.0f} s of processor: {os.path.relpath(result.file, ROOT)}")
    took_s, processor_s = sum(r.took_s for r in results), sum(r.processor_s for r in results)
    left = sum(len(result.left) for result in results)
    print(f"{took_s:6.0f} s, {processor_s:4.0f} s of processor: {len(results)} files; {left} processes ended with them")


def main(words: Sequence[str] | None = None) -> int:
    """0 when every file passed, beside others or, failing that, alone."""
    parser = argparse.ArgumentParser(prog="python -m tests.by_file", description=__doc__)
    parser.add_argument("--lanes", type=int, default=4, metavar="N", help="files at a time (default 4)")
    parser.add_argument("--but", type=Path, action="append", default=[], metavar="FOLDER", help="not what is in there")
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE", help="files or folders (default: all tests)")
    options = parser.parse_args(words)
    passed_over = {folder.resolve() for folder in options.but}
    files = test_files([file.resolve() for file in options.files] or [TESTS])
    files = [file for file in files if not passed_over & {file, *file.parents}]
    started_s = time.monotonic()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with tempfile.TemporaryDirectory(prefix="us") as folder:
        results = run_all(files, options.lanes, Path(folder), started_s + ALL_S)
        failed = [result.file for result in results if not result.passed]
        if failed:
            print(f"{len(failed)} of {len(files)} files failed beside others, see above. Once more, alone:", flush=True)
            failed = [
                result.file for result in run_all(failed, 1, Path(folder), started_s + ALL_S) if not result.passed
            ]
    print_slowest(results)
    print(f"{len(files) - len(failed)} of {len(files)} files passed in {time.monotonic() - started_s:.0f} s")
    for file in failed:
        print(f"failed alone too: {os.path.relpath(file, ROOT)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
