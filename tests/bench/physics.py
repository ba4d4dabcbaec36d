"""What this machine can do at best, and what it is: every benchmark prints it beside its figures."""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import signal
import socket
import sqlite3
import subprocess
import threading
import time
from collections.abc import Iterable
from pathlib import Path

import psutil

BLOCK_BYTES = 4096
FILE_BYTES = 8 << 20
SYNC_CALLS = ("fsync", "fdatasync")


def fdatasyncs_per_second(directory: Path, seconds: float = 1.0) -> float:
    """How often 4 KiB are written into a preallocated file and made durable in a second, one after the other."""
    path = directory / "baseline"
    with open(path, "wb") as file:
        file.write(bytes(FILE_BYTES))
        os.fsync(file.fileno())
        count, started = 0, time.monotonic()
        while (passed := time.monotonic() - started) < seconds:
            os.pwrite(file.fileno(), os.urandom(BLOCK_BYTES), (count * BLOCK_BYTES) % FILE_BYTES)
            os.fdatasync(file.fileno())
            count += 1
    path.unlink()
    return count / passed


def loopback_mb_per_second(seconds: float = 0.5) -> float:
    """What two threads move over one TCP connection on loopback, without TLS, in millions of bytes a second."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        sender = socket.create_connection(listener.getsockname())
        taker, _ = listener.accept()
    end = time.monotonic() + seconds

    def send() -> None:
        block = bytes(1 << 20)
        while time.monotonic() < end:
            sender.sendall(block)
        sender.close()

    thread = threading.Thread(target=send)
    thread.start()
    buffer = bytearray(1 << 20)
    total, started = 0, time.monotonic()
    while count := taker.recv_into(buffer):
        total += count
    passed = time.monotonic() - started
    thread.join()
    taker.close()
    return total / passed / 1e6


def baseline(directory: Path) -> dict[str, int]:
    """Both limits, as they are now. `directory` is on the disk that is measured."""
    return {
        "fdatasync_4k_per_s": round(fdatasyncs_per_second(directory)),
        "loopback_mb_per_s": round(loopback_mb_per_second()),
    }


def machine(directory: Path) -> dict[str, object]:
    """Processor, memory, kernel, file system and versions."""
    model = next(
        (line.split(":", 1)[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")), "unknown"
    )
    return {
        "cores": os.cpu_count(),
        "processor": model,
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "kernel": platform.release(),
        "file_system": file_system(directory),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "load_before": round(os.getloadavg()[0], 2),
    }


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []


def file_system(directory: Path) -> str:
    """The type of the file system that holds `directory`."""
    where = str(directory.resolve())
    found = [
        (point, kind)
        for line in _lines("/proc/mounts")
        for _, point, kind, *_ in [line.split()]
        if where == point or where.startswith(point.rstrip("/") + "/")
    ]
    return max(found, default=("", "unknown"), key=lambda entry: len(entry[0]))[1]


def family(pids: Iterable[int]) -> list[int]:
    """These processes and their children that run now."""
    pids = list(pids)
    return pids + [child.pid for pid in pids for child in psutil.Process(pid).children()]


def cpu_s(pids: Iterable[int]) -> float:
    """Seconds of processor time that these processes and their children took so far, those that ended included."""
    total = 0.0
    for pid in family(pids):
        with contextlib.suppress(psutil.NoSuchProcess):
            times = psutil.Process(pid).cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return total


class SyncCount:
    """Counts fsync and fdatasync calls of processes and of what they start, in the kernel: the same way for every
    program. `calls` is None where `perf` or the leave to use it is missing."""

    def __init__(self, pids: Iterable[int], directory: Path) -> None:
        self._output = directory / "syncs.perf"
        self._pids = ",".join(map(str, family(pids)))
        self._process: subprocess.Popen[bytes] | None = None
        self.calls: int | None = None

    def __enter__(self) -> SyncCount:
        if shutil.which("perf"):
            events = ",".join(f"syscalls:sys_enter_{name}" for name in SYNC_CALLS)
            words = ["perf", "stat", "-x", ",", "-o", str(self._output), "-e", events, "-p", self._pids]
            self._process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(0.3)
        return self

    def __exit__(self, *error: object) -> None:
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
        self._process.wait(10)
        counts = [line.split(",")[0] for line in _lines(str(self._output)) if "sys_enter" in line]
        if counts and all(count.isdigit() for count in counts):
            self.calls = sum(map(int, counts))
