"""The folders of `forks/`: what this node kept of work that the other never had, or of files found damaged."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import msgspec

FORKS = "forks"
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


class ForkLine(msgspec.Struct, frozen=True, kw_only=True):
    """One folder. `requests` is None where nobody described it; `kept_at_us` is the wall clock then, for display."""

    name: str
    path: str
    bytes: int
    requests: int | None
    first: int | None
    last: int | None
    epoch: int | None
    kept_at_us: int
    why: str


def listed(data: Path) -> list[ForkLine]:
    """Every folder in `forks/` of a data directory, the newest first. Reads the disk: call it in a thread."""
    folder = data / FORKS
    found = [_line(path) for path in folder.iterdir() if path.is_dir()] if folder.is_dir() else []
    return sorted(found, key=lambda line: (-line.kept_at_us, line.name))


def _line(path: Path) -> ForkLine:
    size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    fork = _description(path)
    if fork is None:
        why = "Found damaged at a start; kept before it was copied again." if path.name.startswith(DAMAGED) else ""
        return ForkLine(
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
    return ForkLine(
        name=path.name,
        path=str(path),
        bytes=size,
        requests=fork.requests,
        first=fork.first,
        last=fork.last,
        epoch=fork.epoch,
        kept_at_us=fork.kept_at_us,
        why=fork.why,
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
