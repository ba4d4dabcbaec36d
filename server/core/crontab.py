"""Read a crontab, line by line: every line is a job, an environment line, a comment, or refused with its reason.

`system_form` is /etc/crontab and /etc/cron.d: a user name stands between the schedule and the command. An
environment line holds for the lines below it. `%` ends the command and what follows is its standard input;
`\\%` is a percent sign (crontab(5)).
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field

from server.core.schedule import NICKNAMES, BadSchedule, check

_ASSIGNMENT = re.compile(r"""\s*(?:"([^"]*)"|'([^']*)'|([A-Za-z_][A-Za-z0-9_]*))\s*=\s*(.*?)\s*\Z""")
_TZ = ("CRON_TZ",)
_USER = re.compile(r"[a-z_][a-z0-9_-]*\$?\Z")


@dataclass(frozen=True, slots=True)
class CronJob:
    """A job line. `user` is "" in the user's form; `environment` is what the lines above set."""

    cron: str
    user: str
    command: str
    standard_input: str = ""
    environment: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the report. kind: job | environment | comment | refused.

    A job may have a `reason` to look at it.
    """

    number: int
    text: str
    kind: str
    reason: str = ""
    job: CronJob | None = None


def parse(text: str, system_form: bool) -> list[Line]:
    """Every line of the text, in order; nothing is left out and nothing raises."""
    environment: dict[str, str] = {}
    return [_line(number, line, system_form, environment) for number, line in enumerate(text.splitlines(), start=1)]


def job_name(prefix: str, line: Line) -> str:
    """A name for a job line: the prefix, the program's name, and six digits that only this line has."""
    assert line.job is not None
    job = line.job
    words = re.findall(r"[A-Za-z0-9_.-]+", _program(job.command))
    stem = words[0].strip("._-")[:40] if words else ""
    mark = "\n".join((job.cron, job.user, job.command, job.standard_input))
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


def _line(number: int, raw: str, system_form: bool, environment: dict[str, str]) -> Line:
    text = raw.strip()
    if not text or text.startswith("#"):
        return Line(number, raw, "comment")
    assignment = _ASSIGNMENT.match(text)
    if assignment is not None:
        return _environment_line(number, raw, assignment, environment)
    parts = text.split(None, 1) if text.startswith("@") else text.split(None, 5)
    cron, rest = _schedule(parts)
    if not cron:
        return Line(number, raw, "refused", "it has fewer than five fields of time and a command")
    if cron == "@reboot":
        reason = "@reboot is a start of the machine, no time: make it a service of the machine"
        return Line(number, raw, "refused", reason)
    try:
        check(cron, "UTC")
    except BadSchedule as error:
        return Line(number, raw, "refused", str(error))
    return _job_line(number, raw, cron, rest, system_form, environment)


def _schedule(parts: list[str]) -> tuple[str, str]:
    """(cron, rest of the line), ("", "") when there are too few fields."""
    if parts[0].startswith("@"):
        nickname = parts[0].lower()
        return (nickname if nickname in NICKNAMES else parts[0]), parts[1] if len(parts) > 1 else ""
    return (" ".join(parts[:5]), parts[5]) if len(parts) == 6 else ("", "")


def _job_line(number: int, raw: str, cron: str, rest: str, system_form: bool, environment: dict[str, str]) -> Line:
    user = ""
    if system_form:
        user, _, rest = rest.partition(" ") if " " in rest else (rest, "", "")
        if "\t" in user:
            user, _, tail = user.partition("\t")
            rest = f"{tail} {rest}"
        if not _USER.match(user):
            return Line(number, raw, "refused", f"{user!r} is no user name: is it a crontab without users?")
    command, standard_input = _split_percent(rest.strip())
    if not command:
        return Line(number, raw, "refused", "there is no command")
    notes = []
    if "MAILTO" in environment:
        notes.append(f"MAILTO={environment['MAILTO']} is not mailed: see the run's output")
    kept = {name: value for name, value in environment.items() if name != "MAILTO"}
    job = CronJob(cron, user, command, standard_input, kept)
    return Line(number, raw, "job", "; ".join(notes), job)


def _environment_line(number: int, raw: str, found: re.Match[str], environment: dict[str, str]) -> Line:
    name = next(group for group in found.groups()[:3] if group is not None)
    value = found.group(4)
    if len(value) >= 2 and value[0] == value[-1] and value[0] in "\"'":
        value = value[1:-1]
    if name in _TZ:
        try:
            check("* * * * *", value)
        except BadSchedule as error:
            return Line(number, raw, "refused", str(error))
    environment[name] = value
    reason = "output is kept with each run; nothing is mailed" if name == "MAILTO" else ""
    return Line(number, raw, "environment", reason)


def _split_percent(text: str) -> tuple[str, str]:
    """(command, standard input): the first bare % ends the command, later ones are line ends."""
    parts = re.split(r"(?<!\\)%", text)
    clean = [part.replace("\\%", "%") for part in parts]
    return clean[0].strip(), ("\n".join(clean[1:]) + "\n") if len(clean) > 1 else ""
