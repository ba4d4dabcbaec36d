"""The keeper: one small process per agent that is the parent of its jobs and survives it.

It owns the pipes and exit codes of all runs. Facts are files in `runs/<key>/`, messages over `keeper.sock` only hints:

    pid      JSON {pid, created, at_us}; created exclusively *before* the process, so a key starts at most once
    output   what the job printed; at the end head, mark of the cut, and tail
    status   JSON {exit_code, signal, started_at_us, ended_at_us, output_bytes, output_cut, cause, found}; the last
             file, written when the output and a line of it in `ends` are fsynced

Requests, one JSON object a line: {"op": "start", "key", "argv", "environment", "directory", "user", "timeout_s",
"output_bytes_max", "give_up_after_s", "answered_us", "patterns", "hidden"}, {"op": "stop", "key", "kill", "grace_s"}
and {"op": "answered", "at_us"}: a master able to commit answered what the agent said at this time of the boot clock. A
run that is to be given up is killed when that is too long ago, whether the agent lives or not. `hidden` is taken out of
the output. {"op": "soon", "key"}: it will probably be started, and what it needs may be made. What it does not know it
passes over. Events: {"event": "runs", "keys"} at connect, then {"event": "began" | "ended" | "exists" | "failed",
"key", "why"}; what *failed* may be asked for again. It ends when it has no run and no agent for `IDLE_S`. Without a
run an agent of another release ends it (`keeper_release`).
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import math
import os
import resource
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from pathlib import Path

from server.agent.child import Child, spawn
from server.agent.control_group import Visits, group_of, sweep
from server.agent.ends import RUNS, restore
from server.agent.keeper_agents import Agents, Request
from server.agent.keeper_release import LOCK_FILE, sign
from server.agent.platform import Births, boot_clock_us, disk_is_full, ended_pid, socket_address
from server.agent.process_tree import Tree
from server.agent.recorder import Recorder, waker
from server.agent.redaction import RedactedFile
from server.agent.spare_folders import claim
from server.core.bursts import ENDS_WAIT_S, Burst

SOCKET_FILE = "keeper.sock"
IDLE_S = 10.0
DRAIN_S = 2.0
TREE_LOOK_S = 0.2
"""How often the processes of a stopped run are looked for, until its grace is over."""
WRITE_AGAIN_S = 0.25
READ_BYTES = 256 * 1024
READS_AT_END = 64
SOON_S = 30.0
"""What was made ahead and is not used is removed after this time."""
STARTS_S = 0.05
"""So long runs are started in one turn; then output is read and time is kept, and agents hear of those that began."""


class Keeper:
    """The loop. `serve` returns when idle."""

    def __init__(self, data: Path, wake: int) -> None:
        self._data = data
        self._children: dict[str, Child] = {}
        self._by_pid: dict[int, Child] = {}
        self._ending: dict[str, Child] = {}
        self._selector = selectors.DefaultSelector()
        self._agents = Agents(self._selector)
        self._idle_since = time.monotonic()
        self._recorder = Recorder(data, waker(wake))
        self._answered_us = 0
        self._visits = Visits()
        self._births = Births()
        self._asked: deque[Request] = deque()
        self._burst = Burst()
        files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        self._at_once = math.inf if files == resource.RLIM_INFINITY else files // 8
        """With more runs than that no end waits for starts: each holds descriptors until it is written down."""

    def serve(self, listener: socket.socket, wakeup: int) -> None:
        """Serve agents and children until nobody is left.

        `wakeup` becomes readable at SIGCHLD and whenever something is written to its other end, `wake`.
        """
        self._selector.register(listener, selectors.EVENT_READ, ("listen", listener))
        self._selector.register(wakeup, selectors.EVENT_READ, ("child", wakeup))
        while not self._is_idle():
            for ready, _ in self._selector.select(self._wait_s()):
                kind, thing = ready.data
                if kind == "listen":
                    self._agents.accept(listener.accept()[0], self._children)
                elif kind == "child":
                    os.read(wakeup, 65536)
                elif kind == "agent":
                    self._take(self._agents.hear(thing))
                else:
                    self._read_output(thing)
            self._turn()

    def _turn(self) -> None:
        """What is due begins first; then it is seen what has ended, and what time it is."""
        self._start_some()
        self._reap()
        self._conclude_all()
        self._keep_time()
        self._agents.tell()

    def _is_idle(self) -> bool:
        if self._children or self._agents:
            self._idle_since = time.monotonic()
        return time.monotonic() - self._idle_since > IDLE_S

    def _wait_s(self) -> float:
        if self._asked:
            return 0.0
        return 0.05 if self._ending else 0.5

    def _take(self, requests: list[Request]) -> None:
        """Starts wait for their turn, and with them what concerns a run that has not begun; all else is done now."""
        for request in requests:
            if request["op"] == "answered":
                self._answered_us = max(self._answered_us, request["at_us"])
            elif request["op"] == "soon":
                self._prepare(request["key"])
            elif request["op"] == "stop" and request["key"] in self._children:
                self._visits.go_home()
                self._stop(self._children[request["key"]], request["kill"], request["grace_s"])
            elif request["op"] in ("start", "stop"):
                self._asked.append(request)

    def _prepare(self, key: str) -> None:
        """Have ready what this run needs, unless starts wait: it may never come."""
        group = group_of(self._data, key)
        is_free = not self._asked and self._visits.prepared + len(self._children) < self._at_once
        if group is not None and is_free and key not in self._children:
            self._visits.prepare(group, time.monotonic())

    def _start_some(self) -> None:
        """Begin what was asked for first, and stop what had to begin before: both in their order."""
        until = time.monotonic() + STARTS_S
        while self._is_asked() and time.monotonic() < until:
            request = self._asked.popleft()
            if request["op"] == "start":
                self._start(request)
            elif request["key"] in self._children:
                self._visits.go_home()
                self._stop(self._children[request["key"]], request["kill"], request["grace_s"])
        self._visits.go_home()

    def _is_asked(self) -> bool:
        """Whether somebody waits for a start; a socket holds fewer requests than are made at once."""
        if not self._asked:
            self._take(self._agents.hear_all())
        return bool(self._asked)

    def _start(self, request: Request) -> None:
        key, directory = request["key"], self._data / RUNS / request["key"]
        if key in self._children:  # also when its folder was removed
            self._agents.note("exists", key)
            return
        try:
            pid_file = claim(str(directory))
        except FileExistsError:
            self._agents.note("exists", key)
            return
        except OSError as error:
            self._agents.note("failed", key, str(error))
            return
        try:
            child, writing = self._new_child(key, directory, request)
        except OSError as error:  # no process was made: the key may be asked for again
            os.close(pid_file)
            (directory / "pid").unlink()
            self._agents.note("failed", key, str(error))
            return
        self._children[key] = child
        try:
            group = group_of(self._data, key)
            if group is not None and self._visits.enter(group):
                child.tree = Tree(key, None, group, self._data)
            before_us = boot_clock_us()
            child.process = spawn(request, directory, writing)
            child.created = self._births.of(child.process.pid, before_us, boot_clock_us())
        except (OSError, subprocess.SubprocessError, LookupError, ValueError) as error:
            child.output.write(f"It could not be started: {error}\n".encode())
            child.cause, child.ended = "not startable", (127, None)
            self._ending[key] = child
        else:
            child.tree.leads(child.process.pid)
            self._by_pid[child.process.pid] = child
        finally:
            os.close(writing)
        self._note_pid(pid_file, child)
        if request["timeout_s"]:
            child.deadline = time.monotonic() + request["timeout_s"]
        child.give_up_after_us = request.get("give_up_after_s", 0) * 1_000_000
        child.answered_us = request.get("answered_us", 0)
        child.patterns = request.get("patterns", {})
        self._agents.note("began", key)

    def _new_child(self, key: str, directory: Path, request: Request) -> tuple[Child, int]:
        """The run's record and the writing end of its pipe. Raises OSError: no room, no descriptors."""
        output = RedactedFile(directory, request["output_bytes_max"], self._has_room, request.get("hidden", []))
        reading, writing = os.pipe()
        os.set_blocking(reading, False)
        child = Child(key, None, reading, output, time.time_ns() // 1000, directory, Tree(key, data=self._data))
        self._selector.register(reading, selectors.EVENT_READ, ("output", child))
        return child, writing

    def _note_pid(self, pid_file: int, child: Child) -> None:
        """Fill the pid file; on a full disk it stays empty, and the run is found by its mark."""
        pid = child.process.pid if child.process else 0
        note = {"pid": pid, "created": child.created, "at_us": child.started_at_us}
        with contextlib.suppress(OSError):
            os.write(pid_file, json.dumps(note).encode())
        os.close(pid_file)

    def _has_room(self) -> bool:
        return not disk_is_full(self._data, len(self._children))

    def _stop(self, child: Child, kill: bool, grace_s: float) -> None:
        """SIGTERM for the whole tree, or its end at once; what is left of it after the grace is killed."""
        child.stopped = True
        child.kill_at = time.monotonic() + grace_s
        if not kill:
            child.tree.signal(signal.SIGTERM)
        elif child.tree.kill():
            child.kill_at = None

    def _read_output(self, child: Child) -> bool:
        """Take what is there; False when there is nothing now, or nothing more."""
        if child.pipe < 0:
            return False
        try:
            data = os.read(child.pipe, READ_BYTES)
        except BlockingIOError:
            return False
        if data:
            child.output.write(data)
        else:
            self._close_pipe(child)
        return bool(data)

    def _close_pipe(self, child: Child) -> None:
        if child.pipe >= 0:
            self._selector.unregister(child.pipe)
            os.close(child.pipe)
            child.pipe = -1

    def _reap(self) -> None:
        """Take every process that has ended, at the same cost however many still run."""
        while (pid := ended_pid(self._by_pid)) is not None:
            child = self._by_pid.pop(pid)
            assert child.process is not None, "it has a pid"
            if child.stopped:
                child.tree.leader_ended()
            child.reaped(child.process.wait())
            child.drain_until = time.monotonic() + DRAIN_S
            self._ending[child.key] = child

    def _conclude_all(self) -> None:
        """Write down what has ended, after the runs that wait for their start, but no later than it may wait."""
        now = time.monotonic()
        if self._ending:
            self._burst.put_off(now, ENDS_WAIT_S)
        if not self._burst.waits(len(self._children) < self._at_once and self._is_asked(), now):
            for child in list(self._ending.values()):
                self._conclude(child)

    def _conclude(self, child: Child) -> None:
        """Write the end down once the output is complete, or a left-over process keeps the pipe too long."""
        for _ in range(READS_AT_END):
            if not self._read_output(child):
                break
        if child.written is None and (self._has_tree(child) or self._drains(child)):
            return
        self._close_pipe(child)
        if child.written is None and time.monotonic() >= child.write_again_at:
            child.written = self._recorder.record(child)
        elif child.written is not None and child.written.done():
            if child.written.exception() is not None:  # a full disk
                child.written, child.write_again_at = None, time.monotonic() + WRITE_AGAIN_S
                return
            del self._children[child.key], self._ending[child.key]
            child.tree.close()
            self._agents.note("ended", child.key)

    def _has_tree(self, child: Child) -> bool:
        """Of a run that was stopped: whether processes of it are left, which have until the grace is over."""
        now = time.monotonic()
        if child.kill_at is not None and now >= child.look_at:
            child.look_at = now + TREE_LOOK_S
            if now > child.kill_at:
                child.tree.kill()
                child.kill_at = None
            elif not child.tree.pids():
                child.kill_at = None
        return child.kill_at is not None

    def _drains(self, child: Child) -> bool:
        return child.pipe >= 0 and time.monotonic() < child.drain_until

    def _keep_time(self) -> None:
        now, boot_us = time.monotonic(), boot_clock_us()
        self._visits.forget(now - SOON_S)
        for child in self._children.values():
            since_us = max(child.answered_us, self._answered_us)
            if child.give_up_after_us and boot_us - since_us >= child.give_up_after_us and child.ended is None:
                child.give_up_after_us, child.cause = 0, "given up"
                self._stop(child, False, 10.0)
            if child.deadline is not None and now > child.deadline and child.ended is None:
                child.deadline, child.cause = None, "timeout"
                self._stop(child, False, 10.0)
            if child.kill_at is not None and now > child.kill_at and child.ended is None:
                self._stop(child, True, 10.0)


def main() -> int:
    """`python -m server.agent.keeper DATA`. Exit 0 also when another keeper serves this directory."""
    data = Path(sys.argv[1])
    lock = os.open(data / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return 0
    sign(lock)
    for number in (signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    restore(data)
    address = socket_address(data, SOCKET_FILE)
    os.chdir(data)  # and never elsewhere: so it finds its files also when the directory is moved
    with contextlib.suppress(FileNotFoundError):
        os.unlink(address)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(address)
        listener.listen(8)
        Keeper(Path(), writing).serve(listener, reading)
        sweep(Path())
        with contextlib.suppress(FileNotFoundError):
            os.unlink(address)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
