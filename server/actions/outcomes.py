"""Once and only once: the answer of a request is kept under its Idempotency-Key in the request's own
transaction."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import msgspec

from server.actions.change import Change, Transaction
from server.core.model import DAY_US, Outcome, Principal
from server.errors import Forbidden, KeyReused
from server.storage import outcomes

T = TypeVar("T")
KEPT_US = 7 * DAY_US


def once(
    key: str,
    by: Principal,
    request_hash: str,
    status: int,
    change: Change[T],
    render: Callable[[T], object],
    now_us: int,
) -> Change[tuple[int, str]]:
    """`change`, unless its key was answered before: then that answer. Gives (status, answer as JSON text).

    `render` makes the answer from the change's value. Raises Forbidden for a key of somebody else, KeyReused
    for one that came with another request. A change that raises keeps nothing, so it may be tried again.
    """

    def do_once(transaction: Transaction) -> tuple[int, str]:
        connection = transaction.connection
        kept = outcomes.get(connection, key)
        if kept is not None:
            _check_same(kept, by, request_hash)
            return kept.status, kept.answer
        answer = msgspec.json.encode(render(change(transaction))).decode()
        outcomes.insert(
            connection,
            Outcome(
                key=key,
                principal=by.name,
                request_hash=request_hash,
                status=status,
                answer=answer,
                recorded_at_us=now_us,
            ),
        )
        return status, answer

    return do_once


def prune(now_us: int) -> Change[int]:
    """Forget answers older than 7 days, in a small batch; returns how many."""

    def change(transaction: Transaction) -> int:
        return outcomes.prune(transaction.connection, now_us - KEPT_US)

    return change


def _check_same(kept: Outcome, by: Principal, request_hash: str) -> None:
    if kept.principal != by.name:
        raise Forbidden("This Idempotency-Key was used by somebody else. Make another one.")
    if kept.request_hash != request_hash:
        raise KeyReused("This Idempotency-Key came with another request before. Make another one for this request.")
