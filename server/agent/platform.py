"""What the agent asks of the machine, and where Linux and macOS differ: its boot, its clocks, its files, its processes.

Linux and macOS run agents. What is said differently there:

    what                 Linux                                macOS
    name of the boot     /proc/sys/kernel/random/boot_id      sysctl kern.bootsessionuuid
    clock since boot     CLOCK_BOOTTIME                       CLOCK_MONOTONIC (runs on while asleep)
    creation of a pid    seconds since boot, from /proc       seconds since 1970, as the kernel wrote it down
    durable              fsync                                F_FULLFSYNC: fsync leaves the drive's own cache unwritten
    long socket path     through /proc/self/fd                a short name in the directory for temporary files
    pid at a socket      SO_PEERCRED                          LOCAL_PEERPID
    children that ended  waitid without reaping               each running child is asked

Windows cannot run an agent: `why_not_here` says so. A job there would need a service in place of the keeper (no
sockets of this kind, no signals, no process groups).
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

import psutil

RESERVE_BYTES = 64 * 1024 * 1024
RUN_RESERVE_BYTES = 32 * 1024
"""What the end of one run may write: its status, and its rows in the spool with their log."""
SOCKET_PATH_BYTES_MAX = 100
IS_LINUX = sys.platform.startswith("linux")
QUICK_US = 8_000
EPOCH_SECONDS = 1e9
"""Above it a time of creation is since 1970, below since boot: no machine runs for 31 years."""


def why_not_here(system: str = sys.platform) -> str:
    """Why no agent can run on this system, as a sentence for people; "" where one can."""
    if system.startswith(("linux", "darwin")):
        return ""
    return (
        f"An agent does not run on {system}: jobs need a keeper with Unix sockets, signals and process groups. "
        "Run it on Linux or macOS (on Windows: inside WSL 2), and let its jobs reach this machine from there."
    )


def boot_id() -> str:
    """Names this boot of the machine; a pid is only worth something together with it."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return _boot_session() or f"boot-{psutil.boot_time():.0f}"


def _boot_session() -> str:
    try:
        done = subprocess.run(["sysctl", "-n", "kern.bootsessionuuid"], capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout.strip()


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
    """When the process was created, in the machine's own terms; None when there is none.

    On Linux seconds since boot: what is computed from the wall clock moves when that is set.
    """
    if IS_LINUX:
        found = process_stat(pid)
        return None if found is None else found[4]
    try:
        return psutil.Process(pid).create_time()
    except psutil.Error:
        return None


def age_s(created: float) -> float:
    """Seconds since a process was created that `created_at` said this of."""
    return boot_clock_us() / 1e6 - created if created < EPOCH_SECONDS else time.time() - created


class Births:
    """When processes that this one makes were created, without asking the machine for each.

    It is asked for the first one. Where what it says lies between the times before and after, as it does on Linux, a
    later one that was made quickly has its time by that: `is_same_process` allows for more than the difference.
    """

    def __init__(self) -> None:
        self._agrees: bool | None = None if IS_LINUX else False

    def of(self, pid: int, before_us: int, after_us: int) -> float | None:
        """As `created_at`, of a process that was made between these two times of the boot clock."""
        if self._agrees and after_us - before_us <= QUICK_US:
            return before_us / 1e6
        created = created_at(pid)
        if created is not None and self._agrees is None:
            self._agrees = before_us / 1e6 - 0.011 < created < after_us / 1e6 + 0.001
        return created


def is_same_process(pid: int, created: float | None) -> bool:
    """True while the very process of the pid file lives; a pid given to another process does not count."""
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        since_1970 = not IS_LINUX or (created or 0.0) > EPOCH_SECONDS  # pid files of releases before wrote that
        now = process.create_time() if since_1970 else created_at(pid)
    except psutil.Error:
        return False
    return created is None or (now is not None and abs(now - created) < 0.02)


def process_stat(pid: int) -> tuple[str, int, int, int, float] | None:
    """Linux: (state, parent, process group, session, seconds from boot to its creation); None when it is gone."""
    try:
        descriptor = os.open(f"/proc/{pid}/stat", os.O_RDONLY)
        try:
            fields = os.read(descriptor, 4096).rpartition(b")")[2].split()
        finally:
            os.close(descriptor)
    except OSError:
        return None
    ticks = int(fields[19]) / os.sysconf("SC_CLK_TCK")
    return fields[0].decode(), int(fields[1]), int(fields[2]), int(fields[3]), ticks


def sync_file(descriptor: int) -> None:
    """Make a file durable. Raises OSError."""
    full = getattr(fcntl, "F_FULLFSYNC", None)
    if full is None:
        os.fsync(descriptor)
    else:
        fcntl.fcntl(descriptor, full)


def ended_pid(running: Iterable[int]) -> int | None:
    """A child of this process that has ended and is not reaped yet, of those `running`; None when there is none."""
    if hasattr(os, "waitid"):
        try:
            found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return None
        return None if found is None else found.si_pid
    return next((pid for pid in running if not is_same_process(pid, None)), None)


def socket_address(data: Path, name: str) -> str:
    """A socket's path in `data`, or another way to it when that is too long for a socket address."""
    path = str(data / name)
    if len(os.fsencode(path)) < SOCKET_PATH_BYTES_MAX:
        return path
    if IS_LINUX:
        return f"/proc/self/fd/{os.open(data, os.O_RDONLY | os.O_DIRECTORY)}/{name}"
    short = hashlib.sha256(os.fsencode(path)).hexdigest()[:16]
    return str(Path(tempfile.gettempdir()) / f"understudy-{os.getuid()}-{short}.sock")


def peer_pid(connection: socket.socket) -> int | None:
    """The process that listens at the other end of a Unix socket; None where the system does not tell."""
    level, option = (socket.SOL_SOCKET, getattr(socket, "SO_PEERCRED", 0)) if IS_LINUX else (0, 2)
    try:
        said = connection.getsockopt(level, option, struct.calcsize("3i" if IS_LINUX else "i"))
    except OSError:
        return None
    pid: int = struct.unpack_from("i", said)[0]
    return pid if pid > 0 else None


def reserve_bytes(total: int, runs: int) -> int:
    """How much of a disk of `total` bytes is kept for the ends of `runs` runs that have begun."""
    return min(RESERVE_BYTES, total // 10) + runs * RUN_RESERVE_BYTES


def disk_is_full(data: Path, runs: int = 0) -> bool:
    """True at the reserve: enough is left to end the `runs` that were started, nothing new begins."""
    usage = shutil.disk_usage(data)
    return usage.free < reserve_bytes(usage.total, runs)
