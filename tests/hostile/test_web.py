"""Requests that nobody means, at the whole web port over rows: a small form of `./scripts/soak hostile-web`."""

from __future__ import annotations

import asyncio
from pathlib import Path

from server.actions import tokens, users
from server.core.model import SYSTEM
from server.trust.tls import secret_hash
from tests.hostile.web import Target, storm
from tests.unit.ledger import START_US, Ledger
from tests.unit.web_desk import open_desk
from tests.unit.web_door import PHC


def test_no_request_is_a_defect(tmp_path: Path) -> None:
    """300 requests as an administrator: an answer below 500 each, and the port goes on."""
    ledger = Ledger()
    ledger.add_agent("north")
    ledger.add_job()
    ledger.do(users.create("admin", PHC, "administrator", SYSTEM, START_US))
    token = "us_admin"
    ledger.do(tokens.create("admin", "hostile", secret_hash(token), None, SYSTEM, START_US))
    with open_desk(ledger, tmp_path) as desk:
        target = Target("127.0.0.1", desk.port, token=token)
        asyncio.run(storm(target, 300, 4))
        assert target.faults == []
        assert target.tally.total() == 300
        assert {"400", "404"} <= set(target.tally)
        assert desk.page("/jobs")[0] == 200, "by the socket: one of the requests may have revoked the token"
