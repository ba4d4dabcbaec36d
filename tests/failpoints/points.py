"""Where a node can be ended: around each durable change, each persisted state, each frame. Nothing of it is shipped.

A point is `moment what`: *before* and *after* a change of one kind of file, *before* and *after* a state is durable in
the control file, *before* and *after* a frame is sent, *on* a frame received. Two points differ in what is durable or
sent. The hooks are the `Disk` and the `Connection` that a node is given anyway.
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable
from pathlib import Path

from replication.core import codec
from replication.core.memory import decode
from replication.core.messages import Decide
from replication.files import Disk
from replication.ports import Connection, Dialler

FILES = (
    (re.compile(r"journal/\d+\.journal"), "segment"),
    (re.compile(r"journal/prepared>.*"), "segment from the prepared one"),
    (re.compile(r"journal/prepared"), "prepared segment"),
    (re.compile(r"journal/cut"), "note of a cut"),
    (re.compile(r"journal"), "journal directory"),
    (re.compile(r"objects/.*"), "object"),
    (re.compile(r"objects"), "objects directory"),
    (re.compile(r"forks/[^/]+/requests"), "requests of a fork"),
    (re.compile(r"forks/[^/]+/blocks"), "blocks of a fork"),
    (re.compile(r"forks/[^/]+/fork.json.*"), "mark of a fork"),
    (re.compile(r"forks(/.*)?"), "fork directory"),
    (re.compile(r"scheduler\.db-(wal|shm|journal)"), "log of SQLite"),
    (re.compile(r"\."), "data directory"),
)


def kind_of(name: str) -> str:
    """What people call a file of the data directory."""
    return next((kind for pattern, kind in FILES if pattern.fullmatch(name)), name)


class Points:
    """Counts what is reached; ends the process at the `nth` time of `armed`. `reached` is in order of first sight."""

    def __init__(self, armed: str = "", nth: int = 1) -> None:
        self.reached: dict[str, int] = {}
        self.arm(armed, nth)

    def arm(self, point: str, nth: int) -> None:
        """From now on `point` is deadly, the `nth` time from now; "" disarms."""
        self._armed, self._left = point, nth

    def __call__(self, point: str) -> None:
        """The node is there now."""
        self.reached[point] = self.reached.get(point, 0) + 1
        if point == self._armed:
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)


class DeadlyDisk(Disk):
    """Tells `points` of every change, before and after."""

    def __init__(self, root: Path, points: Callable[[str], None]) -> None:
        self._points = points
        self._state = ""
        super().__init__(root)

    def begin(self, operation: str, name: str) -> None:
        """A change is about to be made."""
        if name != "control":
            self._points(f"before {operation} {kind_of(name)}")

    def end(self, operation: str, name: str) -> None:
        """A change was made; only a sync makes it durable."""
        if name != "control":
            self._points(f"after {operation} {kind_of(name)}")


def watch_control(update: Callable[..., object], points: Callable[[str], None]) -> Callable[..., object]:
    """Wrap `ControlFile.update`: the states of the role machine, and everything else it keeps."""

    def watched(**changes: object) -> object:
        state = changes.get("state")
        memory = changes.get("memory")
        what = " and ".join(sorted(set(changes) - {"state", "memory"})) or "memory"
        if state is not None and isinstance(memory, bytes):
            what = f"state {decode(memory).state.value}"
        points(f"before persist {what}")
        result = update(**changes)
        points(f"after persist {what}")
        return result

    return watched


class DeadlyConnection:
    """Tells `points` of every frame by its name."""

    def __init__(self, inner: Connection, points: Callable[[str], None]) -> None:
        self.peer = inner.peer
        self._inner = inner
        self._points = points

    async def send(self, frame: bytes) -> None:
        """Send one frame."""
        name = frame_name(frame)
        self._points(f"before send {name}")
        await self._inner.send(frame)
        self._points(f"after send {name}")

    async def receive(self) -> bytes:
        """The next frame."""
        frame = await self._inner.receive()
        self._points(f"on {frame_name(frame)}")
        return frame

    async def close(self) -> None:
        """Close."""
        await self._inner.close()


def frame_name(frame: bytes) -> str:
    """The name of a frame's type, by its first byte; an answer of DECIDE with what it decided."""
    kind = codec.TYPES.get(frame[0])
    if kind is None:
        return "Requests" if frame[0] == codec.REQUESTS else f"frame {frame[0]}"
    if kind is Decide:
        decide = codec.decode(frame)
        assert isinstance(decide, Decide)
        return f"Decide {decide.decision.name}"
    return kind.__name__


def deadly_dialler(dial: Dialler, points: Callable[[str], None]) -> Dialler:
    """What a node gets as its `dial`."""

    async def call(peer: str, address: str, channel: str) -> Connection:
        return DeadlyConnection(await dial(peer, address, channel), points)

    return call
