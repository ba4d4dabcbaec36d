"""What happened that may have consequences: the words of the outbox. Pure."""

from __future__ import annotations

from enum import StrEnum

from server.core.model import Row


class Kind(StrEnum):
    """What a happening is about: `source_id` and `subject` are the ids of that noun."""

    RUN = "run"
    """A job's run changed its state: source is the job, subject the run's number, status the `RunState`."""
    EVENT = "event"
    """An event monitor fired: source is the monitor, subject the event, status `fired`."""
    MONITOR = "monitor"
    """A job monitor tripped: source is the job monitor, subject its trip, status its label.

    A run ended of which it found nothing: subject the run, status `clear`."""
    WORKFLOW = "workflow"
    """A workflow's run changed its state: source is the workflow, subject its run, status the state."""


class Happening(Row, frozen=True, kw_only=True):
    """One thing that happened, by the clock of who made it happen (UTC). Ids grow in the order of commits."""

    id: int
    kind: str
    source_id: int
    subject: int
    status: str
    at_us: int
