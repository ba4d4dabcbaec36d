"""The promises on real processes, once each; `./scripts/soak NAME --count N` asks as often as wanted."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.process.promises import keep_promises

COUNTS = {"swaps": 1, "failovers": 1, "restarts": 1, "available": 1, "troubles": 1}
"""The others are in `test_pair_losses`: two files share the machine."""


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", COUNTS)
def test_promises_are_kept(name: str, tmp_path: Path) -> None:
    """Office goes from one node to the other, by a swap, a failover, a restart, and by operators' mistakes."""
    keep_promises(name, COUNTS[name], tmp_path)
