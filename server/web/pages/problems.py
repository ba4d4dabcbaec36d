"""Errors as pages: what happened in one sentence, and what to do next."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from aiohttp import web

from server.web.frame import Frame
from server.web.pages import serve


@dataclass(frozen=True, slots=True)
class Advice:
    """How an error is shown."""

    title: str
    icon: str
    tone: str
    next: str


ADVICE = {
    400: Advice("That cannot be done as asked", "circle-alert", "warn", "Go back, correct it and try again."),
    401: Advice("Sign in first", "key-round", "warn", "Nothing was changed."),
    403: Advice("You may not do this", "ban", "warn", "Ask an administrator. Nothing was changed."),
    404: Advice("There is no such page", "circle-question-mark", "warn", "It may have been deleted. Start from Home."),
    405: Advice(
        "Not during the maintenance",
        "settings",
        "warn",
        "Nothing was submitted. Send it again when the maintenance is over.",
    ),
    409: Advice(
        "Not in this state",
        "circle-alert",
        "warn",
        "Somebody may have changed it a moment ago. Look again, then decide.",
    ),
    421: Advice(
        "This node is not master", "server-off", "warn", "It takes no changes and runs no jobs. Go to the master."
    ),
    503: Advice(
        "Not now", "hourglass", "warn", "Nothing was changed. This page tries again by itself every few seconds."
    ),
    504: Advice(
        "Not confirmed yet",
        "circle-question-mark",
        "bad",
        "It may or may not have happened. Look before you repeat it.",
    ),
}
FAULT = Advice(
    "Something is broken here",
    "circle-x",
    "bad",
    "Nothing was changed unless a page shows it. The node's log says more.",
)


@dataclass(frozen=True, slots=True)
class ProblemPage:
    """One error. `again` makes the page look again by itself."""

    template: ClassVar[str] = "errors/problem.html"
    frame: Frame
    status: int
    advice: Advice
    text: str
    back: str
    again: bool


def page_from(frame: Frame, status: int, text: str, back: str) -> ProblemPage:
    """The page for a status and a sentence."""
    return ProblemPage(frame, status, ADVICE.get(status, FAULT), text, back, status == 503)


async def show(request: web.Request, status: int, text: str) -> web.Response:
    """What a browser gets for an error, set as the application's error page."""
    advice = ADVICE.get(status, FAULT)
    back = request.path if request.method == "GET" else request.headers.get("Referer", "/")
    return serve.html(page_from(await serve.bare_frame(request, advice.title), status, text, back), status)
