"""The promises on real processes that die, stand still or are cut off; `./scripts/soak NAME --count N` for more."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.process.namespaces import is_possible
from tests.process.promises import keep_promises

COUNTS = {"kills": 1, "copy-kills": 1, "alone": 1, "partitions": 1, "pauses": 1}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", COUNTS)
def test_promises_are_kept_over_losses(name: str, tmp_path: Path) -> None:
    """kill -9 of each, also while it copies, a master alone, links that are cut, processes that are stopped."""
    if name == "partitions" and not is_possible():
        pytest.skip("NOT TESTED: network namespaces need root and iproute2")
    keep_promises(name, COUNTS[name], tmp_path)
