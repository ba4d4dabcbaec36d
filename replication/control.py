"""The control file: what a node must remember of itself, in two slots written alternately.

A save writes the older slot and fsyncs; a torn one fails its CRC and the other still holds the state before. Fields are
only ever appended to `Control`.

Protocol: docs/protocol.md, section 11.
"""

from __future__ import annotations

import struct
import zlib
from typing import Any

import msgspec

from replication import threads
from replication.core.slots import Slot
from replication.core.tickets import Given, Ticket
from replication.core.types import ORIGIN, Epoch, NodeId, Position, State
from replication.errors import Corrupt
from replication.files import Disk

CONTROL_FILE = "control"
SLOT_BYTES = 256 * 1024
_HEADER = struct.Struct(">8sQII")
_MAGIC = b"USCTRL\x00\x01"
EPOCHS_MAX = 2000


class EpochStart(msgspec.Struct, array_like=True, frozen=True):
    """One epoch of the history: its first request and the chain hash of that request."""

    epoch: Epoch
    sequence: int
    hash: bytes


class Control(msgspec.Struct, frozen=True, omit_defaults=True):
    """The persisted self of a node. `checkpoint` is where redo starts: the files hold everything up to it.

    `memory` is what the role machine remembers (`core.memory`); `state` repeats its state for redo, which must
    know of a copy before there is a machine. `peers` is the roster as last known, node id to "host:port". `slots` are
    those of this node's last office; `tickets_given` and `tickets_held` are keyed by the peer that got or gave them.
    `damage` is the folder that keeps what the copy under way replaces because these files are in doubt, or "".
    """

    state: State = State.INIT
    checkpoint: Position = ORIGIN
    epochs: tuple[EpochStart, ...] = ()
    peers: dict[NodeId, str] = {}
    memory: bytes = b""
    slots: tuple[Slot, ...] = ()
    tickets_given: dict[NodeId, Given] = {}
    tickets_held: dict[NodeId, Ticket] = {}
    damage: str = ""


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Control)


class ControlFile:
    """Loads at construction, then `update` is the only way to change it. Safe in several threads.

    Raises Corrupt when slots were written but none can be read: the node must not guess who it is.
    """

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._lock = threads.Lock()
        self._file = disk.open(CONTROL_FILE, create=True)
        self._counter = 0
        self.value = Control()
        slots = [self._read(slot) for slot in (0, 1)]
        good = [slot for slot in slots if slot is not None]
        if good:
            self._counter, self.value = max(good, key=lambda slot: slot[0])
        elif self._file.size() > SLOT_BYTES:
            raise Corrupt(
                CONTROL_FILE,
                0,
                0,
                "neither of its two copies can be read. Keep the data directory, but move it aside, and join again on "
                "an empty one with master-to-standby",
            )
        else:
            self._write(0, self.value)
            self._allocate()
            disk.sync_directory()

    def _allocate(self) -> None:
        """Fill what no slot uses yet, so that no later save needs room: a full disk must not end a node."""
        length = _HEADER.unpack(self._file.read(_HEADER.size, 0))[2]
        end = _HEADER.size + length
        self._file.write(end, bytes(2 * SLOT_BYTES - end))
        self._file.sync()

    def _read(self, slot: int) -> tuple[int, Control] | None:
        header = self._file.read(_HEADER.size, slot * SLOT_BYTES)
        if len(header) < _HEADER.size:
            return None
        magic, counter, length, crc = _HEADER.unpack(header)
        if magic != _MAGIC or length > SLOT_BYTES:
            return None
        payload = self._file.read(length, slot * SLOT_BYTES + _HEADER.size)
        if zlib.crc32(payload, counter & 0xFFFFFFFF) != crc:
            return None
        return counter, _decoder.decode(payload)

    def update(self, **changes: Any) -> Control:
        """Replace fields, write the older slot and fsync it. Returns what is now durable."""
        with self._lock:
            value = msgspec.structs.replace(self.value, **changes)
            self._write(self._counter + 1, value)
            self._counter, self.value = self._counter + 1, value
            return value

    def _write(self, counter: int, value: Control) -> None:
        payload = _encoder.encode(value)
        if len(payload) > SLOT_BYTES - _HEADER.size:
            raise ValueError(f"the control file's slot holds {SLOT_BYTES} bytes, not {len(payload)}")
        crc = zlib.crc32(payload, counter & 0xFFFFFFFF)
        at = (counter % 2) * SLOT_BYTES
        self._file.write(at, _HEADER.pack(_MAGIC, counter, len(payload), crc), payload)
        self._file.sync()

    def close(self) -> None:
        """Close the file; everything in it is already durable."""
        self._file.close()


def merge_epochs(known: tuple[EpochStart, ...], found: list[EpochStart]) -> tuple[EpochStart, ...]:
    """Join the remembered history with what the journal holds; the journal wins from its first entry on.

    Entries of a suffix that was cut away vanish with it. The oldest are dropped beyond EPOCHS_MAX.
    """
    first = found[0].sequence if found else None
    kept = [start for start in known if first is None or start.sequence < first]
    return tuple([*kept, *found][-EPOCHS_MAX:])
