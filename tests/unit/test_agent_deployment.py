"""What an agent does about groups: it starts nothing of one that it does not serve, and gives back what waits here."""

from __future__ import annotations

from server.core import agent_wire as wire
from tests.unit.agent_world import World, specification

KEY = "j1.rone.a1"
SERVE = wire.Dispatch(KEY, specification(), group="web")


def admitted(*groups: str) -> World:
    """An agent that the master of epoch 1 has admitted and told its groups."""
    world = World()
    world.connect()
    world.hear(wire.SetDeployment(4, groups))
    return world


def reports(world: World, kind: type) -> list[wire.Report]:
    return [report for report in world.disk.reports.values() if isinstance(report.body, kind)]


def test_a_deployment_is_kept_over_a_restart_and_acknowledged() -> None:
    """Durable before it is acknowledged: the number is sent with what is on the disk."""
    world = admitted("reports", "web")
    assert wire.DeploymentKept(4) in [message for _, message in world.sent]
    assert (world.disk.durable.deployment, world.disk.durable.groups) == (4, ("reports", "web"))
    world.start()
    world.connect(ticket=2)
    world.hear(SERVE)
    assert world.processes == {KEY: 1}


def test_nothing_of_a_group_starts_where_it_is_not_deployed() -> None:
    """SMA-6: the run is held with the reason, reported so, and begins once the agent serves the group."""
    world = admitted("reports")
    world.hear(SERVE)
    world.pass_s(1)
    assert world.processes == {}
    assert reports(world, wire.Held)[0].body.reason == "not deployed in group web"
    world.hear(wire.SetDeployment(5, ("reports", "web")))
    assert world.processes == {KEY: 1}


def test_what_is_no_groups_run_starts_on_an_agent_that_serves_none() -> None:
    """Jobs that name the agent go on as before."""
    world = admitted()
    world.hear(wire.Dispatch(KEY, specification()))
    assert world.processes == {KEY: 1}


def test_a_held_run_is_given_back_and_may_come_again() -> None:
    """The agent forgets it altogether: sent anew, to the same agent, it begins; the answer has the number."""
    world = admitted("web")
    world.hear(wire.SetGates(wire.GateSet(7, ("queue_locked",))))
    world.hear(SERVE)
    world.hear(wire.Recall(12, KEY))
    (answer,) = reports(world, wire.Ended)
    assert (answer.key, answer.body.cause, answer.body.recall) == (KEY, "recalled", 12)
    assert KEY not in world.disk.runs
    world.hear(wire.SetGates(wire.GateSet(8, ())))
    assert world.processes == {}
    world.hear(SERVE)
    assert world.processes == {KEY: 1}


def test_a_run_that_has_begun_is_not_given_back() -> None:
    """Its own reports are the answer; the process goes on to its end."""
    world = admitted("web")
    world.hear(SERVE)
    world.hear(wire.Recall(12, KEY))
    assert reports(world, wire.Ended) == []
    assert world.processes == {KEY: 1}
    assert world.stops == []


def test_a_recall_of_what_never_came_is_answered_too() -> None:
    """The master does not know whether it arrived: the answer is that it is not here, and it leaves no trace."""
    world = admitted("web")
    world.hear(wire.Recall(3, KEY))
    assert [report.body.recall for report in reports(world, wire.Ended)] == [3]
    assert KEY not in world.disk.runs
