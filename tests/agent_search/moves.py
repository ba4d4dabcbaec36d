"""Every move from a situation, with what it costs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.agent_search.bounds import BOOTS, COPIES, CRASHES, CUTS, DISKS, FAILOVERS, FREE, JUMPS, LAGS, PAUSES, WORDS
from tests.agent_search.machine import CRASHES as POINTS
from tests.agent_search.machine import DOWN, Broken, Machine
from tests.agent_search.world import CLONE, NOW, OLD, Budget, Situation, World

Move = tuple[Any, ...]
Step = tuple[Move, int, Situation]
"""(what, the budget that pays, what comes of it)."""


class Moves(World):
    """The moves. A promise that breaks in one is a `Broken`."""

    def all(self, s: Situation) -> Iterator[Step]:
        """Every move with its cost and what comes of it; raises Broken with `move` set."""
        yield from self._of_time(s)
        for m, machine in enumerate(s.machines):
            if machine is not None:
                yield from self._of_machine(s, m, machine)
                for which in (NOW, OLD):
                    if s.offices[which] is not None:
                        yield from self._of_link(s, m, machine, which)
        yield from self._of_offices(s)
        if s.left[WORDS]:
            yield from self._of_words(s)
        if s.left[COPIES]:
            yield from self._of_copies(s)

    def _paid(self, move: Move, cost: int, s: Situation, left: Budget) -> Iterator[Step]:
        if cost != FREE:
            left = (*left[:cost], left[cost] - 1, *left[cost + 1 :])
        yield move, cost, self.flush(s)._replace(left=left)

    def _of_time(self, s: Situation) -> Iterator[Step]:
        if s.time < self.bounds.last:
            yield from self._paid(("time passes",), FREE, self.passes(s), s.left)

    def _of_machine(self, s: Situation, m: int, machine: Machine) -> Iterator[Step]:
        up, left = machine.ram != DOWN, s.left
        for key, at in machine.files:
            if at == "asked":
                yield from self._paid(("keeper begins", m, key), FREE, self._begin(s, m, key), left)
            elif at == "runs":
                yield from self._paid(("process ends", m, key), FREE, self._exit(s, m, key), left)
        if up and "save" in self.bounds.words:
            yield from self._saves(s, m, machine)
        if not up:
            if machine.on:
                yield from self._paid(("start", m), FREE, self.start(s, m), left)
        else:
            if self.machines.memory(machine).orders:
                yield from self._paid(("tick", m), FREE, self.tick(s, m), left)
            if left[CRASHES]:
                yield from self._paid(("kill -9", m), CRASHES, self._down(s, m, machine._replace(ram=DOWN)), left)
                for point in POINTS:
                    done = self.tick(s, m, point)
                    yield from self._paid(("tick and die", m, point), CRASHES, done, left)
            if left[PAUSES]:
                yield from self._paid(("tick, keeper slow", m), PAUSES, self.tick(s, m, "", True), left)
        if left[BOOTS]:
            rebooted = self.machines.reboot(machine, s.time)
            yield from self._paid(("reboot", m), BOOTS, self._down(s, m, rebooted), left)
            if machine.on and "dead" in self.bounds.words:
                off = machine._replace(ram=DOWN, on=False)
                yield from self._paid(("switch off", m), BOOTS, self._down(s, m, off), left)
        if not machine.on:
            rebooted = self.machines.reboot(machine, s.time)
            yield from self._paid(("switch on", m), FREE, self._down(s, m, rebooted), left)
        if up:
            full = self.machines.session(machine).work.disk_full
            if left[DISKS] or full:
                changed = self._machine(s, m, self.machines.fill(machine, not full))
                name = "disk has room" if full else "disk full"
                yield from self._paid((name, m), FREE if full else DISKS, changed, left)
        if left[JUMPS] and not machine.skew:
            for skew in (-1, 1):
                changed = self._machine(s, m, machine._replace(skew=skew))
                yield from self._paid(("clock set by 2 h", m, skew), JUMPS, changed, left)
        if machine.skew:
            yield from self._paid(("clock set right", m), FREE, self._machine(s, m, machine._replace(skew=0)), left)

    def _saves(self, s: Situation, m: int, machine: Machine) -> Iterator[Step]:
        """The job on request saves its state, twice in each attempt at most; the agent may die around that."""
        records = self.machines.memory(machine).runs
        for key, at in machine.files:
            record = records.get(key)
            if at != "runs" or ".rk." not in key or record is None or record.state != "intent" or record.stop:
                continue
            if record.checkpoint.number < 2 * record.attempt:
                yield from self._paid(("save", m, key), FREE, self.save(s, m, key), s.left)
                for point in POINTS if s.left[CRASHES] else ():
                    yield from self._paid(("save and die", m, point), CRASHES, self.save(s, m, key, point), s.left)

    def _of_link(self, s: Situation, m: int, machine: Machine, which: int) -> Iterator[Step]:
        link = s.links[m][which]
        if link is not None and s.left[CUTS]:
            yield from self._paid(("link lost", m, which), CUTS, self.cut(s, m, which), s.left)
        if machine.ram == DOWN or not machine.on:
            return
        if link is not None:
            if machine.skew or self.machines.session(machine).waiting(self.machines.moment(machine, s.time)):
                yield from self._paid(("heartbeat", m, which), FREE, self.beat(s, m, which), s.left)
            if s.left[PAUSES] and not link.slow:
                slow = self._link(s, m, which, link._replace(slow=True))
                yield from self._paid(("link slow", m, which), PAUSES, slow, s.left)
            if link.slow:
                yield from self._talks(s, m, which)
        elif self._may_connect(s, m):
            yield from self._talks(s, m, which)

    def _of_offices(self, s: Situation) -> Iterator[Step]:
        office, old = s.offices
        if s.left[FAILOVERS] and office.lag < 0 and old is None:
            yield from self._paid(("swap",), FAILOVERS, self.swap(s), s.left)
        if office.lag < 0 and s.left[LAGS]:
            alone = s._replace(offices=(office._replace(lag=office.rows), old))
            yield from self._paid(("master writes alone",), LAGS, alone, s.left)
        if office.lag >= 0:
            yield from self._paid(("promote with loss",), FREE, self.promote(s), s.left)
            yield from self._paid(("in sync again",), FREE, s._replace(offices=(office._replace(lag=-1), old)), s.left)
        if old is not None:
            yield from self._paid(("old master dies",), FREE, self.drop_old(s), s.left)

    def _of_words(self, s: Situation) -> Iterator[Step]:
        rows, facts = s.offices[NOW].rows, self.offices.facts(s.offices[NOW].rows)
        if "lock" in self.bounds.words:
            word = "unlock" if facts.locked[0] else "lock"
            act = self.offices.unlock if facts.locked[0] else self.offices.lock
            yield from self._paid((word,), WORDS, self.wrote(s, NOW, act(rows, 0, s.time)), s.left)
        if "move" in self.bounds.words and self.bounds.agents > 1:
            done = self.offices.move(rows, 1 - facts.job_at, s.time)
            yield from self._paid(("move the job", 1 - facts.job_at), WORDS, self.wrote(s, NOW, done), s.left)
        if "give" in self.bounds.words and self.bounds.agents > 1:
            for who in (0, 1):
                yield from self._paid(
                    ("give", who), WORDS, self.wrote(s, NOW, self.offices.give(rows, who, s.time)), s.left
                )
        for word, act in (("suspend", self.offices.suspend), ("resume", self.offices.resume)):
            if word in self.bounds.words:
                yield from self._paid((word,), WORDS, self.wrote(s, NOW, act(rows, s.time)), s.left)
        machine = s.machines[0]
        is_off = machine is not None and not machine.on and s.machines[CLONE] is None
        if "dead" in self.bounds.words and is_off and facts.silent[0] and not facts.dead[0]:
            done = self.offices.dead(rows, 0, s.time)
            yield from self._paid(("declare dead", 0), WORDS, self.wrote(s, NOW, done), s.left)
        for who in (0, 1):
            if facts.quarantined[who] and self._is_alone(s, who):
                done = self.offices.accept(rows, who, s.time)
                yield from self._paid(("accept restored", who), WORDS, self.wrote(s, NOW, done), s.left)

    def _of_copies(self, s: Situation) -> Iterator[Step]:
        machine = s.machines[0]
        if machine is None:
            return
        if s.machines[CLONE] is None:
            image = self.machines.reboot(machine._replace(skew=0), s.time)
            image = image._replace(boot=image.boot + 50)
            directory = machine._replace(place="c", files=image.files, skew=0)
            for name, copy in (("of the disk, elsewhere", image), ("of the directory, here", directory)):
                machines = (s.machines[0], s.machines[1], self.machines.start(copy, s.time)[0])
                yield from self._paid(("clone", name), COPIES, s._replace(machines=machines), s.left)
        confirmed = self.offices.facts(s.offices[NOW].rows).confirmed[0]
        if s.snapshot is not None and confirmed > s.snapshot[2]:
            disk, files, _ = s.snapshot
            epoch = self.machines.memories.things[disk].durable.epoch.number
            back = self.machines.reboot(machine._replace(disk=disk, files=files, highest=epoch), s.time)
            yield from self._paid(("restore the snapshot",), COPIES, self._down(s, 0, back), s.left)

    def _talks(self, s: Situation, m: int, which: int) -> Iterator[Step]:
        left, done = s.left, s
        epoch = self.machines.memory(s.machines[m]).durable.epoch.number
        for number, (kind, before, after) in enumerate(self._steps(s, m, which), 1):
            done = after
            if left[CRASHES] and kind == "down":
                for point in POINTS:
                    crashed = self.down(before, m, which, point)
                    yield from self._paid(("talks and dies", m, which, number, point), CRASHES, crashed, left)
            if left[CUTS] and self._has_link(after, m, which):
                cut = self.cut(after, m, which)
                yield from self._paid(("talks until the link is lost", m, which, number), CUTS, cut, left)
            if left[PAUSES] and kind != "open":
                if kind == "down":
                    slow = self.down(before, m, which, "", True)
                    if slow != after:
                        yield from self._paid(("talks, keeper slow", m, which, number), PAUSES, slow, left)
                if self._has_link(after, m, which):
                    slow = self._link(after, m, which, after.links[m][which]._replace(slow=True))
                    yield from self._paid(("talks for a while", m, which, number), PAUSES, slow, left)
        if which == OLD and done.offices[OLD] is not None and epoch > s.offices[OLD].epoch:
            raise Broken("an agent refuses an office that is not told")
        yield from self._paid(("talk", m, which), FREE, done, left)
