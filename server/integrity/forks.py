"""The folders of `forks/`: what this node kept of work that the other never had, or of files found damaged.

Here they are listed, read, packed and, by an operator's leave alone, removed. Everything blocks: call it in a thread.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import tarfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from server.core.forks import Contents, unknown
from server.errors import NotFound
from server.integrity.fork_reader import CONTENTS, output_file
from server.trust.identity import sync_directory

FORKS = "forks"
REMOVING = ".removing-"
"""How the name of a folder begins that is being deleted: its removal goes on at the next start or deletion."""
CHUNK_BYTES = 1 << 20
_NAME = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,100}")
DAMAGED = "damaged-"
"""How `repair` begins the name of a folder; its time follows."""


class Description(msgspec.Struct, frozen=True):
    """What is read of the `fork.json` that the replication wrote last, as the mark of a whole fork."""

    epoch: int
    first: int
    last: int
    requests: int
    kept_at_us: int
    why: str


class Folder(msgspec.Struct, frozen=True, kw_only=True):
    """One folder. `requests` is None where no fork was written whole; `kept_at_us` is the wall clock then, for display.

    `described`: what it holds was listed, or it was tried.
    """

    name: str
    path: str
    bytes: int
    requests: int | None
    first: int | None
    last: int | None
    epoch: int | None
    kept_at_us: int
    why: str
    described: bool = False


def listed(data: Path) -> list[Folder]:
    """Every folder in `forks/` of a data directory, the newest first."""
    root = data / FORKS
    paths = [path for path in root.iterdir() if is_fork(path)] if root.is_dir() else []
    return sorted(map(_line, paths), key=lambda line: (-line.kept_at_us, line.name))


def is_fork(path: Path) -> bool:
    """Whether this is a folder of a fork: by its name, and no link to somewhere else."""
    return _NAME.fullmatch(path.name) is not None and path.is_dir() and not path.is_symlink()


def folder(data: Path, name: str) -> Path:
    """The folder of a fork on this node; raises NotFound."""
    path = data / FORKS / name
    if _NAME.fullmatch(name) is None or not is_fork(path):
        raise NotFound(f"This node keeps no fork {name}. `understudy forks list` says which node keeps which.")
    return path


def contents(data: Path, name: str) -> Contents:
    """What a fork holds, as it was listed before this node was changed; raises NotFound."""
    path = folder(data, name) / CONTENTS
    try:
        return msgspec.json.decode(path.read_bytes(), type=Contents)
    except FileNotFoundError:
        return unknown("nobody could list it when it was kept")
    except (OSError, msgspec.MsgspecError) as error:
        return unknown(f"its list cannot be read ({error})")


def output(data: Path, name: str, number: int) -> bytes:
    """The beginning of one run's output as the fork has it; empty when it has none. Raises NotFound."""
    try:
        return (folder(data, name) / output_file(number)).read_bytes()
    except FileNotFoundError:
        return b""


def remove(data: Path, name: str) -> bool:
    """Delete a fork for good; False when it was not here. Durable when it returns, and never half: renamed first."""
    root = data / FORKS
    if not root.is_dir():
        return False
    path = root / name
    found = _NAME.fullmatch(name) is not None and path.is_dir()
    if found:
        os.rename(path, root / f"{REMOVING}{name}")
        sync_directory(root)
    for left in root.glob(f"{REMOVING}*"):
        shutil.rmtree(left, ignore_errors=True)
    sync_directory(root)
    return found


def archive(path: Path) -> Iterator[bytes]:
    """A fork's folder as a tar file, in pieces: README.txt first, then every file as it is at that moment."""
    yield from _member(f"{path.name}/README.txt", io.BytesIO(readme(path).encode()))
    for file in sorted(each for each in path.rglob("*") if each.is_file() and not each.is_symlink()):
        with file.open("rb") as content:
            yield from _member(f"{path.name}/{file.relative_to(path)}", content, int(file.stat().st_mtime))
    yield bytes(2 * tarfile.BLOCKSIZE)


def _member(name: str, content: io.BufferedIOBase, modified_s: int = 0) -> Iterator[bytes]:
    size = content.seek(0, os.SEEK_END)
    content.seek(0)
    info = tarfile.TarInfo(name)
    info.size, info.mtime, info.mode = size, modified_s, 0o600
    yield info.tobuf(tarfile.PAX_FORMAT)
    left = size
    while left:
        data = content.read(min(CHUNK_BYTES, left)) or bytes(min(CHUNK_BYTES, left))
        left -= len(data)
        yield data
    yield bytes(-size % tarfile.BLOCKSIZE)


def readme(path: Path) -> str:
    """What is in a fork's folder, for who opens the archive years later."""
    line = _line(path)
    span = f"requests {line.first} to {line.last} of epoch {line.epoch}" if line.first is not None else "files"
    when = datetime.fromtimestamp(line.kept_at_us / 1e6, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    return README.format(name=path.name, span=span, when=when, why=line.why)


README = """Fork {name}: {span}, kept {when}.

{why}

This is what one node of an Understudy pair had and the other never did. None of it was in force afterwards.

contents.json  what the fork holds in words: run by run (job, agent, state, exit code, times) and edit by edit (who
               changed what, when), as JSON. "contents" is whole, part or unknown; "problem" says what is missing.
output-N       what run number N printed, the first MiB of it.
requests       every file-replication request behind the fork point, each with its length (4 bytes, big endian) in
               front. The encoding is in docs/protocol.md, section 2: which bytes of scheduler.db and of which objects
               were written, with the pages themselves.
blocks         this node's own version of each block of 256 KiB that was replaced by the master's: a length (4 bytes,
               big endian), a msgpack array [file, number, bytes], the bytes. Absent when nothing was replaced.
fork.json      the facts of the first line, as JSON.
"""


def _line(path: Path) -> Folder:
    size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    fork = _description(path)
    if fork is None:
        why = "Found damaged at a start; kept before it was copied again." if path.name.startswith(DAMAGED) else ""
        return Folder(
            name=path.name,
            path=str(path),
            bytes=size,
            requests=None,
            first=None,
            last=None,
            epoch=None,
            kept_at_us=_named_time_us(path),
            why=why or "Not whole: writing it was interrupted.",
        )
    return Folder(
        name=path.name,
        path=str(path),
        bytes=size,
        requests=fork.requests,
        first=fork.first,
        last=fork.last,
        epoch=fork.epoch,
        kept_at_us=fork.kept_at_us,
        why=fork.why,
        described=(path / CONTENTS).exists(),
    )


def _description(path: Path) -> Description | None:
    """What `fork.json` says; None where it is missing or unreadable, for the folder is worth showing all the same."""
    try:
        return msgspec.json.decode((path / "fork.json").read_bytes(), type=Description)
    except (OSError, msgspec.MsgspecError):
        return None


def _named_time_us(path: Path) -> int:
    """When it was kept: from the name that `repair` gave it, else when the folder was last changed."""
    try:
        at = datetime.strptime(path.name.removeprefix(DAMAGED), "%Y%m%dT%H%M%S.%fZ").replace(tzinfo=UTC)
    except ValueError:
        return path.stat().st_mtime_ns // 1000
    return int(at.timestamp() * 1_000_000)
