"""Saying once more who one is, for programs that have a browser's session. Tokens are never asked."""

from __future__ import annotations

import msgspec
from aiohttp import web

from server.web.api.endpoint import Call, Endpoint, respond, shape
from server.web.proving import prove_again


class ProofAgain(msgspec.Struct, frozen=True):
    """The password, or a code of the second factor."""

    password: str = ""
    code: str = ""


async def prove(call: Call) -> web.StreamResponse:
    """Say once more who you are. What is answered `proof_needed` is done for 15 minutes from then on."""
    await prove_again(call.site, call.request, call.body.password, call.body.code)
    return respond({"proved": True}, 200)


ENDPOINTS = (
    Endpoint("POST", "/api/v1/prove", prove, "Say once more who you are", answer=shape(proved=bool), body=ProofAgain),
)
