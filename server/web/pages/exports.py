"""Lists as files: `GET /runs.csv?state=failed`, `GET /runs.json?…`, with the filters of the page, all of its rows."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

import msgspec
from aiohttp import web

from server.core.model import Row
from server.site import site_of
from server.web.listings import LISTINGS, NAMES, Listing, cells, record
from server.web.pages import serve

PAGE = 500
TYPES = {"csv": "text/csv; charset=utf-8", "json": "application/json"}


def _route(path: str, kind: str) -> serve.Route:
    listing = LISTINGS[path]
    name = NAMES.get(path, path.removeprefix("/"))

    async def export(request: web.Request) -> web.StreamResponse:
        headers = {"Content-Type": TYPES[kind], "Content-Disposition": f'attachment; filename="{name}.{kind}"'}
        response = web.StreamResponse(headers={**headers, "Cache-Control": "no-store"})
        found = await _read(request, listing, None)
        await response.prepare(request)
        await response.write(_head(found, listing, kind))
        is_first = True
        while found:
            await response.write(_rows(found, listing, kind, is_first))
            is_first = False
            found = await _read(request, listing, getattr(found[-1], listing.key)) if len(found) == PAGE else ()
        await response.write(b"\n]\n" if kind == "json" else b"")
        return response

    return serve.get(f"{path}.{kind}", export)


async def _read(request: web.Request, listing: Listing, after: object) -> Sequence[Row]:
    """The next page of rows, confirmed or not: as the list itself shows them."""
    site = site_of(request)
    site.store()
    found, _, _ = await site.read(lambda c: listing.page(c, request.query, after, PAGE), serve.tenant(request))
    return found


def _head(found: Sequence[Row], listing: Listing, kind: str) -> bytes:
    if kind == "json":
        return b"["
    return _line(list(record(found[0], listing.without))) if found else b""


def _rows(found: Sequence[Row], listing: Listing, kind: str, is_first: bool) -> bytes:
    records = [record(row, listing.without) for row in found]
    if kind == "csv":
        return b"".join(_line(list(cells(one))) for one in records)
    text = b",\n".join(msgspec.json.encode(one) for one in records)
    return (b"\n" if is_first else b",\n") + text


def _line(values: list[str]) -> bytes:
    line = io.StringIO()
    csv.writer(line).writerow(values)
    return line.getvalue().encode()


ROUTES = tuple(_route(path, kind) for path in LISTINGS for kind in TYPES)
