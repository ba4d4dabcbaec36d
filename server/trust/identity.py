"""Who this directory is (`identity.json`), its private files, and the lock that keeps a second process
out."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec

from server.config import ConfigError
from server.core.role_requests import Wish

IDENTITY_FILE = "identity.json"
KEY_FILE = "node.key"
CERTIFICATE_FILE = "node.crt"
AUTHORITY_FILE = "ca.crt"
SEAL_FILE = "seal.key"
LOCK_FILE = "lock"
WISH_FILE = "wish.json"
SOCKET_FILE = "understudy.sock"


@dataclass(frozen=True, slots=True)
class Identity:
    """One node or agent. `id` and `cluster` are 32 hex characters, made once; `peers` maps node ids to
    `host:cluster_port`.

    `kind` is `node` or `agent`. `peers` is what was known when it was last written: enough to dial, then the
    roster rules.
    """

    kind: str
    cluster: str
    id: str
    name: str
    peers: dict[str, str] = field(default_factory=dict)


def new_id() -> str:
    """A new identity: 32 lower-case hex characters, random."""
    return secrets.token_hex(16)


def load_identity(data: Path) -> Identity | None:
    """The identity of a data directory; None when it has none yet. Raises `ConfigError` when the file is
    unreadable."""
    path = data / IDENTITY_FILE
    try:
        values = json.loads(path.read_bytes())
        return Identity(**values)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(f"{path}: cannot be read ({error}); restore this file from a backup") from error


def save_identity(data: Path, identity: Identity) -> None:
    """Write `identity.json` durably. It is written last of the private files: with it the directory is
    enrolled."""
    write_private(data / IDENTITY_FILE, json.dumps(asdict(identity), indent=1).encode())


def save_peers(data: Path, identity: Identity, peers: dict[str, str]) -> Identity:
    """Remember the roster for the next start; writes only when it changed."""
    if peers == identity.peers:
        return identity
    changed = replace(identity, peers=dict(peers))
    save_identity(data, changed)
    return changed


def write_private(path: Path, content: bytes) -> None:
    """Replace a file atomically with mode 0600: content fsynced under another name, renamed, directory
    fsynced."""
    beside = path.with_name(path.name + ".new")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        os.fchmod(descriptor, 0o600)
        view = memoryview(content)
        while view:
            view = view[os.write(descriptor, view) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    os.replace(beside, path)
    sync_directory(path.parent)


def read_private(path: Path) -> bytes:
    """A private file; raises `ConfigError` when it is gone, naming it and what to do."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be read ({error.strerror}). Restore it from a backup of this node, or make the node a "
            "standby again in an empty directory: master-to-standby --data DIR"
        ) from error


def sync_directory(path: Path) -> None:
    """Make renames and removals inside `path` durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_directory(data: Path) -> None:
    """Create the data directory with mode 0700; raises `ConfigError` when that is impossible."""
    try:
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"{data}: cannot be used as data directory: {error.strerror}; name another with --data"
        ) from error


@contextlib.contextmanager
def directory_lock(data: Path, program: str) -> Iterator[None]:
    """Hold the data directory for this process; raises `ConfigError` (exit 78) when another process has it.

    The lock is the kernel's (`flock`), so a killed process leaves none. The file's text is only for people, and
    missing where the disk is full.
    """
    make_directory(data)
    descriptor = os.open(data / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(_held_by(data)) from None
        _note_holder(descriptor, program)
        yield
    finally:
        os.close(descriptor)


def _note_holder(descriptor: int, program: str) -> None:
    """Over what is there, since its block is: a full disk has no other. Nothing is left of the one before."""
    size = 0
    with contextlib.suppress(OSError):
        size = os.pwrite(descriptor, json.dumps({"pid": os.getpid(), "program": program}).encode(), 0)
    with contextlib.suppress(OSError):
        os.ftruncate(descriptor, size)


def _held_by(data: Path) -> str:
    holder: dict[str, Any] = {}
    with contextlib.suppress(OSError, ValueError):
        holder = json.loads((data / LOCK_FILE).read_bytes())
    who = f"{holder.get('program', 'a process')} with pid {holder.get('pid', 'unknown')}"
    return (
        f"{data} is in use by {who}. Ask it with `understudy status --data {data}`, stop it with "
        f"`kill -TERM {holder.get('pid', 'PID')}`, or name another directory with --data"
    )


def save_wish(data: Path, wish: Wish) -> None:
    """Record what a role script asked of a stopped node; the next `serve` carries it out with all its checks."""
    write_private(data / WISH_FILE, msgspec.json.encode(wish))


def load_wish(data: Path) -> Wish | None:
    """The recorded wish, or None."""
    path = data / WISH_FILE
    try:
        return msgspec.json.decode(path.read_bytes(), type=Wish)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as error:
        raise ConfigError(f"{path}: cannot be read ({error}); remove it and type the command again") from error


def forget_wish(data: Path) -> None:
    """The wish is fulfilled or refused: remove it durably."""
    (data / WISH_FILE).unlink(missing_ok=True)
    sync_directory(data)
