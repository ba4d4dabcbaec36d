"""What a store says of its last request while its writer's thread goes on."""

from __future__ import annotations

from pathlib import Path

import pytest

from replication.core.request import decode
from replication.core.types import Position
from replication.journal import Journal
from tests.unit.engine import create_table, insert, opened


async def test_position_and_checksum_are_of_one_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between a request's pages and its record in the journal others see the request before, with its own checksum.

    Seen of two moments they made a standby that was equal look as if it differed, and a swap was refused.
    """
    async with opened(tmp_path, alone=True) as engine:
        await engine.store.write(create_table)
        before, seen = engine.store.newest, []
        real = Journal.append

        def append(journal: Journal, encoded: bytes) -> Position:
            seen.append(engine.store.newest)
            position = real(journal, encoded)
            seen.append(engine.store.newest)
            return position

        monkeypatch.setattr(Journal, "append", append)
        await engine.store.write(insert("a"))
        assert seen[:2] == [before, before]
        assert engine.store.newest == (engine.store.last, decode(engine.requests[-1][1]).checksum) != before
