"""What goes wrong in the storage engine. Each text says what happened and what to do next; nothing is lost by any.

Protocol: docs/protocol.md, section 10.
"""

from __future__ import annotations


class ReplicationError(Exception):
    """Base of every error below."""


class Unavailable(ReplicationError):
    """The write was refused before SQLite was touched: nothing changed, ask again (503 with Retry-After)."""

    def __init__(self, text: str, retry_after_s: int = 1) -> None:
        super().__init__(text)
        self.retry_after_s = retry_after_s


class OutcomeUnknown(ReplicationError):
    """The write is journaled here but was not committed in time: it may survive or vanish with this node.

    `sequence` is the request that carries it (0 while it was still queued). Ask again with the same idempotency key.
    """

    def __init__(self, sequence: int, key: str = "") -> None:
        named = f", key {key}" if key else ""
        super().__init__(
            f"outcome unknown (request {sequence}{named}): the standby has not confirmed it yet;"
            " look again with the same key before sending another"
        )
        self.sequence = sequence
        self.key = key


class Closed(ReplicationError):
    """The store is closed: this node left office. Use the master."""


class ReadTimeout(ReplicationError):
    """A query ran past its deadline and was interrupted. Ask for less."""


class DiskFull(ReplicationError):
    """No room for the next requests; raised before the group is committed. Free disk space, then ask again."""


class MustEnd(ReplicationError):
    """What is on the disk, or in SQLite's log, cannot be trusted any more: end the process; the next start redoes."""


class JournalFailed(MustEnd):
    """A write or fsync of the journal failed."""


class SyncFailed(MustEnd):
    """An fsync failed. The kernel may have dropped what was not written: a second fsync would prove nothing."""


class Corrupt(ReplicationError):
    """A file holds a bad record where a good one was fsynced. Nothing was cut; fetch from the peer.

    `file` and `offset` (bytes) say where; `sequence` is the first request that cannot be read (0: not a journal).
    """

    def __init__(self, file: str, offset: int, sequence: int, why: str) -> None:
        then = f" Requests from {sequence} on cannot be read here: start the other node, then this one again."
        then = then if sequence else ""
        super().__init__(f"{file} is damaged at byte {offset}: {why}. Nothing was cut.{then}")
        self.file = file
        self.offset = offset
        self.sequence = sequence


class ChecksumMismatch(ReplicationError):
    """The database after a request is not what the master's was. This node stops applying; compare with the master."""

    def __init__(self, sequence: int, expected: int, found: int) -> None:
        super().__init__(
            f"after request {sequence} the database's checksum is {found:016x}, the master's was {expected:016x};"
            " this node applies nothing more until it has copied what differs from the master, which it does by itself"
        )
        self.sequence = sequence


class NotNext(ReplicationError):
    """A request does not continue the chain: another sequence or another hash of the one before."""


class Forgotten(ReplicationError):
    """The journal no longer holds this request: its segment was dropped after a checkpoint. COMPARE is needed."""


class CaptureBroken(MustEnd):
    """SQLite's write-ahead log is not what the writer left. The node stops rather than journal a guess."""


class BadName(ReplicationError):
    """A file name that is neither the database nor an object."""


class Retired(ReplicationError):
    """The files that were looked at are being opened anew, since the node's role changes: look again later."""
