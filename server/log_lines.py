"""Where a program's log goes: lines on standard error, for people on a terminal, JSON elsewhere."""

from __future__ import annotations

import logging
import os
import sys

import structlog
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError


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


class HttpLog(logging.Handler):
    """Takes what the HTTP library logs. A request that it cannot read is no error here, and never a traceback: whoever
    reaches the port could fill the disk with them.
    """

    def emit(self, record: logging.LogRecord) -> None:
        """One line; with the traceback only of what nobody expected."""
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, (HttpProcessingError, web.RequestPayloadError, ConnectionError, web.HTTPException)):
            structlog.get_logger().debug("a request could not be read", why=" ".join(str(error).split())[:200])
        else:
            structlog.get_logger().error("HTTP", text=record.getMessage()[:1000], exc_info=error)


def http_logger() -> logging.Logger:
    """For the servers of all ports."""
    found = logging.getLogger("understudy.http")
    if not found.handlers:
        found.addHandler(HttpLog())
        found.propagate = False
    return found


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
