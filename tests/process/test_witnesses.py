"""One and three witnesses on real processes: a change that waits across a swap, and one and two of three killed."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.process.cluster import Node, Pair, running_pair


def listed(pair: Pair, node: Node) -> dict[str, Any]:
    """`understudy witness list --json` on a node."""
    found: dict[str, Any] = json.loads(pair.type(node, "understudy", "witness", "list", "--json"))
    return found


def seats(found: dict[str, Any]) -> list[str]:
    """The names with a present seat that is held."""
    return [line["name"] for line in found["witnesses"] if line["seat"] == "held"]


@pytest.mark.timeout(300)
def test_a_change_waits_across_a_swap_and_three_outlive_one(tmp_path: Path) -> None:
    """The former witness is paused when the change is made: the next master ends it once it answers again. Then one of
    three may be lost, and with two lost nothing is proven."""
    with running_pair(tmp_path, witness="") as pair:
        pair.add_agent("gamma")
        north, south = pair.wait_healthy()
        assert seats(listed(pair, north)) == ["alpha"]
        refuse_two_and_four(pair, north)
        change_while_the_former_is_paused(pair, north)
        pair.type(north, "understudy", "swap", "--yes")
        pair.wait("the other node to be master", south.is_master)
        assert listed(pair, south)["change"] == 1
        pair.agents["alpha"].program.send(signal.SIGCONT)
        pair.wait("the change to end", lambda: listed(pair, south)["change"] is None)
        pair.wait_healthy()
        found = listed(pair, south)
        assert seats(found) == ["alpha", "beta", "gamma"]
        epoch = south.status()["epoch"]
        assert all((line["epoch"], line["alone"]) == (epoch, "") for line in found["witnesses"])
        lose_the_master_and_witnesses(pair, north, south)


def refuse_two_and_four(pair: Pair, master: Node) -> None:
    """Each refusal says why, and changes nothing."""
    assert "not 2" in pair.type(master, "understudy", "witness", "set", "alpha", "beta", expect=None)
    four = ("alpha", "beta", "gamma", "delta")
    assert "not 4" in pair.type(master, "understudy", "witness", "set", *four, expect=None)
    assert "no agent delta" in pair.type(master, "understudy", "witness", "set", "delta", expect=None)
    assert listed(pair, master)["change"] is None


def change_while_the_former_is_paused(pair: Pair, master: Node) -> None:
    """Its link still stands, so the change is taken; it cannot say what it knows, so the change waits.

    On a busy machine the command may come after the link has ended, and is refused: then once more.
    """

    def taken() -> bool:
        pair.wait_healthy()
        pair.agents["alpha"].program.send(signal.SIGSTOP)
        said = pair.type(master, "understudy", "witness", "set", "alpha", "beta", "gamma", expect=None)
        if "does not answer" in said:
            pair.agents["alpha"].program.send(signal.SIGCONT)
            return False
        assert "Witnesses: alpha, beta, gamma." in said
        return True

    pair.wait("the change to be taken", taken)
    pair.wait("the master to miss alpha", lambda: master.status()["agents"]["active"] == 2)
    found = listed(pair, master)
    assert (found["change"], found["answering"], found["needed"]) == (1, 2, 2)
    assert [line["name"] for line in found["witnesses"] if line["former"]] == ["alpha"]


def lose_the_master_and_witnesses(pair: Pair, standby: Node, master: Node) -> None:
    """Two of three and the master are killed: nobody can say. One of them is back: proven lossless."""
    for name in ("beta", "gamma"):
        pair.agents[name].program.kill()
    master.program.kill()
    said = pair.type(standby, "standby-to-master", "--yes", expect=None)
    assert "Only 1 of 3 witnesses answered" in said
    assert "--allow-data-loss" in said
    pair.agents["beta"].program.start()
    pair.wait("beta to answer the standby", lambda: listed(pair, standby)["answering"] == 2)
    said = pair.type(standby, "standby-to-master", "--yes")
    assert "The witnesses prove" in said
    pair.wait("the standby to be master", standby.is_master)
    found = listed(pair, standby)
    assert [line["name"] for line in found["witnesses"] if line["connected"]] == ["alpha", "beta"]
    alone = {line["name"]: line["alone"] for line in found["witnesses"] if line["connected"]}
    assert alone == {"alpha": "north", "beta": "north"}
    refused = pair.type(standby, "understudy", "witness", "set", "alpha", expect=None)
    assert "standby is not in sync" in refused
