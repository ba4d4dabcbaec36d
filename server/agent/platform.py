"""What the agent asks of the machine: its boot, its clocks, and the processes of a run."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import psutil

RUN_VARIABLE = "UNDERSTUDY_RUN_ID"
"""In the environment of every process of a run: finds those that left the process group."""
RESERVE_BYTES = 64 * 1024 * 1024


def boot_id() -> str:
    """Names this boot of the machine; a pid is only worth something together with it."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return f"boot-{psutil.boot_time():.0f}"


def boot_clock_us() -> int:
    """Microseconds since boot, time asleep included where the machine can tell."""
    clock = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
    return time.clock_gettime_ns(clock) // 1000


def machine_stops() -> bool:
    """Whether the machine is going down, as systemd says; False where there is none. Takes up to 3 s: not for a loop.

    It is asked while the agent is still waited for, so it knows of the shutdown that made it send SIGTERM.
    """
    asked = shutil.which("systemctl")
    if asked is None:
        return False
    try:
        said = subprocess.run([asked, "is-system-running"], capture_output=True, text=True, timeout=3, check=False)
    except (OSError, subprocess.SubprocessError):
        return False
    return said.stdout.strip() == "stopping"


def created_at(pid: int) -> float | None:
    """When the process was created, in the machine's own terms; None when there is none."""
    try:
        return psutil.Process(pid).create_time()
    except psutil.Error:
        return None


def is_same_process(pid: int, created: float | None) -> bool:
    """True while the very process of the pid file lives; a pid given to another process does not count."""
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        return created is None or abs(process.create_time() - created) < 0.02
    except psutil.Error:
        return False


def processes_of(key: str) -> list[int]:
    """Pids of all processes that carry the run's mark, `setsid` and double forks included."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.environ().get(RUN_VARIABLE) == key and process.pid != os.getpid():
                found.append(process.pid)
    return found


def signal_run(key: str, leader: int | None, number: signal.Signals) -> int:
    """Signal the run's process group and every process that carries its mark; return how many were found."""
    if leader is not None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(leader, number)
    marked = processes_of(key)
    for pid in marked:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)
    return len(marked)


def disk_is_full(data: Path) -> bool:
    """True at the reserve: enough is left to end what was started, nothing new begins."""
    usage = shutil.disk_usage(data)
    return usage.free < min(RESERVE_BYTES, usage.total // 10)
