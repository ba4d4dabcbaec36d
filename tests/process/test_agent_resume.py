"""Output over broken links, a quarter of what `./scripts/soak output-cuts` sends."""

from __future__ import annotations

from pathlib import Path

from tests.process.output_cuts import MIB, output_cuts


def test_output_arrives_whole_over_broken_links_and_a_change_of_office(tmp_path: Path) -> None:
    """JS7-3: at each new connection the master says what it holds, and the agent goes on from there."""
    verdict = output_cuts(tmp_path, 1, print, 12 * MIB)
    assert verdict.faults == ()
