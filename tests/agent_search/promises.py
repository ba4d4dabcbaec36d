"""What must hold at rest: from any situation quiet brings everything to an account."""

from __future__ import annotations

from server.core.run_keys import instant_text
from server.core.run_states import ENDED
from tests.agent_search.bounds import INSTANTS, TIMES
from tests.agent_search.machine import DOWN, Broken
from tests.agent_search.world import CLONE, NOW, OLD, Situation, World

ROUNDS = 12


def quiet(world: World, s: Situation) -> Situation:
    """Nothing goes wrong any more: copies are stopped, operators do what they are told, all agents answer, time passes.

    Raises Broken when something is not accounted for then.
    """
    s = calm(world, s)
    for _ in range(ROUNDS):
        before = s
        s = one_round(world, s)
        if s == before:
            if s.time == len(TIMES) - 1:
                break
            s = world.passes(s)
    else:
        raise Broken("does not come to rest")
    accounted(world, s)
    return s


def calm(world: World, s: Situation) -> Situation:
    """No old master, no copy, right clocks, no locks."""
    if s.offices[OLD] is not None:
        s = world.drop_old(s)
    office = s.offices[NOW]
    s = s._replace(offices=(office._replace(lag=-1), None))
    if s.machines[CLONE] is not None:
        s = world._links_lost(s, CLONE)
        s = world._machine(s, CLONE, None)
    for m, machine in enumerate(s.machines):
        if machine is not None and machine.skew:
            s = world._machine(s, m, machine._replace(skew=0))
    return advised(world, s)


def advised(world: World, s: Situation) -> Situation:
    """Operators do what pages say: accept what is quarantined, unlock what is locked (also what a master adopted)."""
    for who in (0, 1):
        if world.offices.facts(s.offices[NOW].rows).quarantined[who]:
            s = world.wrote(s, NOW, world.offices.accept(s.offices[NOW].rows, who, s.time))
        if world.offices.facts(s.offices[NOW].rows).locked[who]:
            s = world.wrote(s, NOW, world.offices.unlock(s.offices[NOW].rows, who, s.time))
    if any(state == "suspended" for state, _ in world.offices.facts(s.offices[NOW].rows).runs.values()):
        s = world.wrote(s, NOW, world.offices.resume(s.offices[NOW].rows, s.time))
    return s


def one_round(world: World, s: Situation) -> Situation:
    """Everybody does what there is to do."""
    s = advised(world, s)
    for m, machine in enumerate(s.machines):
        if machine is None:
            continue
        if not machine.on:
            s = world._machine(s, m, world.machines.reboot(machine, s.time))
        if s.machines[m].ram == DOWN:
            s = world.start(s, m)
        elif world.machines.session(s.machines[m]).work.disk_full:
            s = world._machine(s, m, world.machines.fill(s.machines[m], False))
        s = advised(world, s)
        s = world.talk(s, m, NOW)
        if s.links[m][NOW] is None:
            s = world.talk(s, m, NOW)
        s = world.talk(world.beat(s, m, NOW), m, NOW)
        s = world.talk(world.tick(s, m), m, NOW)
        for key, at in s.machines[m].files:
            if at == "asked":
                s = world._begin(s, m, key)
        for key, at in s.machines[m].files:
            if at == "runs":
                s = world._exit(s, m, key)
        s = world.talk(s, m, NOW)
    return s


def accounted(world: World, s: Situation) -> None:
    """Each occurrence and request has one account, and what began is on record."""
    facts = world.offices.facts(s.offices[NOW].rows)
    over = {*ENDED, "unknown"}
    for key, (state, _) in facts.runs.items():
        if state in ("suspending", "resuming"):
            raise Broken(f"{key} is {state} for ever")
    stems = {key.rpartition(".a")[0]: (state, key) for key, (state, _) in facts.runs.items()}
    for stem, (state, _) in stems.items():
        if state not in over:
            raise Broken(f"{stem} is {state} for ever")
    for at in INSTANTS:
        mine = [stem for stem in stems if instant_text(at) in stem]
        if not mine and at not in facts.missed and at not in facts.unknown:
            raise Broken(f"nobody accounts for {instant_text(at)}")
        if mine and at in facts.open:
            raise Broken(f"{instant_text(at)} has a run and an open row in the ledger")
    historic = {key.rpartition(".a")[0] for key in facts.history}
    for stem in {name.rpartition(".a")[0] or name for name, _ in s.begun}:
        may_have_run = world._was_copied(s) and any(instant_text(at) in stem for at in facts.missed)
        if stem not in stems and stem not in historic and not may_have_run:
            raise Broken(f"{stem} began and is on no record")
        if stem in stems and stem in historic:
            raise Broken(f"{stem} is on record twice")
    for machine in s.machines:
        if machine is not None and world.machines.memory(machine).reports:
            raise Broken("a report is never acknowledged")
