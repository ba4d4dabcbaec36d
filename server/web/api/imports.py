"""Files of other schedulers become jobs: crontabs, anacrontabs, exports of Cronicle."""

from __future__ import annotations

import msgspec

from server.actions import imports
from server.actions.imports import Imported, Place
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


ENDPOINTS = tuple(
    Endpoint("POST", f"/api/v1/import/{name}", handler, sentence, body=body, answer=list[Imported])
    for name, handler, sentence, body in (
        ("crontab", import_crontab, "Make jobs of a crontab", CrontabImport),
        ("cronicle", import_cronicle, "Make jobs of an export of Cronicle", CronicleImport),
    )
)
