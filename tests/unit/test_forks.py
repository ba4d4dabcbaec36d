"""The folders of `forks/` as people see them: whole ones with their description, damaged and interrupted ones too."""

from __future__ import annotations

from pathlib import Path

from replication.fork import keep_suffix
from server.integrity import forks
from server.integrity.repair import set_aside
from tests.unit.engine import create_table, insert, opened
from tests.unit.ledger import START_US


async def test_a_kept_suffix_is_listed_with_its_requests_and_its_reason(tmp_path: Path) -> None:
    """What replication wrote is read in its own words: how many requests, which, when and why."""
    assert forks.listed(tmp_path) == []
    async with opened(tmp_path) as engine:
        for change in (create_table, insert("kept"), insert("cut"), insert("cut too")):
            _, last = await engine.store.write(change)
        keep_suffix(engine.disk, engine.applier.journal, last - 2, "The histories differ.", START_US)
    (fork,) = forks.listed(tmp_path)
    assert (fork.requests, fork.first, fork.last, fork.epoch) == (2, last - 1, last, 1)
    assert (fork.kept_at_us, fork.why) == (START_US, "The histories differ.")
    assert fork.bytes >= (tmp_path / "forks" / fork.name / "requests").stat().st_size > 0


async def test_what_nobody_described_is_listed_too(tmp_path: Path) -> None:
    """A folder of damaged files and one that was never finished are shown with what is known of them."""
    async with opened(tmp_path) as engine:
        await engine.store.write(create_table)
    kept = set_aside(tmp_path)
    (tmp_path / "forks" / "7-9-ab").mkdir()
    (tmp_path / "forks" / "7-9-ab" / "fork.json").write_text("{")
    found = {fork.name: fork for fork in forks.listed(tmp_path)}
    assert set(found) == {kept.name, "7-9-ab"}
    assert found[kept.name].bytes > 0
    assert "damaged" in found[kept.name].why
    assert found["7-9-ab"].requests is None
    assert "interrupted" in found["7-9-ab"].why
