"""What the scheduler put aside because of a defect: on Job Scheduler, and of one job on its page."""

from __future__ import annotations

from aiohttp import web

from server.actions import asides
from server.web.pages import serve


async def retry(request: web.Request) -> web.Response:
    """`POST /scheduler/aside/{id}/retry`."""
    number = int(request.match_info["id"])
    await serve.write(request, lambda by, now_us: asides.retry(number, by, now_us))
    return serve.back("/scheduler", "aside-retried")


async def dismiss(request: web.Request) -> web.Response:
    """`POST /scheduler/aside/{id}/dismiss`."""
    number, reason = int(request.match_info["id"]), (await serve.form(request)).get("reason", "")
    await serve.write(request, lambda by, now_us: asides.dismiss(number, by, now_us, reason))
    return serve.back("/scheduler", "aside-dismissed")


ROUTES = (
    serve.post(r"/scheduler/aside/{id:\d+}/retry", retry),
    serve.post(r"/scheduler/aside/{id:\d+}/dismiss", dismiss),
)
