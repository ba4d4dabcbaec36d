"""The shipped pair under seeds: what it promised is kept, the same seed is the same run, broken rules are noticed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulation.pair_simulation import simulate
from tests.simulation.safety_rules import RULES, switched_off

SEEDS = 100
BATCH = 10
SEEDS_WITHOUT_A_RULE = 12


@pytest.mark.parametrize("first", range(1, SEEDS + 1, BATCH))
def test_every_promise_is_kept(first: int) -> None:
    """Acknowledged entries are there once, both nodes are equal, no fork is lost; enough has happened to each seed."""
    failed = []
    for seed in range(first, first + BATCH):
        outcome = simulate(seed)
        if outcome.wrong:
            failed.append(f"{outcome.command}\n  " + "\n  ".join(outcome.wrong))
    assert not failed, "\n".join(failed)


def test_a_seed_is_one_run() -> None:
    """The same seed gives the same trace, in this process and in one that hashes strings otherwise."""
    here = [simulate(4).digest for _ in range(2)]
    other = subprocess.run(
        [sys.executable, "-m", "tests.simulation", "4", "--quiet"],
        cwd=Path(__file__).parents[2], env={**os.environ, "PYTHONHASHSEED": "4321"}, capture_output=True, text=True,
        timeout=60, check=True,
    )  # fmt: skip
    assert {*here, other.stdout.split()[-1]} == {here[0]}
    assert simulate(5).digest != here[0]


@pytest.mark.parametrize("rule", sorted(RULES))
def test_a_rule_switched_off_is_noticed(rule: str) -> None:
    """Without it some seed fails, and names the command that replays it."""
    with switched_off(rule):
        for seed in range(1, SEEDS_WITHOUT_A_RULE + 1):
            outcome = simulate(seed)
            if outcome.wrong:
                assert outcome.command == f"python -m tests.simulation {seed}"
                return
    pytest.fail(f"{SEEDS_WITHOUT_A_RULE} seeds passed without: {rule}")
