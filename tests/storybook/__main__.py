"""Renders every page from fixed data: to a directory, or as a small server on loopback for looking at.

`python -m tests.storybook --out DIR` writes `<story>.html`, the static files and an index; `--serve PORT` (0 picks one)
serves the same with the headers that the product sends, until Ctrl-C.
"""

from __future__ import annotations

import argparse
import html
import shutil
from pathlib import Path

from aiohttp import web

from server.ports.secure_headers import CONTENT_SECURITY_POLICY
from server.web.render import STATIC, render
from tests.storybook import (
    announced,
    api_docs,
    calendars,
    certificates,
    checkpoints,
    drains,
    exceptions,
    forecasts,
    forks,
    groups,
    history,
    home,
    maintenance,
    monitors,
    notified,
    people,
    replaced,
    server,
    shared,
    silence,
    standby,
    work,
    workflow_runs,
    workflows,
)
from tests.storybook.fixture import Story

HEADERS = {"Content-Security-Policy": CONTENT_SECURITY_POLICY, "Cache-Control": "no-store"}


def stories() -> list[Story]:
    """All stories, each name once."""
    return [
        *home.stories(),
        *maintenance.stories(),
        *work.stories(),
        *forecasts.stories(),
        *checkpoints.stories(),
        *drains.stories(),
        *calendars.stories(),
        *workflows.stories(),
        *workflow_runs.stories(),
        *groups.stories(),
        *shared.stories(),
        *forks.stories(),
        *exceptions.stories(),
        *replaced.stories(),
        *monitors.stories(),
        *notified.stories(),
        *people.stories(),
        *api_docs.stories(),
        *certificates.stories(),
        *history.stories(),
        *server.stories(),
        *announced.stories(),
        *silence.stories(),
        *standby.stories(),
    ]


def index(found: list[Story]) -> str:
    """A list of links to all stories."""
    links = "".join(f'<li><a href="/{name}.html">{name}</a></li>' for name in (html.escape(s.name) for s in found))
    return f'<!doctype html><html lang="en"><title>Storybook</title><h1>Storybook</h1><ul>{links}</ul></html>'


def write(directory: Path) -> int:
    """Write all stories below `directory` and return how many there were."""
    directory.mkdir(parents=True, exist_ok=True)
    found = stories()
    for story in found:
        (directory / f"{story.name}.html").write_text(render(story.page))
    (directory / "index.html").write_text(index(found))
    shutil.copytree(STATIC, directory / "static", dirs_exist_ok=True)
    return len(found)


def application() -> web.Application:
    """An aiohttp application that serves the stories by name; `/api/v1/events` accepts and stays silent."""
    found = {f"/{story.name}.html": story for story in stories()}
    app = web.Application()

    async def show(request: web.Request) -> web.Response:
        if request.path == "/":
            return web.Response(text=index(list(found.values())), content_type="text/html", headers=HEADERS)
        if request.path not in found:
            raise web.HTTPNotFound(text="no such story")
        return web.Response(text=render(found[request.path].page), content_type="text/html", headers=HEADERS)

    async def events(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for _ in socket:
            pass
        return socket

    app.router.add_get("/api/v1/events", events)
    app.router.add_static("/static", STATIC)
    app.router.add_get("/{name:[^/]*}", show)
    return app


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description="Render every page from fixed data.")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--out", type=Path, help="write HTML files to this directory")
    what.add_argument("--serve", type=int, metavar="PORT", help="serve on 127.0.0.1")
    arguments = parser.parse_args()
    if arguments.out is not None:
        print(f"{write(arguments.out)} pages in {arguments.out}")
    else:
        web.run_app(application(), host="127.0.0.1", port=arguments.serve)


if __name__ == "__main__":
    main()
