"""Upgrades under maintenance in every order: from the build before and to a made newer one, by swap and by takeover."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.process.checker import Verdict
from tests.versions.builds import Build, following, former, present
from tests.versions.maintained_upgrade import MaintainedUpgrade, Say
from tests.versions.rolling import rolling

AGENT_TURNS = ("last", "first", "between")
"""When the agent is upgraded: after both nodes, before them, or while each node runs another build."""

Night = Callable[[MaintainedUpgrade, str], None]


def by_swap(night: MaintainedUpgrade, agent: str) -> None:
    """Standby, swap, back again on the newer schema, swap, the other node, swap back; all under maintenance."""
    _go_dark(night)
    _upgrade_agent(night, agent == "first")
    night.upgrade_standby()
    night.swap()
    _upgrade_agent(night, agent == "between")
    night.swap()
    night.swap()
    night.upgrade_standby()
    _upgrade_agent(night, agent == "last")
    night.swap()
    night.let_one_go()
    night.end()


def by_takeover(night: MaintainedUpgrade, agent: str) -> None:
    """Standby, then the master is killed and its build comes back as the standby, which is upgraded."""
    _go_dark(night)
    _upgrade_agent(night, agent == "first")
    night.upgrade_standby()
    night.take_over(night.new if agent == "between" else night.old)
    _upgrade_agent(night, agent == "between")
    if agent != "between":
        night.upgrade_standby()
    _upgrade_agent(night, agent == "last")
    night.let_one_go()
    night.end()


def _go_dark(night: MaintainedUpgrade) -> None:
    night.begin()
    night.drain()
    night.suspend()


def _upgrade_agent(night: MaintainedUpgrade, is_now: bool) -> None:
    if is_now:
        night.upgrade_agent()


def spend(directory: Path, old: Build, new: Build, how: Night, agent: str, say: Say) -> MaintainedUpgrade:
    """One night on a pair of its own in `directory`, then every row that was acknowledged is looked for."""
    directory.mkdir()
    with rolling(directory) as pair:
        night = MaintainedUpgrade(pair, old, new, say)
        how(night, agent)
        pair.check_all_held()
    return night


def maintenance_upgrades(directory: Path, count: int, say: Say) -> Verdict:
    """`count` nights; twelve are each pair of builds, swap or takeover, the agent's turn first, between or last."""
    before = former("before", directory)
    if before is None:
        say("*** SKIPPED: the build before; no commit of it here: git fetch --unshallow")
    pairs = [(old, new) for old, new in ((before, present()), (present(), following(directory))) if old is not None]
    looks = missed = 0
    faults: list[str] = []
    for number in range(count):
        old, new = pairs[number % len(pairs)]
        how, agent = (by_swap, by_takeover)[number // 2 % 2], AGENT_TURNS[number % 3]
        named = f"night {number + 1}: {old.name} to {new.name} {how.__name__.replace('_', ' ')}, agent {agent}"
        say(named)
        night = spend(directory / f"n{number + 1}", old, new, how, agent, say)
        looks, missed = looks + night.looks, missed + night.missed
        faults += [f"{named}: {fault}" for fault in night.faults]
    return Verdict({"nights": count, "looks at a node": looks, "instants missed": missed}, tuple(faults))
