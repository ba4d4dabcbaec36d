"""What may be refused, in one place.

The API answers each as a problem document (RFC 9457) with its stable `code`.

The text of an error is for people: what is wrong and what to do next.
"""

from __future__ import annotations

from collections.abc import Mapping


class UnderstudyError(Exception):
    """An operation was refused and nothing changed. `code` is stable, `status` is the HTTP status."""

    code = "invalid"
    status = 400

    def __init__(self, text: str, *, field: str = "", fields: Mapping[str, str] | None = None) -> None:
        """`field` names the value that is wrong, for forms; "" when no single one is.

        `fields` maps each wrong value's name to what is wrong with it, when there are several.
        """
        super().__init__(text)
        self.field = field
        self.fields = dict(fields) if fields else ({field: text} if field else {})


class Invalid(UnderstudyError):
    """The request itself is wrong; sending it again will not help."""


class Unauthenticated(UnderstudyError):
    """Nobody is signed in, or the password, token or session is not valid."""

    code = "unauthenticated"
    status = 401


class SecondFactorNeeded(Unauthenticated):
    """The password is right, and a code is asked for. `ticket` goes with the code, in place of the password."""

    code = "second_factor_needed"

    def __init__(self, text: str, *, ticket: str) -> None:
        super().__init__(text)
        self.ticket = ticket


class Forbidden(UnderstudyError):
    """Somebody is signed in who may not do this."""

    code = "forbidden"
    status = 403


class ProofNeeded(Forbidden):
    """Who is signed in said so too long ago for this, and has to say once more who they are."""

    code = "proof_needed"


class NotFound(UnderstudyError):
    """There is no such thing."""

    code = "not_found"
    status = 404


class Conflict(UnderstudyError):
    """The thing is not in a state that allows this, or the name is taken."""

    code = "conflict"
    status = 409


class KeyReused(UnderstudyError):
    """The same Idempotency-Key came with another request."""

    code = "invalid"
    status = 422


class NotMaster(UnderstudyError):
    """This node is not in office. `master` is the web address of the node that is, or "" when none is known."""

    code = "not_master"
    status = 421

    def __init__(self, text: str, *, master: str = "") -> None:
        super().__init__(text)
        self.master = master


class Unavailable(UnderstudyError):
    """Not now: nothing was changed, try again after `retry_after_s`."""

    code = "unavailable"
    status = 503

    def __init__(self, text: str, *, retry_after_s: int = 2) -> None:
        super().__init__(text)
        self.retry_after_s = retry_after_s


class TooManyAttempts(Unavailable):
    """Somebody tried too often: nothing was looked at, try again after `retry_after_s`."""

    code = "too_many_attempts"
    status = 429


class TooManyRequests(Unavailable):
    """This token or session asked too often: nothing was looked at, ask again after `retry_after_s`."""

    code = "too_many_requests"
    status = 429


class InMaintenance(UnderstudyError):
    """A maintenance refuses new work; looking, results and its end go on."""

    code = "maintenance"
    status = 405


class UnknownOutcome(UnderstudyError):
    """The write may or may not survive; `GET /api/v1/outcomes/{key}` tells later."""

    code = "unknown_outcome"
    status = 504

    def __init__(self, text: str, *, key: str = "") -> None:
        super().__init__(text)
        self.key = key
