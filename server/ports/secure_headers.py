"""What every answer of both ports says to browsers, whatever made it: page, file, stream, error, refusal, upgrade."""

from __future__ import annotations

from aiohttp import web

from server.site import site_of

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; form-action 'self'; object-src 'none'; base-uri 'none'; frame-ancestors 'none'"
)
"""Nothing inline, nothing from elsewhere, no frame around it."""

SECURE_HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=(), payment=(), usb=(), display-capture=()",
}
HSTS = "max-age=31536000; includeSubDomains"
"""Only where it is asked for (`--hsts`): it holds for every port of the name and for all names below it."""


async def put_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Just before an answer begins: what it does not say itself. No release and no library is named."""
    for name, value in SECURE_HEADERS.items():
        response.headers.setdefault(name, value)
    response.headers.setdefault("Cache-Control", "no-store")
    response.headers["Server"] = "Understudy"
    if site_of(request).config.hsts:
        response.headers.setdefault("Strict-Transport-Security", HSTS)
