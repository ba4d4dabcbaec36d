"""The witness at this agent: the pure rule, made durable before it answers (design: Modes and witnesses).

Protocol: docs/protocol.md, section 6.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import msgspec

from replication.core.types import NO_EPOCH, Epoch
from replication.core.witness import Claim, Sight, WitnessRecord, decide_alone, decide_claim
from server.agent.platform import sync_file
from server.core import agent_wire as wire

WITNESS_FILE = "witness.json"


class _Stored(msgspec.Struct):
    epoch: Epoch
    alone: str
    alone_epoch: Epoch
    counter: int
    sum: str = ""
    """SHA-256 of the record before it; "" in a file of a release before."""

    def summed(self) -> _Stored:
        """The same with its sum."""
        body = msgspec.json.encode((self.epoch, self.alone, self.alone_epoch, self.counter))
        return _Stored(self.epoch, self.alone, self.alone_epoch, self.counter, hashlib.sha256(body).hexdigest())


class WitnessDamagedError(Exception):
    """The record is not what was written. The text says what was found."""


class Witness:
    """Remembers in `witness.json`. The file is replaced by rename: content fsynced before, directory after.

    Raises WitnessDamagedError when it is made: a witness that forgot what it granted must not grant again.
    """

    def __init__(self, data: Path) -> None:
        self._path = data / WITNESS_FILE
        self._record = self._load()
        self._sight = Sight(NO_EPOCH, 0, 0.0)

    @property
    def record(self) -> WitnessRecord:
        """What is durable."""
        return self._record

    def note_master(self, epoch: Epoch, committed: int, at_s: float) -> None:
        """A master's heartbeat came at `at_s` (monotonic); remembered until this process ends."""
        if epoch >= self._sight.epoch:
            self._sight = Sight(epoch, committed, at_s)

    def answer(self, question: wire.AskGrant | wire.AskAlone, now_s: float) -> wire.WitnessSays:
        """Decide and make it durable; raises OSError when it cannot, and then nothing is granted."""
        before = self._record
        if isinstance(question, wire.AskGrant):
            claim = Claim(question.epoch, question.seen, question.last_sequence, question.forced)
            after, verdict = decide_claim(before, claim)
            granted = verdict.granted
        else:
            after, granted = decide_alone(before, question.epoch, question.alone, question.counter)
        if after != before:
            self._store(after)
        sight = self._sight
        return wire.WitnessSays(
            question.question, granted, before.epoch, before.alone, before.alone_epoch, before.counter,
            sight.epoch, sight.sequence, now_s - sight.age_s,
        )  # fmt: skip

    def _load(self) -> WitnessRecord:
        try:
            stored = msgspec.json.decode(self._path.read_bytes(), type=_Stored)
        except FileNotFoundError:
            return WitnessRecord()
        except (msgspec.DecodeError, ValueError) as error:
            raise WitnessDamagedError(str(error)) from error
        if stored.sum and stored.sum != stored.summed().sum:
            raise WitnessDamagedError("its checksum is another")
        return WitnessRecord(stored.epoch, stored.alone, stored.alone_epoch, stored.counter)

    def _store(self, record: WitnessRecord) -> None:
        stored = _Stored(record.epoch, record.alone, record.alone_epoch, record.counter)
        body = msgspec.json.encode(stored.summed())
        beside = self._path.with_suffix(".new")
        with open(beside, "wb") as file:
            file.write(body)
            file.flush()
            sync_file(file.fileno())
        os.replace(beside, self._path)
        directory = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
        self._record = record
