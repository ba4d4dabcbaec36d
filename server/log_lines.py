"""Where a program's log goes: lines on standard error, for people on a terminal, JSON elsewhere."""

from __future__ import annotations

import logging
import os
import sys

import structlog


class LogStream:
    """A descriptor that takes whole lines. One that it does not take is dropped and counted, and that is said later.

    Standard error may be a file on the very disk that is full, or a pipe whose reader has gone: a program that has
    something to say about it must not end by saying it.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._lost = 0
        self._start = ""

    def write(self, line: str) -> None:
        """Write one line that ends in a newline; never raises OSError."""
        told = f"{self._start}{self._lost} lines of this log could not be written\n" if self._lost else ""
        content = (told + line).encode(errors="replace")
        try:
            written = os.write(self._descriptor, content)
        except OSError:
            written = 0
        if written < len(content):
            self._lost += 1
            self._start = "\n" if written else self._start  # what is there of it gets a line of its own
        else:
            self._lost, self._start = 0, ""

    def flush(self) -> None:
        """Nothing is held back."""


def configure_log(level: str) -> None:
    """All log lines of this process from here on, of `level` and above (a name of the logging module).

    A traceback has no values of variables: they may be secrets.
    """
    terminal = sys.stderr.isatty()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *([] if terminal else [structlog.processors.format_exc_info]),
            structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
            if terminal
            else structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level.upper())),
        logger_factory=structlog.WriteLoggerFactory(LogStream(sys.stderr.fileno())),  # type: ignore[arg-type]  # all that it calls
    )
