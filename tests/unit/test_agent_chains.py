"""Step chains at the agent, as a pure machine: what follows an end, exactly once, and who decides otherwise (JS7-4)."""

from __future__ import annotations

import msgspec
import pytest

from replication.core.types import Epoch
from server.core import agent_wire as wire
from server.core.chain_messages import Chain, ChainStep
from server.core.model import DAY_US, SECOND_US, Specification
from tests.unit.agent_world import START_US, A, B, World

LATER_US = START_US + 7 * DAY_US


def key(step: int, attempt: int = 1) -> str:
    return f"j{step + 10}.rw1-{step}-0.a{attempt}"


def job(step: int, **environment: str) -> Specification:
    return Specification(job_id=step + 10, job_name=f"flow@1/{step}", command="true", environment=environment)


def link(step: int, *after: int, on: str = "succeeded", **more: object) -> ChainStep:
    """Step number `step`, begun by the agent after the steps with these numbers."""
    values: dict[str, object] = {"specification": job(step), "after": tuple((f"s{n}", on) for n in after), **more}
    return ChainStep(f"s{step}", key(step), **values)  # type: ignore[arg-type]  # test values


def head(step: int, **more: object) -> ChainStep:
    """A step that the master dispatched itself."""
    return ChainStep(f"s{step}", key(step), **more)  # type: ignore[arg-type]  # test values


def chain(*steps: ChainStep, until_us: int = LATER_US, **ended: str) -> Chain:
    return Chain(1, until_us, steps, ended)


def given(*steps: ChainStep, until_us: int = LATER_US, **ended: str) -> World:
    """An agent that a master has admitted; every head of the chain is dispatched with it."""
    world, made = World(), chain(*steps, until_us=until_us, **ended)
    world.connect()
    for number, step in enumerate(steps):
        if step.specification is None:
            world.hear(wire.Dispatch(step.key, job(number), None, 1, "", None, made))
    return world


def end(world: World, step: int, code: int | None = 0, cause: str = "", **outputs: str) -> None:
    ended = msgspec.structs.replace(world.end(code, cause), outputs=outputs)
    world.do(world.session.ended(key(step), ended, world.now))


def began(world: World) -> list[int]:
    """The steps whose process began, in order; each once."""
    assert set(world.processes.values()) <= {1}
    return [int(one.split("-")[1]) for one in world.processes]


def told(world: World, step: int) -> tuple[str, ...]:
    """What the report of a step's end says that it began."""
    [body] = [r.body for r in world.disk.reports.values() if r.key == key(step) and isinstance(r.body, wire.Ended)]
    return body.begun


def test_steps_on_one_agent_go_on_without_a_master() -> None:
    """Three steps in a row while nobody is connected, over restarts between them; each end names what it began."""
    world = given(head(0), link(1, 0), link(2, 1))
    world.do(world.session.link_closed(A))
    end(world, 0)
    world.start()
    assert began(world) == [0, 1]
    end(world, 1)
    world.start()
    end(world, 2)
    assert began(world) == [0, 1, 2]
    assert [told(world, n) for n in range(3)] == [(key(1),), (key(2),), ()]
    assert not world.disk.chains


@pytest.mark.parametrize("moment", ["crash_before_saves", "crash_after_saves"])
def test_the_end_and_what_it_begins_are_durable_together(moment: str) -> None:
    """Killed around the transaction: neither is there and the end comes again, or both; begun once in each case."""
    world = given(head(0), link(1, 0))
    ended = world.session.ended(key(0), world.end(0), world.now)
    world.do(ended, **{moment: True})
    assert (key(1) in world.disk.runs) == (moment == "crash_after_saves") == (world.disk.runs[key(0)].state == "ended")
    end(world, 0)
    world.connect(ticket=2)
    assert began(world) == [0] + [1] * (key(1) in world.disk.runs)
    if moment == "crash_after_saves":
        assert began(world) == [0, 1]


def test_an_end_that_comes_twice_begins_once() -> None:
    """The second end of the same run changes nothing."""
    world = given(head(0), link(1, 0))
    end(world, 0)
    end(world, 0)
    assert began(world) == [0, 1]
    assert told(world, 0) == (key(1),)


def test_a_dispatch_that_crosses_the_report_begins_nothing() -> None:
    """The master's dispatch of a step that began here by itself has the same key."""
    world = given(head(0), link(1, 0))
    end(world, 0)
    world.hear(wire.Dispatch(key(1), job(1)))
    assert began(world) == [0, 1]


@pytest.mark.parametrize(
    ("code", "cause", "on", "retried", "goes_on"),
    [
        (0, "", "succeeded", False, True),
        (3, "", "succeeded", False, False),
        (3, "", "failed", False, True),
        (3, "", "ended", False, True),
        (3, "", "failed", True, False),
        (0, "", "succeeded", True, True),
        (0, "timeout", "failed", False, True),
        (0, "timeout", "failed", True, False),
        (None, "", "ended", False, False),
        (None, "interrupted", "ended", False, False),
        (None, "cancelled", "ended", False, False),
        (None, "killed", "ended", False, False),
        (None, "drained", "ended", False, False),
        (None, "handed over", "ended", False, False),
        (None, "suspended", "ended", False, False),
        (None, "given up", "ended", False, False),
        (None, "never started", "ended", False, False),
        (None, "not startable", "ended", False, False),
    ],
)
def test_what_goes_on_after_which_end(code: int | None, cause: str, on: str, retried: bool, goes_on: bool) -> None:
    """Success and final failure take their edges; what is neither, and what may be repeated, is the master's."""
    world = given(head(0, retried=retried), link(1, 0, on=on))
    end(world, 0, code, cause)
    assert began(world) == [0, 1][: 1 + goes_on]


def test_the_agents_verdict_counts() -> None:
    """Exit rules may call a code success: the agent judged it, and the chain goes by that, as the master does."""
    world = given(head(0), link(1, 0), link(2, 0, on="failed"))
    world.do(world.session.ended(key(0), msgspec.structs.replace(world.end(0), verdict="failed"), world.now))
    assert began(world) == [0, 2]


def test_edges_and_joins() -> None:
    """A diamond joined by all, beside one by any; what is skipped begins never, and skips what is behind it."""
    world = given(
        head(0),
        link(1, 0),
        link(2, 0),
        link(3, 1, 2),
        link(4, 1, 2, join="any"),
        link(5, 1, on="failed"),
        link(6, 5, on="ended"),
    )
    end(world, 0)
    assert began(world) == [0, 1, 2]
    end(world, 2)
    assert began(world) == [0, 1, 2, 4]
    end(world, 1)
    assert began(world) == [0, 1, 2, 4, 3]
    assert not world.disk.chains, "nothing is left of it that could begin"


def test_two_steps_that_were_dispatched_and_one_after_both() -> None:
    """The later chain takes the place of the earlier one and what ended in between still counts."""
    world, made = World(), chain(head(0), head(1), link(2, 0, 1))
    world.connect()
    world.hear(wire.Dispatch(key(0), job(0), None, 1, "", None, made))
    end(world, 0, SIZE="1")
    world.hear(wire.Dispatch(key(1), job(1), None, 1, "", None, made))
    assert began(world) == [0, 1]
    end(world, 1)
    assert began(world) == [0, 1, 2]
    assert told(world, 0) == ()
    assert told(world, 1) == (key(2),)


def test_a_step_that_ended_elsewhere_takes_its_edge() -> None:
    """What the master knew when it gave the chain is part of it."""
    world = given(head(0), link(1, 0, 7, join="all"), s7="succeeded")
    end(world, 0)
    assert began(world) == [0, 1]


def test_outputs_that_only_the_agent_knows() -> None:
    """In the order in which the master lays them over each other, and the step's own over all."""
    first = link(1, 0, specification=job(1, KIND="full", A="0"), given=(("", {"A": "1", "B": "1"}), ("s0", {})))
    last = link(2, 1, given=(("s0", {}), ("s1", {})), own={"OWN": "2"})
    world = given(head(0), msgspec.structs.replace(first, own={"OWN": "1"}), last)
    end(world, 0, B="two", OWN="s0")
    world.start()
    assert world.disk.runs[key(1)].specification.environment == {"KIND": "full", "A": "1", "B": "two", "OWN": "1"}
    end(world, 1, B="three", C="x")
    assert world.disk.runs[key(2)].specification.environment == {"B": "three", "C": "x", "OWN": "2"}


def test_the_attempt_is_that_of_the_key() -> None:
    """A step that runs again after an interruption knows which attempt it is."""
    again = msgspec.structs.replace(link(1, 0), key=key(1, 3))
    world = given(head(0), again)
    end(world, 0)
    assert world.disk.runs[key(1, 3)].attempt == 3
    [(_, body)] = [one for one in world.bodies(wire.Begun) if one[0] == key(1, 3)]
    assert isinstance(body, wire.Begun)
    assert body.attempt == 3


def locked(world: World) -> None:
    world.hear(wire.SetGates(wire.GateSet(2, ("queue_locked",))))


def scheduler_stopped(world: World) -> None:
    world.hear(wire.SetGates(wire.GateSet(2, ("scheduler_stopped",))))


def maintained(world: World) -> None:
    world.hear(wire.SetGates(wire.GateSet(2, ("maintenance",))))


def drained(world: World) -> None:
    world.hear(wire.SetGates(wire.GateSet(2, ("draining",), 1)))


def stopping(world: World) -> None:
    world.do(world.session.drain_to_stop(world.now))


def full(world: World) -> None:
    world.session.work.disk_full = True


def quarantined(world: World) -> None:
    world.hear(wire.Quarantined("twice"))


def copied(world: World) -> None:
    world.place = "disk-2"
    world.start()


def clock_set(world: World) -> None:
    world.wall_us += 7200 * SECOND_US


def time_over(world: World) -> None:
    world.pass_s(8 * 86400)


def admitted_again(world: World) -> None:
    world.connect(ticket=2)


def restored(world: World) -> None:
    world.connect(ticket=2, restored=True)


def another_master(world: World) -> None:
    world.do(world.session.link_closed(A))
    world.connect(number=2, node=B, ticket=2)


def cancelled(world: World) -> None:
    world.hear(wire.StopRun(key(0)))


def suspended(world: World) -> None:
    world.hear(wire.Suspend(key(0)))


def other_step_cancelled(world: World) -> None:
    world.hear(wire.StopRun("j99.rw1-9-0.a1"))


IN_THE_WAY = (
    locked, scheduler_stopped, maintained, drained, stopping, full, quarantined, copied, clock_set, time_over,
    admitted_again, restored, another_master, cancelled, suspended, other_step_cancelled,
)  # fmt: skip


@pytest.mark.parametrize("happens", IN_THE_WAY)
def test_what_is_in_the_way_leaves_it_to_the_master(happens: object) -> None:
    """Nothing begins, the end says so, and the chain is over: a later end of another step does not begin it either."""
    world = given(head(0), head(1), link(2, 0), link(3, 1))
    happens(world)  # type: ignore[operator]  # a function of the world
    end(world, 0)
    assert began(world) == [0, 1]
    assert told(world, 0) == ()
    assert not world.disk.chains
    world.session.work.disk_full = False
    end(world, 1)
    assert began(world) == [0, 1]


def test_after_a_reboot_nothing_of_a_chain_begins_by_itself() -> None:
    """A status that the keeper wrote before the machine went off ends the step; the master begins the next one."""
    world = given(head(0), link(1, 0))
    world.boot, world.boot_us = world.boot + "+", 10 * SECOND_US
    files, world.pid_files = world.pid_files, set()
    world.disk.runs[key(0)] = msgspec.structs.replace(world.disk.runs[key(0)], boot_id=world.boot)
    world.start()
    world.pid_files = files
    end(world, 0)
    assert began(world) == [0]
    assert told(world, 0) == ()


def test_a_master_that_was_admitted_gives_the_chain_again() -> None:
    """With a run that is there already: nothing begins by that, and the step after it does at its end."""
    world = given(head(0), link(1, 0))
    world.connect(number=2, ticket=2)
    nothing = Specification(job_id=0, job_name="", command="")
    again = chain(head(0), link(1, 0))
    world.hear(wire.Dispatch(key(0), nothing, None, 1, "", None, again))
    world.hear(wire.Dispatch(key(5), nothing, None, 1, "", None, again))
    world.do(world.session.link_closed(A))
    end(world, 0)
    assert began(world) == [0, 1]


def test_a_chain_that_comes_after_the_end_begins_nothing() -> None:
    """The end was reported without it, so the next step is the master's."""
    world = given(head(0), link(1, 0), head(2))
    world.connect(number=2, ticket=2)
    end(world, 0)
    world.hear(wire.Dispatch(key(2), job(2), None, 1, "", None, chain(head(0), link(1, 0), head(2))))
    end(world, 2)
    assert began(world) == [0, 2]


def test_outputs_above_the_bound_are_left_to_the_master() -> None:
    """It finds the same and asks for a decision."""
    world = given(head(0), link(1, 0, given=(("s0", {}),)))
    end(world, 0, BIG="x" * 300_000)
    assert began(world) == [0]


def test_a_stale_master_gives_no_chain() -> None:
    """A dispatch of a lower epoch is not obeyed, nor what came with it."""
    world = given(head(0))
    world.do(world.session.link_opened(B))
    world.hear(wire.Office(B, "master", Epoch(2, B), world.wall_us), B)
    world.hear(wire.Dispatch(key(0), job(0), None, 1, "", None, chain(head(0), link(1, 0))), A)
    end(world, 0)
    assert began(world) == [0]
