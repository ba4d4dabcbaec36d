"""A directory whose journal or database does not prove itself at start:

kept whole, and copied again from the peer.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from replication.control import ControlFile
from replication.core.memory import Memory, decode
from replication.core.request import DATABASE_FILE
from replication.core.types import State
from replication.errors import ReplicationError
from replication.files import SHM_FILE, WAL_FILE, Disk
from server.trust.identity import Identity, sync_directory

REPLICATED = ("journal", "page-sums", DATABASE_FILE, WAL_FILE, SHM_FILE, "objects", "control")
"""What is set aside, in this order: while `control` is there, the next start finds the damage again."""

FOLLOWED = frozenset({State.COPYING, State.SYNCING, State.IN_SYNC, State.DEMOTED, State.FORKED})


def may_copy_again(data: Path, identity: Identity) -> bool:
    """Whether this node last followed a master whose address it knows:

    then a new copy loses nothing that was answered.

    A node that was master is different: it may have the only copy of something, so a person decides.
    """
    if not identity.peers:
        return False
    disk = Disk(data)
    try:
        control = ControlFile(disk)
        state = control.value.state
        control.close()
    except ReplicationError:
        return False
    finally:
        disk.close()
    return state in FOLLOWED


def set_aside(data: Path) -> Path:
    """Move everything replicated into a new folder of `forks/`, durably; returns the folder.

    Nothing is deleted.

    Renames within one file system, both directories fsynced afterwards; identity and keys stay, and so does what the
    role machine must never forget: the epochs that it saw and granted, and a hand-off that nobody confirmed yet.
    """
    memory = _promises(data)
    target = data / "forks" / f"damaged-{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}"
    target.mkdir(mode=0o700, parents=True)
    for name in REPLICATED:
        if (data / name).exists():
            os.rename(data / name, target / name)
    for folder in (target, target.parent, data):
        sync_directory(folder)
    disk = Disk(data)
    control = ControlFile(disk)
    control.update(memory=memory.encode())
    control.close()
    disk.close()
    return target


def _promises(data: Path) -> Memory:
    """The role machine's memory as that of a node without a copy; empty when it cannot be read."""
    disk = Disk(data)
    try:
        control = ControlFile(disk)
        memory = decode(control.value.memory)
        control.close()
    except ReplicationError:
        return Memory()
    finally:
        disk.close()
    return msgspec.structs.replace(memory, state=State.INIT, enlisted=False, in_sync=())
