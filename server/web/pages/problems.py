"""Errors as pages: what happened in one sentence, and what to do next."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from aiohttp import web

from server.web.csrf import SAFE_METHODS
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
    429: Advice("Too often", "hourglass", "warn", "Nothing was changed. Wait a moment, then go back and try again."),
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
FORM = Advice(
    "Nothing to open at this address",
    "circle-question-mark",
    "warn",
    "It takes what a form sends, and its answer is shown once. Go back to the page with the form, or start from Home.",
)
"""A browser looks at an address that only takes forms: it was reloaded, or kept as a bookmark."""
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


def advice_of(status: int, is_look: bool = False) -> Advice:
    """What is said for a status. A maintenance refuses no look at a page: then 405 has the other reason."""
    return FORM if status == 405 and is_look else ADVICE.get(status, FAULT)


def page_from(frame: Frame, status: int, text: str, back: str, is_look: bool = False) -> ProblemPage:
    """The page for a status and a sentence; `is_look` when it answers GET or HEAD."""
    return ProblemPage(frame, status, advice_of(status, is_look), text, back, status == 503)


async def show(request: web.Request, status: int, text: str) -> web.Response:
    """What a browser gets for an error, set as the application's error page."""
    is_look = request.method in SAFE_METHODS
    back = request.path if is_look else request.headers.get("Referer", "/")
    frame = await serve.bare_frame(request, advice_of(status, is_look).title)
    return serve.html(page_from(frame, status, text, back, is_look), status)
