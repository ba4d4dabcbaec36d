"""A job as another scheduler has it, read from its own file, and the report of what was read. Pure."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field

from server.core.exit_rules import ExitRules
from server.core.retry import RetryRule

NO_RETRY = RetryRule()
PLAIN_RULES = ExitRules()


@dataclass(frozen=True, slots=True)
class ForeignJob:
    """What a line says, in the words of a job here. `schedules` are expressions (core.expressions), none for a job that
    is only run by hand. `zone` "" is the zone of the import; `target` is where it ran there, "" when the file is one
    machine's; `name` "" asks for one made of the command.
    """

    schedules: tuple[str, ...]
    command: str
    user: str = ""
    standard_input: str = ""
    environment: dict[str, str] = field(default_factory=dict)
    name: str = ""
    target: str = ""
    zone: str = ""
    jitter_s: int = 0
    misfire_policy: str = "once"
    misfire_grace_s: int = 3600
    timeout_s: int = 0
    retry: RetryRule = NO_RETRY
    exit_rules: ExitRules = PLAIN_RULES
    skip_if_running: bool = False
    held: bool = False
    description: str = ""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the report. kind: job | environment | comment | refused.

    A job may have a `reason` to look at it.
    """

    number: int
    text: str
    kind: str
    reason: str = ""
    job: ForeignJob | None = None


def job_name(prefix: str, line: Line) -> str:
    """A name for a job line: the prefix, its own name or the program's, and six digits that only this line has."""
    assert line.job is not None
    job = line.job
    words = re.findall(r"[A-Za-z0-9_.-]+", job.name or _program(job.command))
    stem = "-".join(words if job.name else words[:1]).strip("._-")[:40]
    mark = "\n".join((" ".join(job.schedules), job.user, job.command, job.standard_input, *filter(None, (job.name,))))
    digest = hashlib.sha256(mark.encode()).hexdigest()[:6]
    return "-".join(part for part in (prefix, stem, digest) if part)


def _program(command: str) -> str:
    """The last part of the path of the first program that is no shell word, test or directory change."""
    for part in re.split(r"\|\||&&|;|\|", command):
        words = part.strip().strip("({ ").split()
        while words and re.match(r"[A-Za-z_]\w*=", words[0]):
            words.pop(0)
        if words and words[0] not in {"test", "[", "cd", "if", "then", "command", "nice", "ionice", "root"}:
            return words[0].rsplit("/", 1)[-1]
    return "job"
