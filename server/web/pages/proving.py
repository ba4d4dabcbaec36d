"""The page that asks once more who sits there, and holds the form that was sent meanwhile."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from aiohttp import web

from server.errors import Invalid, Unauthenticated, Unavailable, UnderstudyError
from server.web.frame import Frame
from server.web.pages import serve
from server.web.proving import CODE, NAME, PASSWORD, Known, prove_again, require_proof, whom_to_ask

OURS = (PASSWORD, CODE, NAME)


@dataclass(frozen=True, slots=True)
class ProvingPage:
    """`action` is where the form was going, `held` its fields: they come back to the browser that sent them, alone."""

    template: ClassVar[str] = "pages/proof_again.html"
    frame: Frame
    action: str
    held: tuple[tuple[str, str], ...]
    has_password: bool = True
    has_codes: bool = False
    errors: Mapping[str, str] = field(default_factory=dict)


async def ask_again(request: web.Request) -> web.StreamResponse | None:
    """The page that asks, None when the request may go on: nobody has to be asked, or they have just answered.

    Raises `ProofNeeded` where no page is wanted.
    """
    if request.path.startswith("/api/"):
        await require_proof(request)
        return None
    known = await whom_to_ask(request)
    if known is None:
        return None
    posted = await request.post()
    password, code = str(posted.get(PASSWORD, "")), str(posted.get(CODE, ""))
    if PASSWORD not in posted and CODE not in posted:
        return await _page(request, known)
    try:
        await prove_again(serve.site(request), request, password, code)
    except (Invalid, Unauthenticated, Unavailable) as error:
        return await _page(request, known, error, PASSWORD if password or not known.has_codes else CODE)
    return None


async def _page(
    request: web.Request, known: Known, error: UnderstudyError | None = None, wrong: str = ""
) -> web.Response:
    frame = await serve.bare_frame(request, "Who are you?")
    fields = (await request.post()).items()
    held = tuple((name, value) for name, value in fields if isinstance(value, str) and name not in OURS)
    errors = {wrong: str(error)} if error is not None else {}
    page = ProvingPage(frame, request.path_qs, held, known.has_password, known.has_codes, errors)
    return serve.html(page, 422 if error is not None else 200)
