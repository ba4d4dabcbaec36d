"""Read the events of a Cronicle export: `KEY - JSON` lines as its control script writes them, or JSON of events. Pure.

One line of the report for each event, and one for each line that is not understood. What an event asks for and a job
here does not do is named in the report and not silently dropped. Format: the export and event format of Cronicle's own
documentation, version 0.9.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from typing import Any

from server.core.exit_rules import ExitRules, wrong_exit_rules
from server.core.foreign_jobs import ForeignJob, Line
from server.core.retry import RetryRule, wrong_retry

_RECORD = re.compile(r"(\S+) - (\{.*\})\s*\Z", re.S)
_PAGE = re.compile(r"global/schedule/-?\d+\Z")
_RANGES = {"minutes": (0, 59), "hours": (0, 23), "days": (1, 31), "months": (1, 12), "weekdays": (0, 6)}
_WEEKDAYS = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_WEEKS = {tuple(range(first, first + 7)): word for first, word in ((1, "1st"), (8, "2nd"), (15, "3rd"), (22, "4th"))}
_LEFT = {
    "chain": "the event that it starts on success: give that job a prerequisite",
    "chain_error": "the event that it starts on failure: give that job a prerequisite",
    "web_hook": "its web hook: see notification lists",
    "notify_fail": "its mail on failure: see notification lists",
    "notify_success": "its mail on success: see notification lists",
    "cpu_limit": "its limit of processor time",
    "memory_limit": "its limit of memory",
    "log_max_size": "its limit of output",
}
"""What is not taken over, by field, when it is set."""
WEEK_S = 7 * 86_400


class Refused(Exception):
    """The event cannot be a job here; the text says why."""


def parse(text: str) -> list[Line]:
    """Every event of the file, in order, and every line that is none; nothing raises."""
    report: list[Line] = []
    for number, raw, found in _records(text):
        if isinstance(found, str):
            report.append(
                Line(number, raw, found if found == "comment" else "refused", "" if found == "comment" else found)
            )
            continue
        for event in found:
            report.append(_line(number, event))
    return report


def _records(text: str) -> Iterator[tuple[int, str, list[Any] | str]]:
    """(line number, text, the events of it, or `comment`, or why it is refused)."""
    stripped = text.strip()
    if stripped.startswith(("{", "[")):
        try:
            found = json.loads(stripped)
        except (ValueError, RecursionError) as error:
            yield 1, stripped[:60], f"it is no JSON: {error}"
            return
        rows = found.get("rows", found.get("items", [found])) if isinstance(found, dict) else found
        yield 1, stripped[:60], rows if isinstance(rows, list) else "it holds no list of events"
        return
    for number, raw in enumerate(text.splitlines(), start=1):
        if not raw.strip() or raw.startswith("#"):
            yield number, raw, "comment"
            continue
        record = _RECORD.match(raw)
        if record is None:
            yield number, raw[:80], "it is no line of an export: KEY - JSON"
        elif not _PAGE.match(record[1]):
            yield number, record[1], "comment"
        else:
            try:
                items = json.loads(record[2]).get("items", [])
            except (ValueError, AttributeError, RecursionError) as error:
                yield number, record[1], f"it is no JSON: {error}"
                continue
            yield number, record[1], items if isinstance(items, list) else "it holds no list of events"


def _line(number: int, event: Any) -> Line:
    title = str(event.get("title") or event.get("id") or "") if isinstance(event, dict) else ""
    if not title:
        return Line(number, str(event)[:60], "refused", "it is no event: it has neither title nor id")
    try:
        job, left = _job(event, title)
    except Refused as error:
        return Line(number, title, "refused", str(error))
    reason = f"not taken over: {'; '.join(left)}" if left else ""
    return Line(number, title, "job", reason, job)


def _job(event: dict[str, Any], title: str) -> tuple[ForeignJob, list[str]]:
    if event.get("multiplex"):
        raise Refused("it runs on every server of its group: make a job of a group with the policy `all`")
    command, standard_input, rules = _work(event)
    left = [f"{name} ({why})" for name, why in _LEFT.items() if event.get(name)]
    retry = RetryRule(attempts_max=_whole(event, "retries") + 1, delay_s=_whole(event, "retry_delay"), factor=1.0)
    if wrong_retry(retry):
        left.append(f"its {retry.attempts_max - 1} retries after {retry.delay_s} s")
        retry = RetryRule()
    one_at_a_time = _whole(event, "max_children") == 1
    if _whole(event, "max_children") > 1 or (one_at_a_time and event.get("queue")):
        left.append("its limit of runs at once: set a limit")
    job = ForeignJob(
        _schedules(event.get("timing")),
        command,
        standard_input=standard_input,
        name=title,
        target=str(event.get("target") or ""),
        zone=str(event.get("timezone") or ""),
        misfire_policy="all" if event.get("catch_up") else "skip",
        misfire_grace_s=WEEK_S if event.get("catch_up") else 0,
        timeout_s=_whole(event, "timeout"),
        retry=retry,
        exit_rules=rules,
        skip_if_running=one_at_a_time and not event.get("queue"),
        held=not event.get("enabled", 1),
        description=str(event.get("notes") or ""),
    )
    return job, left


def _whole(event: dict[str, Any], name: str) -> int:
    value = event.get(name) or 0
    if isinstance(value, str) and value.isdigit():
        value = int(value)
    if not isinstance(value, int) or value < 0:
        raise Refused(f"its {name} is {value!r}, and no whole number")
    return value


def _work(event: dict[str, Any]) -> tuple[str, str, ExitRules]:
    """(command, standard input, what is success) of the two plugins that say it themselves."""
    plugin, params = event.get("plugin"), event.get("params")
    params = params if isinstance(params, dict) else {}
    if plugin == "shellplug":
        return (*_script(str(params.get("script") or "")), ExitRules())
    if plugin == "urlplug":
        return _request(params)
    raise Refused(f"the plugin {plugin!r} is a program of that installation: write its command as a job")


def _script(text: str) -> tuple[str, str]:
    """A script for `/bin/sh` is the command itself; one for another program is its standard input."""
    script = text.replace("\r\n", "\n")
    if not script.strip():
        raise Refused("its script is empty")
    first, _, rest = script.partition("\n")
    if not first.startswith("#!"):
        return script, ""
    interpreter = first[2:].strip()
    if interpreter in ("/bin/sh", "/usr/bin/sh", "/usr/bin/env sh"):
        return rest.strip("\n"), ""
    return f"{interpreter} /dev/stdin", script


def _request(params: dict[str, Any]) -> tuple[str, str, ExitRules]:
    url = str(params.get("url") or "")
    if not url:
        raise Refused("its request has no address")
    words = ["curl", "--fail", "--silent", "--show-error", "--request", str(params.get("method") or "GET").upper()]
    if params.get("follow"):
        words.append("--location")
    if params.get("ssl_cert_bypass"):
        words.append("--insecure")
    for header in str(params.get("headers") or "").splitlines():
        words += ["--header", header.strip()] if header.strip() else []
    data = str(params.get("data") or "")
    if data:
        words += ["--data-binary", "@-"]
    rules = ExitRules(
        success_pattern=str(params.get("success_match") or ""), failure_pattern=str(params.get("error_match") or "")
    )
    wrong = wrong_exit_rules(rules)
    if wrong:
        raise Refused(f"it judges the answer by a pattern that is none here: {'; '.join(wrong.values())}")
    return shlex.join([*words, url]), data, rules


def _schedules(timing: Any) -> tuple[str, ...]:
    """The expressions of a timing: lists of numbers that must all match; without one it is only run by hand."""
    if not timing:
        return () if timing in (None, False, 0, "") else ("* * * * *",)
    if not isinstance(timing, dict):
        raise Refused("its timing is no set of lists")
    if timing.get("years"):
        raise Refused("it is due in certain years only: write a list of dates (`on 2026-12-24 10:00, …`)")
    parts = {name: _numbers(timing, name, *bounds) for name, bounds in _RANGES.items()}
    if parts["days"] and parts["weekdays"]:
        return _both(parts)
    fields = (",".join(map(str, parts[name])) or "*" for name in ("minutes", "hours", "days", "months", "weekdays"))
    return (" ".join(fields),)


def _numbers(timing: dict[str, Any], name: str, low: int, high: int) -> tuple[int, ...]:
    found = timing.get(name) or []
    if not isinstance(found, list) or not all(isinstance(one, int) and low <= one <= high for one in found):
        raise Refused(f"its {name} are {found!r}: numbers from {low} to {high} are understood")
    return tuple(sorted(set(found)))


def _both(parts: dict[str, tuple[int, ...]]) -> tuple[str, ...]:
    """Days of the month and weekdays must both match there; cron would take either. Weeks of a month have words."""
    week = _WEEKS.get(parts["days"])
    if week is None or not parts["hours"] or not parts["minutes"]:
        raise Refused("days of the month and weekdays must both match: write it like `1st Monday of Mar, Sep at 06:00`")
    times = ", ".join(f"{hour:02}:{minute:02}" for hour in parts["hours"] for minute in parts["minutes"])
    months = f" of {', '.join(_MONTHS[month - 1] for month in parts['months'])}" if parts["months"] else ""
    return tuple(f"{week} {_WEEKDAYS[day]}{months} at {times}" for day in parts["weekdays"])
