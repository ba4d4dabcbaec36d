"""Sends what jobs print to the master, in chunks at offsets: one sent twice changes nothing, a gap is asked for."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import structlog

from server.agent.ends import RUNS
from server.agent.output_file import OUTPUT_FILE
from server.core.agent_wire import OUTPUT_CHUNK_BYTES, Output, OutputKept

log = structlog.get_logger(__name__)

WINDOW_BYTES = 4 * OUTPUT_CHUNK_BYTES
IN_FLIGHT_BYTES_MAX = 16 << 20
"""Of all runs: after a long absence there may be gigabytes, and neither the agent's memory nor a master takes them."""


@dataclass(slots=True)
class _Stream:
    """`kept` bytes are at the master, `sent` are on their way; `mark` is the request that holds the last of them.

    `asked`: it was asked, on this connection, whether all of it is replicated.
    """

    kept: int = 0
    sent: int = 0
    final: int | None = None
    mark: int = 0
    asked: bool = False


class Outputs:
    """`send(message)` reaches the obeyed master; `done(key)` is called once all is replicated.

    `takes(key)`: that master has admitted the agent and hears of the run before whatever is sent now.
    """

    def __init__(
        self,
        data: Path,
        takes: Callable[[str], bool],
        send: Callable[[Output], None],
        done: Callable[[str], None],
    ) -> None:
        self._runs = data / RUNS
        self._takes = takes
        self._send = send
        self._done = done
        self._streams: dict[str, _Stream] = {}
        self._in_flight = 0

    def follow(self, key: str) -> None:
        """A run has begun, or was found again."""
        self._streams.setdefault(key, _Stream())

    def ended(self, key: str, size: int) -> None:
        """The output is whole: `size` bytes. What is short goes out at once, ahead of the result."""
        stream = self._streams.setdefault(key, _Stream())
        if size == 0:  # nothing to send, and nothing to ask a master for
            self._finish(key)
            return
        stream.final = size
        if size - stream.sent <= OUTPUT_CHUNK_BYTES:
            self._send_more(key, stream)

    def drop(self, key: str) -> None:
        """Nobody wants it any more."""
        if key in self._streams:
            self._remove(key)

    def admitted(self, held: dict[str, int]) -> None:
        """A master said how much it holds: go on from there, on this connection."""
        for key, stream in self._streams.items():
            kept = max(held.get(key, 0), 0)
            self._place(stream, kept, kept)
            stream.mark = 0
            stream.asked = False
        self.pump()

    def kept(self, message: OutputKept) -> None:
        """The master's answer to a chunk."""
        stream = self._streams.get(message.key)
        if stream is None:
            return
        if message.size < 0:
            self._finish(message.key)
            return
        is_gap = message.size < stream.kept or stream.sent > stream.kept == message.size
        self._place(stream, message.size, message.size if is_gap else stream.sent)
        stream.mark = 0 if message.in_sync else message.sequence
        if stream.final is not None and stream.kept >= stream.final and message.in_sync:
            self._finish(message.key)

    def replicated(self, sequence: int) -> None:
        """The standby holds everything up to `sequence`."""
        for key, stream in list(self._streams.items()):
            whole = stream.final is not None and stream.kept >= stream.final
            if whole and 0 < stream.mark <= sequence:
                self._finish(key)

    def pump(self) -> None:
        """Send what has grown; call a few times a second while admitted.

        Who has sent something is behind all others the next time, so that each gets its turn.
        """
        for key, stream in list(self._streams.items()):
            before = stream.sent
            self._send_more(key, stream)
            if stream.sent > before and key in self._streams:
                self._streams[key] = self._streams.pop(key)

    def _place(self, stream: _Stream, kept: int, sent: int) -> None:
        self._in_flight += (sent - kept) - (stream.sent - stream.kept)
        stream.kept, stream.sent = kept, sent

    def _remove(self, key: str) -> None:
        stream = self._streams.pop(key)
        self._place(stream, 0, 0)

    def _finish(self, key: str) -> None:
        self._remove(key)
        self._done(key)

    def _send_more(self, key: str, stream: _Stream) -> None:
        if not self._takes(key):
            return
        if stream.final is not None and stream.sent >= stream.final:
            if stream.kept >= stream.final and not stream.asked:  # all came before the end: nothing is left to answer
                stream.asked = True
                self._send(Output(key, stream.kept, b"", stream.kept))
            return
        if self._in_flight >= IN_FLIGHT_BYTES_MAX:
            return
        path = f"{self._runs}/{key}/{OUTPUT_FILE}"
        try:
            if os.stat(path).st_size <= stream.sent and stream.final is None:
                return
            with open(path, "rb") as file:
                file.seek(stream.sent)
                while stream.sent - stream.kept < WINDOW_BYTES and self._in_flight < IN_FLIGHT_BYTES_MAX:
                    data = file.read(OUTPUT_CHUNK_BYTES)
                    if not data:
                        break
                    self._send(Output(key, stream.sent, data, stream.sent + len(data)))
                    self._place(stream, stream.kept, stream.sent + len(data))
        except FileNotFoundError:
            if stream.final is not None:
                self._finish(key)
        except OSError as error:
            log.warning("output cannot be read; it is tried again", key=key, error=str(error))
