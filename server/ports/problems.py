"""Errors as problem documents (RFC 9457), for both ports: one place that knows what replication raises."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Any

from aiohttp import web

from replication import errors as replication
from replication.core.types import Refused
from server import errors
from server.errors import UnderstudyError
from server.ports.numbers import is_too_large
from server.site import IDEMPOTENCY_KEY, not_master, site_of

PROBLEM_JSON = "application/problem+json"


class Refusal(errors.Conflict):
    """What replication refused; `reason` is its stable word, beside the code `conflict`."""

    def __init__(self, refused: Refused) -> None:
        super().__init__(str(refused))
        self.reason = refused.code


def translate(error: Exception, request: web.Request) -> UnderstudyError | None:
    """The error of the contract for what replication raised, or None for what nobody expected."""
    if isinstance(error, UnderstudyError):
        return error
    if is_too_large(error):
        return errors.Invalid("A number in it is larger than anything that is kept here.")
    if isinstance(error, replication.Unavailable):
        return errors.Unavailable(str(error), retry_after_s=error.retry_after_s)
    if isinstance(error, replication.OutcomeUnknown):
        return _unknown_outcome(request.get(IDEMPOTENCY_KEY, error.key))
    if isinstance(error, replication.Closed):
        return not_master(site_of(request).master_url())
    if isinstance(error, (replication.ReadTimeout, replication.DiskFull)):
        return errors.Unavailable(str(error))
    if isinstance(error, Refused):
        return Refusal(error)
    return None


def _unknown_outcome(key: str) -> errors.UnknownOutcome:
    return errors.UnknownOutcome(
        f"The change was not confirmed within 5 s. Ask GET /api/v1/outcomes/{key}, or send the same request again "
        "with this Idempotency-Key.",
        key=key,
    )


def problem(error: UnderstudyError) -> dict[str, Any]:
    """The problem document of an error, with what its code brings along."""
    document: dict[str, Any] = {
        "type": "about:blank",
        "title": HTTPStatus(error.status).phrase,
        "status": error.status,
        "code": error.code,
        "detail": str(error),
    }
    if error.fields:
        document["fields"] = error.fields
    if isinstance(error, errors.NotMaster):
        document["master"] = error.master
    if isinstance(error, errors.UnknownOutcome):
        document["idempotency_key"] = error.key
    if isinstance(error, Refusal):
        document["reason"] = error.reason
    return document


def problem_response(document: dict[str, Any]) -> web.Response:
    """A problem document as a response."""
    return web.Response(status=document["status"], text=json.dumps(document), content_type=PROBLEM_JSON)
