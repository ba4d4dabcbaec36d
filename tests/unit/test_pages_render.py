"""Templates against fixed data: every page renders, and whatever it points to exists."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiohttp import web

from scripts.vendor import VENDOR, differences
from server.core.run_states import RunState
from server.core.swap_plan import STEPS
from server.web import states
from server.web.frame import NAVIGATION
from server.web.pages import PAGES
from server.web.pages.serve import NOTICES
from server.web.render import STATIC, TEMPLATES, render
from tests.storybook.__main__ import stories
from tests.storybook.fixture import Story, changed
from tests.storybook.server import DONE

STORIES = stories()
ROUTES = [route for page in PAGES for route in page.ROUTES]
SYMBOLS = set(re.findall(r'<symbol id="([^"]+)"', (VENDOR / "icons.svg").read_text()))


def by_name(story: Story) -> str:
    return story.name


def has_route(method: str, path: str) -> bool:
    """Whether a route of the pages takes this path."""
    app = web.Application()

    async def nothing(_: web.Request) -> web.Response:
        return web.Response()

    for route in ROUTES:
        if route.method == method:
            app.router.add_route("GET", route.path, nothing)
    return any(
        resource.canonical and resource.get_info() and _fits(resource, path) for resource in app.router.resources()
    )


def _fits(resource: object, path: str) -> bool:
    info = resource.get_info()  # type: ignore[attr-defined]  # every resource of aiohttp has it
    if "path" in info:
        return bool(info["path"] == path)
    return info["pattern"].fullmatch(path) is not None


def addresses(text: str) -> Iterator[tuple[str, str]]:
    """(method, path) of every link and form on this node."""
    for href in re.findall(r'<a [^>]*href="(/[^"?#]*)', text):
        yield "GET", href
    for form in re.findall(r"<form ([^>]*)>", text):
        action = re.search(r'action="([^"]+)"', form)
        if action and 'method="post"' in form:
            yield "POST", action.group(1)


@pytest.mark.parametrize("story", STORIES, ids=by_name)
def test_every_link_and_form_has_a_route(story: Story) -> None:
    """No link leads to nothing and no form to a path that nobody serves."""
    found = {(method, path) for method, path in addresses(render(story.page)) if not path.startswith("/api/")}
    missing = [f"{method} {path}" for method, path in sorted(found) if not has_route(method, path)]
    assert missing == []


@pytest.mark.parametrize("story", STORIES, ids=by_name)
def test_every_icon_is_in_the_sprite_and_ids_are_unique(story: Story) -> None:
    """An icon that the sprite lacks would be an empty square; an id used twice breaks labels and live parts."""
    text = render(story.page)
    assert {name for name in re.findall(r"icons\.svg[^#\"]*#([^\"]+)", text)} <= SYMBOLS
    ids = re.findall(r'\sid="([^"]+)"', text)
    assert sorted(ids) == sorted(set(ids))


@pytest.mark.parametrize("story", STORIES, ids=by_name)
def test_nothing_is_inline_and_nothing_comes_from_elsewhere(story: Story) -> None:
    """The policy `default-src 'self'` has nothing to block: no style, no handler, no foreign source."""
    text = render(story.page)
    assert not re.search(r"<[^>]+\s(style|on[a-z]+)=", text)
    assert not re.search(r"<script(?![^>]*src=)|<style", text)
    assert re.findall(r'(?:src|<link [^>]*href)="(?!/static/)[^"]*"', text) == []


def test_every_template_of_a_page_is_in_the_storybook() -> None:
    """A template without a story is a page nobody has looked at."""
    shown = {story.page.template for story in STORIES}
    there = {
        f"{path.parent.name}/{path.name}" for folder in ("pages", "errors") for path in (TEMPLATES / folder).iterdir()
    }
    assert there == shown


def test_the_stories_show_the_swap_as_the_guide_does_it() -> None:
    """The steps in the storybook, in the browser tests and in the documents are the guide's own, in its order."""
    assert tuple(name for name, _, _ in DONE) == STEPS


def test_navigation_leads_to_pages_only() -> None:
    """The navigation names no page that does not exist."""
    assert [link.href for _, links in NAVIGATION for link in links if not has_route("GET", link.href)] == []


def test_every_state_has_a_word_an_icon_and_a_tone() -> None:
    """Never colour alone: no badge lacks a word or an icon, and every state of a run has its own."""
    tables = (states.RUNS, states.AGENTS, states.QUEUES, states.STEPS, states.SWAPS, states.SEVERITIES)
    badges = [badge for table in tables for badge in table.values()]
    assert all(badge.word and badge.icon in SYMBOLS for badge in badges)
    assert {badge.tone for badge in badges} == {"ok", "warn", "bad", "busy", "idle"}
    assert set(states.RUNS) == {str(state) for state in RunState}


def test_every_notice_of_a_redirect_is_worded() -> None:
    """Each `done=` word that a handler sends people back with has its sentence, and none is left over."""
    code = "".join(path.read_text() for path in (STATIC.parent / "pages").glob("*.py"))
    used = set(re.findall(r'serve\.back\([^)]*?"([a-z-]+)"\)', code))
    assert used == set(NOTICES)


def test_what_a_job_prints_cannot_become_markup() -> None:
    """Output, names and reasons are escaped wherever they are shown."""
    story = next(one for one in STORIES if one.name == "run-running")
    page = changed(story.page, output="<script>alert(1)</script>", command='"><img src=x>')
    text = render(page)
    assert "<script>alert" not in text
    assert "<img src=x" not in text
    assert "&lt;script&gt;alert(1)" in text


def test_vendored_files_are_what_the_manifest_says(tmp_path: Path) -> None:
    """The files in the tree match their SHA-256; one flipped byte, a lost and an unlisted file are noticed."""
    assert differences(VENDOR) == []
    for path in VENDOR.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    entries = json.loads((VENDOR / "manifest.json").read_text())
    assert all(entry["version"] and entry["licence"] for entry in entries)
    (tmp_path / "htmx.min.js").write_bytes(b"x" + (VENDOR / "htmx.min.js").read_bytes()[1:])
    (tmp_path / "pico.min.css").unlink()
    (tmp_path / "extra.js").write_text("")
    assert sorted(differences(tmp_path)) == [
        "extra.js is not in the manifest",
        "htmx.min.js differs from its SHA-256",
        "pico.min.css is missing",
    ]
