"""Read a crontab, line by line: every line is a job, an environment line, a comment, or refused with its reason.

`system_form` is /etc/crontab and /etc/cron.d: a user name stands between the schedule and the command. An
environment line holds for the lines below it. `%` ends the command and what follows is its standard input;
`\\%` is a percent sign (crontab(5)).
"""

from __future__ import annotations

import re

from server.core.foreign_jobs import ForeignJob, Line
from server.core.schedule import NICKNAMES, BadSchedule, check

_ASSIGNMENT = re.compile(r"""\s*(?:"([^"]*)"|'([^']*)'|([A-Za-z_][A-Za-z0-9_]*))\s*=\s*(.*?)\s*\Z""")
_TZ = ("CRON_TZ",)
_USER = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*\$?\Z")


def parse(text: str, system_form: bool) -> list[Line]:
    """Every line of the text, in order; nothing is left out and nothing raises."""
    environment: dict[str, str] = {}
    return [_line(number, line, system_form, environment) for number, line in enumerate(text.splitlines(), start=1)]


def _line(number: int, raw: str, system_form: bool, environment: dict[str, str]) -> Line:
    text = raw.strip()
    if not text or text.startswith("#"):
        return Line(number, raw, "comment")
    known = environment_line(number, raw, environment)
    if known is not None:
        return known
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
    zone = kept.pop("CRON_TZ", "")
    job = ForeignJob((cron,), command, user, standard_input, kept, zone=zone)
    return Line(number, raw, "job", "; ".join(notes), job)


def environment_line(number: int, raw: str, environment: dict[str, str]) -> Line | None:
    """The report of a line `NAME = value`, which `environment` has from then on; None when it is none."""
    found = _ASSIGNMENT.match(raw.strip())
    if found is None:
        return None
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
