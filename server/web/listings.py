"""The lists that can be taken along as CSV or JSON: which rows, by which filters, and where the next page begins.

A listing is read by keyset pages, so a long history costs no more at its end than at its beginning.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec

from server.core.model import Row
from server.core.run_states import RunState
from server.storage import (
    audit,
    calendars,
    groups,
    jobs,
    missed,
    monitors,
    overview,
    runs,
    server_history,
    system_messages,
    workflows,
)

Filters = Mapping[str, str]
Page = Callable[[sqlite3.Connection, Filters, Any, int], Sequence[Row]]
STATES = frozenset(str(state) for state in RunState)
FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What a spreadsheet takes for the beginning of a formula."""


@dataclass(frozen=True, slots=True)
class Listing:
    """`page` reads (connection, filters of the address, key to go on from or None, limit); `key` is that of a row.

    `without`: columns that are not given out.
    """

    page: Page
    key: str
    without: frozenset[str] = frozenset()
    word: str = "This list"


def _runs(connection: sqlite3.Connection, filters: Filters, after: Any, limit: int) -> Sequence[Row]:
    job, state = filters.get("job", ""), filters.get("state", "")
    known = jobs.by_name(connection, job) if job else None
    if job and known is None:
        return []
    wanted = state if state in STATES else ""
    return runs.page(connection, known.id if known else None, wanted, after, limit, filters.get("agent", ""))


LISTINGS: dict[str, Listing] = {
    "/jobs": Listing(
        lambda c, f, after, limit: jobs.lines(c, after or "", limit, f.get("match", ""), f.get("tag", "")), "name"
    ),
    "/runs": Listing(_runs, "number"),
    "/agents": Listing(
        lambda c, f, after, limit: overview.agent_lines(c, after or "", limit, f.get("match", ""), f.get("state", "")),
        "name",
    ),
    "/calendars": Listing(lambda c, f, after, limit: calendars.lines(c, after or "", limit), "name"),
    "/groups": Listing(lambda c, f, after, limit: groups.lines(c, after or "", limit), "name"),
    "/monitors": Listing(lambda c, f, after, limit: monitors.lines(c, after or "", limit, f.get("match", "")), "name"),
    "/workflows": Listing(
        lambda c, f, after, limit: workflows.lines(c, after or "", limit, f.get("match", ""), f.get("tag", "")), "name"
    ),
    "/scheduler": Listing(
        lambda c, f, after, limit: missed.page(c, after, limit, False), "id", word="All that was missed"
    ),
    "/messages": Listing(
        lambda c, f, after, limit: system_messages.page(
            c, after, limit, f.get("open") == "1", f.get("severity", ""), f.get("match", "")
        ),
        "id",
    ),
    "/server-history": Listing(
        lambda c, f, after, limit: server_history.page(c, after, limit, f.get("match", ""), f.get("open") == "1"),
        "id",
        without=frozenset({"output"}),
    ),
    "/audit": Listing(lambda c, f, after, limit: audit.page(c, after, limit, f.get("match", "")), "id"),
}
"""By the address of the page; `<address>.csv` and `<address>.json` are the same rows."""
NAMES = {"/scheduler": "missed"}
"""What a file is called when the page's word does not say it."""


def record(row: Row, without: frozenset[str] = frozenset()) -> dict[str, Any]:
    """A row for programs: times (`_us`) as ISO 8601 in UTC under the name without its unit."""
    found: dict[str, Any] = {}
    for name in row.__struct_fields__:
        value = getattr(row, name)
        if name in without:
            continue
        if name.endswith("_us") and (value is None or isinstance(value, int)):
            found[name.removesuffix("_us")] = None if value is None else _iso(value)
        else:
            found[name] = msgspec.to_builtins(value)
    return found


def cells(found: Mapping[str, Any]) -> Iterator[str]:
    """The values of a record as cells of a table; what a spreadsheet would compute is quoted with an apostrophe."""
    for value in found.values():
        if isinstance(value, str):
            yield f"'{value}" if value.startswith(FORMULA) else value
        elif value is None:
            yield ""
        else:
            yield msgspec.json.encode(value).decode()


def _iso(at_us: int) -> str:
    return datetime.fromtimestamp(at_us / 1_000_000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
