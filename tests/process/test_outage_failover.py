"""A failover in the middle of an outage, on machines of their own; `./scripts/soak outage-failover` asks for more."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.process.namespaces import is_possible
from tests.process.outage_failover import outage_failover


@pytest.mark.timeout(300)
def test_an_old_master_gives_out_nothing_in_an_outage(tmp_path: Path) -> None:
    """It lives and reaches an agent while the standby takes over: nothing it is asked for begins, and it is refused."""
    if not is_possible():
        pytest.skip("NOT TESTED: network namespaces need root and iproute2")
    verdict = outage_failover(tmp_path, 1, print)
    print(verdict)
    assert verdict.faults == ()
    assert verdict.counts["runs"] > 0
