"""What `GET /api/v1/status` says while a node cannot read its rows."""

from __future__ import annotations

import asyncio
from pathlib import Path

from server.config import Config
from server.people.passwords import Passwords
from server.site import Site
from server.web.api.status import full_status
from tests.storybook import fixture
from tests.unit.ledger import HandClock


def test_no_maintenance_is_not_said_of_rows_that_nobody_could_read(tmp_path: Path) -> None:
    """UIP-7: a node that opens its office, or waits for its copy, knows no phase: it says nothing, not `none`."""
    site = Site(Config(data=tmp_path), HandClock(), Passwords())
    said = asyncio.run(full_status(site, fixture.status()))
    assert (said["role"], said["scheduler"], said["maintenance"]) == ("master", None, None)
