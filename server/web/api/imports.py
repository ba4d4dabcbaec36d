"""Everything as one file and back; and files of other schedulers become jobs: crontabs, anacrontabs, Cronicle."""

from __future__ import annotations

import asyncio

import msgspec
from aiohttp import web

from server.actions import exports, imports
from server.actions.exports import Done, Importer
from server.actions.imports import Imported, Place
from server.trust.tls import secret_hash
from server.web.api.endpoint import Answer, Call, Endpoint


class CrontabImport(msgspec.Struct, frozen=True):
    """A crontab's text. `form` is user, system (its lines have a user field, as /etc/crontab) or anacron.

    `system` is the same as the form `system`. It runs on the agent, or on the group.
    """

    text: str
    agent: str = ""
    zone: str = "UTC"
    system: bool = False
    prefix: str = "cron"
    form: str = ""
    group: str = ""


class CronicleImport(msgspec.Struct, frozen=True):
    """An export of Cronicle, or its events as JSON. `targets`: where its servers and groups are here, by their names.

    A target is an agent's name, or `group NAME`; others run on `agent` or `group`.
    """

    text: str
    agent: str = ""
    zone: str = "UTC"
    prefix: str = "cronicle"
    group: str = ""
    targets: dict[str, str] = {}


class WholeImport(msgspec.Struct, frozen=True):
    """An export. `trial`: the report alone, nothing is changed."""

    text: str
    trial: bool = False


async def export(call: Call) -> web.Response:
    """Everything that people have said, as YAML; secrets without their values."""
    text = await call.read(exports.export)
    headers = {"Content-Disposition": 'attachment; filename="understudy.yaml"', "Cache-Control": "no-store"}
    return web.Response(text=text, content_type="application/yaml", charset="utf-8", headers=headers)


async def import_all(call: Call) -> Answer:
    """Bring about what an export says; answers a report, entry by entry."""
    entries = await asyncio.to_thread(exports.read, call.body.text)
    key = call.key

    def group_id(name: str) -> str:
        return secret_hash(f"group {key} {name}")[:32]

    of = Importer(call.by, call.now_us, call.site.seal.seal, group_id)
    return await call.write(exports.import_all(entries, of, call.body.trial))


async def import_crontab(call: Call) -> Answer:
    """Make jobs of a crontab; answers a report, line by line."""
    body = call.body
    form = body.form or ("system" if body.system else "user")
    place = Place(agent=body.agent, group=body.group)
    change = imports.import_file(body.text, form, place, body.zone, call.by, call.now_us, body.prefix)
    return await call.write(change)


async def import_cronicle(call: Call) -> Answer:
    """Make jobs of Cronicle's events; answers a report, event by event."""
    body = call.body
    place = Place(agent=body.agent, group=body.group, targets=body.targets)
    change = imports.import_file(body.text, "cronicle", place, body.zone, call.by, call.now_us, body.prefix)
    return await call.write(change)


ENDPOINTS = (
    Endpoint(
        "GET", "/api/v1/export", export, "Everything that people have said, as one YAML file", media="application/yaml"
    ),
    Endpoint(
        "POST", "/api/v1/import/all", import_all, "Bring about what an export says", body=WholeImport, answer=list[Done]
    ),
    *(
        Endpoint("POST", f"/api/v1/import/{name}", handler, sentence, body=body, answer=list[Imported])
        for name, handler, sentence, body in (
            ("crontab", import_crontab, "Make jobs of a crontab", CrontabImport),
            ("cronicle", import_cronicle, "Make jobs of an export of Cronicle", CronicleImport),
        )
    ),
)
