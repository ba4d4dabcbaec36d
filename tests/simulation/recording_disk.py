"""A disk whose power can be cut: it knows, file by file, what was fsynced, and builds the directory found afterwards.

The files are real. Per file and sector of 512 bytes since that file's last fsync, the crashed directory holds the old
or the new content; of the changes to a directory since its last fsync, some first ones (metadata keeps its order).
What SQLite syncs by itself is not counted: only the fsyncs of the shipped code are trusted.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

from replication.files import SHM_FILE, WAL_FILE, Disk

SECTOR = 512
Names = dict[str, int]


def mixed(old: bytes, new: bytes, rng: random.Random) -> bytes:
    """Return what a power loss may leave of a file that was `old` at its last fsync and is `new` now."""
    if old == new:
        return new
    share = rng.choice((0.0, 0.1, 0.5, 0.9, 1.0))
    size = rng.choice((len(old), len(new)))
    result = bytearray(max(len(old), len(new)))
    for at in range(0, len(result), SECTOR):
        before, after = old[at : at + SECTOR], new[at : at + SECTOR]
        chosen = after if before == after or rng.random() < share else before
        result[at : at + SECTOR] = chosen.ljust(min(SECTOR, len(result) - at), b"\0")
    return bytes(result[:size])


class RecordingDisk(Disk):
    """Calls `at_step(operation, name)` before and after each change; `crash_into` may be called from there."""

    def __init__(self, root: Path, at_step: Callable[[str, str], None]) -> None:
        self.at_step = at_step
        self._durable: dict[int, bytes] = {}
        self._entries: Names = {}
        self._durable_entries: Names = {}
        self._changes: dict[str, list[Names]] = {}
        self._next = 0
        super().__init__(root)

    def adopt(self) -> None:
        """Take what is in the directory for durable: a machine that has just been switched on again."""
        for path in sorted(self.root.rglob("*")):
            if path.is_file():
                self._next += 1
                name = path.relative_to(self.root).as_posix()
                self._durable[self._next] = path.read_bytes()
                self._entries[name] = self._durable_entries[name] = self._next

    def begin(self, operation: str, name: str) -> None:
        self.at_step("before " + operation, name)

    def end(self, operation: str, name: str) -> None:
        if operation == "create":
            self._next += 1
            self._durable[self._next] = b""
            self._entries[name] = self._next
            self._note(name)
        elif operation == "unlink" and name in self._entries:
            del self._entries[name]
            self._note(name)
        elif operation == "rename":
            source, target = name.split(">")
            self._entries[target] = self._entries.pop(source)
            self._note(target)
        elif operation == "sync" and name in self._entries:
            self._durable[self._entries[name]] = self.path(name).read_bytes()
        elif operation == "sync-directory":
            self._keep_entries(name)
        self.at_step("after " + operation, name)

    def _note(self, name: str) -> None:
        """Remember a directory as it is after one more change."""
        folder = name.rpartition("/")[0] or "."
        self._changes.setdefault(folder, []).append(self._in_folder(self._entries, folder))

    @staticmethod
    def _in_folder(entries: Names, folder: str) -> Names:
        return {name: file for name, file in entries.items() if (name.rpartition("/")[0] or ".") == folder}

    def _keep_entries(self, folder: str) -> None:
        for name in self._in_folder(self._durable_entries, folder):
            del self._durable_entries[name]
        self._durable_entries.update(self._in_folder(self._entries, folder))
        self._changes.pop(folder, None)

    def kill_into(self, target: Path) -> None:
        """Build in `target` (absent) what a killed process leaves: all that was written, synced or not."""
        self._make_folders(target)
        for path in sorted(self.root.rglob("*")):
            if path.is_file():
                (target / path.relative_to(self.root)).write_bytes(path.read_bytes())

    def inherit(self, before: RecordingDisk) -> None:
        """Go on with what was durable and what was not, behind `kill_into`."""
        self._durable, self._entries = dict(before._durable), dict(before._entries)
        self._durable_entries, self._next = dict(before._durable_entries), before._next
        self._changes = {folder: list(states) for folder, states in before._changes.items()}

    def _make_folders(self, target: Path) -> None:
        target.mkdir(parents=True, exist_ok=True)
        for path in sorted(self.root.rglob("*")):
            if path.is_dir():
                (target / path.relative_to(self.root)).mkdir(exist_ok=True)

    def crash_into(self, target: Path, rng: random.Random) -> None:
        """Build in `target` (absent) what a power loss at this moment may leave."""
        entries = dict(self._durable_entries)
        for folder, states in self._changes.items():
            kept = rng.randint(0, len(states))
            if kept:
                for name in self._in_folder(entries, folder):
                    del entries[name]
                entries.update(states[kept - 1])
        self._make_folders(target)
        now = {file: name for name, file in self._entries.items()}
        for name, file in sorted(entries.items()):
            old = self._durable[file]
            new = self.path(now[file]).read_bytes() if file in now else old
            (target / name).write_bytes(mixed(old, new, rng))
        for name in (WAL_FILE, SHM_FILE):
            if self.path(name).exists() and rng.random() < 0.5:
                (target / name).write_bytes(self.path(name).read_bytes())
