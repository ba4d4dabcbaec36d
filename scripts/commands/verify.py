"""`understudy verify` and `understudy sql`: what both nodes hold, proven; and a safe look into the database."""

from __future__ import annotations

import csv
import sys

import click

from scripts.client import FAILED, OK
from scripts.commands.options import Asker, asks_node, table

VERIFY_TIMEOUT_S = 1900.0


@click.command()
@asks_node
def verify(asker: Asker) -> int:
    """Have both nodes read and check everything they hold, and compare them. Exit code 0 equal and whole, 1 not.

    Jobs and writes go on meanwhile. About a second for each GiB, and longer for SQLite's own check of the standby.
    """
    asker.client.timeout_s = VERIFY_TIMEOUT_S
    found = asker.client.post("/api/v1/verify")
    verdict = "EQUAL AND WHOLE" if found["ok"] else "NOT PROVEN"
    lines = [f"{verdict}: {found['text']}"]
    for node in found["nodes"]:
        sound = f", SQLite's check: {node['soundness']}" if node["soundness"] else ""
        lines.append(
            f"{node['name']:12} {node['role']:8} request {node['sequence']}, checksum {node['checksum']}, "
            f"{node['pages']} pages, {len(node['bad_pages'])} damaged{sound}, {node['objects']} objects, "
            f"{node['seconds']:.1f} s"
        )
    asker.show(found, lines)
    return OK if found["ok"] else FAILED


@click.command()
@click.argument("query")
@click.option("--limit", default=1000, show_default=True, help="How many rows at most.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV with a head line.")
@asks_node
def sql(asker: Asker, query: str, limit: int, as_csv: bool) -> int:
    """Look into the database of this node with one SELECT, in either role; columns with secrets read as empty.

    Never open scheduler.db with another program while the node runs: that breaks SQLite's locks on it.
    """
    found = asker.client.post("/api/v1/sql", {"query": query, "limit": limit})
    if as_csv and not asker.as_json:
        writer = csv.writer(sys.stdout)
        writer.writerow(found["columns"])
        writer.writerows(found["rows"])
        return OK
    rows = [["" if value is None else value for value in row] for row in found["rows"]]
    more = [f"... and more: the limit is {limit} rows (--limit)"] if found["more"] else []
    asker.show(found, [*table(rows, found["columns"]), f"({len(rows)} rows, as of request {found['sequence']})", *more])
    return OK
