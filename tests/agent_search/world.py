"""The whole situation as a value, and what can be done to it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from replication.core.types import Epoch
from server.core import agent_wire as wire
from server.core.agent_memory import Memory
from server.core.run_keys import parse_key
from tests.agent_search.bounds import COPIES, CRON, TIMES, Bounds
from tests.agent_search.machine import DOWN, Broken, Effects, Machine, Machines
from tests.agent_search.office import KEPT_SEQUENCE, Link, Offices

Budget = tuple[int, ...]
Move = tuple[Any, ...]
NODES = ("a" * 32, "b" * 32)
CLONE = 2
WHO = (0, 1, 0)
"""Whose identity a machine has: the third one is a copy of the first."""
NOW, OLD = 0, 1
TALK_MAX = 60
COMMANDS = (wire.Admitted, wire.NextTicket, wire.SetGates, wire.GiveOrder, wire.ReleaseOrder, wire.Dispatch,
            wire.StopRun, wire.Kept, wire.Suspend)  # fmt: skip


class Office(NamedTuple):
    """A master: the number of its epoch and its rows. `lag`: the rows that its standby holds while it writes alone."""

    epoch: int
    rows: int
    lag: int = -1

    @property
    def node(self) -> str:
        return NODES[(self.epoch - 1) % 2]

    @property
    def whole(self) -> Epoch:
        return Epoch(self.epoch, self.node)


class Situation(NamedTuple):
    """Everything that matters for what can follow. `links[m]` are those of machine m to the offices (now, old).

    `begun`: how often each occurrence or request began, anywhere. `snapshot`: (disk, files, ticket) of the first
    machine, from before its last connection. `left` is what may still go wrong.
    """

    time: int
    machines: tuple[Machine | None, ...]
    offices: tuple[Office, Office | None]
    links: tuple[tuple[Link | None, Link | None], ...]
    begun: tuple[tuple[str, int], ...]
    snapshot: tuple[int, tuple[tuple[str, str], ...], int] | None
    left: Budget


class World:
    """What happens. A promise that breaks in it is a `Broken`."""

    def __init__(self, bounds: Bounds) -> None:
        self.bounds = bounds
        self.machines = Machines(TIMES)
        self.offices = Offices(TIMES, CRON, bounds.words)
        self.hits: dict[str, int] = {}

    def beginning(self) -> Situation:
        """Both agents enrolled; with `ready` the first has its order and keeps its link."""
        empty = self.machines.memories.of(Memory())
        both = [self.machines.start(Machine(empty, place=place), 0)[0] for place in "pq"]
        office = Office(1, self.offices.first)
        machines = (both[0], both[1] if self.bounds.agents > 1 else None, None)
        s = Situation(0, machines, (office, None), ((None, None),) * 3, (), None, self.bounds.budget())
        if self.bounds.ready:
            for machine in range(self.bounds.agents):
                s = self.talk(s, machine, NOW)
        return s

    def flush(self, s: Situation) -> Situation:
        """What is under way on links that are not slow arrives."""
        for m in range(3):
            for which in (NOW, OLD):
                link = s.links[m][which]
                if link is not None and not link.slow and (link.up or link.down) and s.machines[m].ram != DOWN:
                    s = self.talk(s, m, which)
        return s

    def passes(self, s: Situation) -> Situation:
        """All that are up look at the present first; whoever has no link falls silent; tickets advance."""
        for m, machine in enumerate(s.machines):
            if machine is not None and machine.ram != DOWN:
                s = self.tick(s, m)
        for which in (NOW, OLD):
            office = s.offices[which]
            for who in (0, 1):
                if office is not None and not any(s.links[m][which] for m in range(3) if WHO[m] == who):
                    s = self.wrote(s, which, self.offices.fall_silent(s.offices[which].rows, who, s.time))
        s = s._replace(time=s.time + 1)
        for which in (NOW, OLD) if "master" in self.bounds.words else ():
            if (office := s.offices[which]) is not None:
                s = self.wrote(s, which, self.offices.turn(office.rows, s.time))
        for m, machine in enumerate(s.machines):
            if machine is not None and machine.ram != DOWN and not self.machines.memory(machine).orders:
                s = self.tick(s, m)
        for m in range(3):
            link = s.links[m][NOW]
            if link is not None and link.admitted and link.news:
                told = self.offices.next_ticket(s.offices[NOW].rows, WHO[m], s.time)
                down = (self.machines.messages.of(wire.NextTicket(told.value)),) if told.value else ()
                s = self._link(s, m, NOW, link._replace(down=(*link.down, *down), news=False))
                s = self.wrote(s, NOW, told.rows)
        return s

    def tick(self, s: Situation, m: int, crash: str = "", lazy: bool = False) -> Situation | None:
        """The agent looks at the time."""
        return self._event(s, m, "tick", lambda session, now: session.tick(now), crash, lazy)

    def start(self, s: Situation, m: int) -> Situation:
        machine, effects = self.machines.start(s.machines[m], s.time)
        return self._after(self._machine(s, m, machine), m, effects)

    def _begin(self, s: Situation, m: int, key: str) -> Situation:
        machine, effects = self.machines.begin(s.machines[m], key, s.time)
        return self._after(self._machine(s, m, machine), m, effects)

    def _exit(self, s: Situation, m: int, key: str) -> Situation:
        machine, effects = self.machines.exit(s.machines[m], key, s.time)
        return self._after(self._machine(s, m, machine), m, effects)

    def _event(self, s: Situation, m: int, name: Any, entry: Any, crash: str = "", lazy: bool = False) -> Situation:
        before = s.machines[m]
        machine, effects = self.machines.do(before, name, entry, s.time, crash, lazy)
        s = self._after(self._machine(s, m, machine), m, effects)
        return self._links_lost(s, m) if crash else s

    def _after(self, s: Situation, m: int, effects: Effects) -> Situation:
        for node, message in effects.sends:
            for which in (NOW, OLD):
                office, link = s.offices[which], s.links[m][which]
                if office is not None and link is not None and office.node == node:
                    s = self._link(s, m, which, link._replace(up=(*link.up, message)))
        if effects.began:
            counts = dict(s.begun)
            facts = self.offices.facts(s.offices[NOW].rows)
            for key in effects.began:
                stem = key.rpartition(".a")[0]
                due_us = parse_key(key).scheduled_for_us
                if due_us is not None and due_us > TIMES[s.time]:
                    raise Broken(f"{stem} begins before its time")
                if facts.lock_kept[WHO[m]]:
                    raise Broken(f"{stem} begins under a lock that the agent acknowledged")
                name = stem
                if "save" in self.bounds.words:
                    name = key
                    if self._runs_elsewhere(s, m, key):
                        raise Broken(f"{stem} runs twice at once")
                counts[name] = counts.get(name, 0) + 1
                if counts[name] > 1:
                    raise Broken(f"{name} began twice")
            s = s._replace(begun=tuple(sorted(counts.items())))
        return s

    def _runs_elsewhere(self, s: Situation, m: int, key: str) -> bool:
        """Whether another attempt of what has just begun at `m` has a process, there or anywhere."""
        stem = key.rpartition(".a")[0]
        return any(
            at == "runs" and other.rpartition(".a")[0] == stem and (other != key or n != m)
            for n, machine in enumerate(s.machines)
            if machine is not None
            for other, at in machine.files
        )

    def save(self, s: Situation, m: int, key: str, crash: str = "") -> Situation:
        """The run's job saves its state, and asks again only when it was not answered."""
        number = self.machines.memory(s.machines[m]).runs[key].checkpoint.number
        request = f"q{number}"

        def entry(session: Any, now: Any) -> Any:
            return session.checkpoint(1, key, b"s", request, False, now)

        return self._event(s, m, ("save", key, request), entry, crash)

    def _machine(self, s: Situation, m: int, machine: Machine) -> Situation:
        return s._replace(machines=(*s.machines[:m], machine, *s.machines[m + 1 :]))

    def _link(self, s: Situation, m: int, which: int, link: Link | None) -> Situation:
        pair = (link, s.links[m][OLD]) if which == NOW else (s.links[m][NOW], link)
        return s._replace(links=(*s.links[:m], pair, *s.links[m + 1 :]))

    def _down(self, s: Situation, m: int, machine: Machine) -> Situation:
        return self._links_lost(self._machine(s, m, machine), m)

    def _links_lost(self, s: Situation, m: int) -> Situation:
        return s._replace(links=(*s.links[:m], (None, None), *s.links[m + 1 :]))

    def cut(self, s: Situation, m: int, which: int) -> Situation:
        """The link is gone with what was under way, and the agent sees it."""
        node = s.offices[which].node
        s = self._link(s, m, which, None)
        if s.machines[m].ram == DOWN:
            return s
        return self._event(s, m, ("closed", node), lambda session, now: session.link_closed(node))

    def beat(self, s: Situation, m: int, which: int) -> Situation:
        """A heartbeat of the master arrives."""
        office = s.offices[which]
        beat = wire.NodeHeartbeat(TIMES[s.time], KEPT_SEQUENCE if office.lag < 0 else 0, 0)
        return self._event(
            s, m, ("beat", office.node, s.time, office.lag < 0), lambda a, now: a.received(office.node, beat, now)
        )

    # Talking.

    def _may_connect(self, s: Situation, m: int) -> bool:
        """A copy speaks while its original is connected: one whose original is silent cannot be told apart."""
        if m == CLONE:
            return s.links[0][NOW] is not None
        return not (m == 0 and s.machines[CLONE] is not None and s.links[CLONE][NOW] is not None)

    def _was_copied(self, s: Situation) -> bool:
        return s.left[COPIES] < self.bounds.budget()[COPIES]

    def _is_alone(self, s: Situation, who: int) -> bool:
        """An operator accepts an agent only when its copy is off."""
        return who != 0 or s.machines[CLONE] is None

    def connect(self, s: Situation, m: int, which: int) -> Situation:
        """Open a link: the office says who it is. A second process of an identity is refused, both are set aside."""
        office = s.offices[which]
        other = CLONE if m == 0 else 0
        if WHO[m] == 0 and s.links[other][which] is not None:
            known = s.links[other][which]
            told = self.offices.double(office.rows, 0, s.time)
            said = self.machines.messages.of(wire.Quarantined("q"))
            known = known._replace(admitted=False, refused=True, down=(*known.down, said))
            return self.wrote(self._link(s, other, which, known), which, told.rows)
        hello = self.machines.messages.of(
            wire.Office(office.node, "master", office.whole, TIMES[s.time], {}, wire.PROTOCOL)
        )
        if m == 0 and s.left[COPIES]:
            held = s.machines[0]
            s = s._replace(snapshot=(held.disk, held.files, self.machines.memory(held).durable.ticket))
        s = self._event(s, m, ("opened", office.node), lambda session, now: session.link_opened(office.node))
        return self._link(s, m, which, Link((hello,)))

    def talk(self, s: Situation, m: int, which: int) -> Situation:
        """All that is under way arrives, and all that follows from it."""
        done = s
        for _, _, after in self._steps(s, m, which):
            done = after
        return done

    def _steps(self, s: Situation, m: int, which: int) -> Iterator[tuple[str, Situation, Situation]]:
        """One arrival after the other: (kind, before, after)."""
        if s.links[m][which] is None:
            before, s = s, self.connect(s, m, which)
            yield "open", before, s
        elif s.links[m][which].slow:
            s = self._link(s, m, which, s.links[m][which]._replace(slow=False))
        for _ in range(TALK_MAX):
            link = s.links[m][which] if s.offices[which] is not None else None
            if link is None or not (link.up or link.down):
                return
            before = s
            s = self.up(s, m, which) if link.up else self.down(s, m, which)
            yield ("up" if link.up else "down"), before, s
        raise Broken("they talk for ever")

    def _has_link(self, s: Situation, m: int, which: int) -> bool:
        return s.offices[which] is not None and s.links[m][which] is not None

    def down(self, s: Situation, m: int, which: int, crash: str = "", lazy: bool = False) -> Situation:
        """The agent gets the next message of an office."""
        office, link = s.offices[which], s.links[m][which]
        number, message = link.down[0], self.machines.messages.things[link.down[0]]
        self.hits[type(message).__name__] = self.hits.get(type(message).__name__, 0) + 1
        s = self._link(s, m, which, link._replace(down=link.down[1:]))
        after = self._event(
            s, m, ("got", office.node, number), lambda a, now: a.received(office.node, message, now), crash, lazy
        )
        stale = isinstance(message, COMMANDS) and office.epoch < s.machines[m].highest
        if stale and after.machines[m].disk != s.machines[m].disk:
            raise Broken(f"a {type(message).__name__} of epoch {office.epoch} is obeyed after a later one")
        return after

    def up(self, s: Situation, m: int, which: int) -> Situation:
        """The office gets all that the agent said, in one batch, and answers once it is committed."""
        office, link = s.offices[which], s.links[m][which]
        batch = tuple(self.machines.messages.things[number] for number in link.up)
        who = WHO[m]
        told = self.offices.take(office.rows, who, office.whole, batch, link.up, s.time, office.lag >= 0)
        answers, kept, refusal = told.value
        rows = told.rows
        news = link.news or any(
            isinstance(one, wire.Report | wire.GatesKept | wire.OrderKept | wire.Released) for one in batch
        )
        admitted, refused = link.admitted, link.refused or bool(refusal)
        if kept and not refused and not admitted:
            admitted, rows = True, self.offices.is_back(rows, who, s.time)
        down = (*link.down, *(self.machines.messages.of(answer) for answer in answers))
        link = link._replace(
            up=(), down=down, admitted=admitted and not refused, refused=refused, news=news and admitted
        )
        s = self.wrote(self._link(s, m, which, link), which, rows)
        if which == OLD and any(isinstance(one, wire.EpochRefused) for one in batch):
            s = self.drop_old(s)
        return s

    def wrote(self, s: Situation, which: int, rows: int) -> Situation:
        """Rows of an office are committed: the deliverer brings what they say."""
        office = s.offices[which]._replace(rows=rows)
        offices = (office, s.offices[OLD]) if which == NOW else (s.offices[NOW], office)
        s = s._replace(offices=offices)
        facts = self.offices.facts(rows)
        if not self._was_copied(s) and any(q and not d for q, d in zip(facts.quarantined, facts.dead, strict=True)):
            raise Broken("an agent is quarantined that nobody copied")
        for m in range(3):
            link = s.links[m][which]
            if link is None:
                continue
            told = self.offices.bring(s.offices[which].rows, WHO[m], office.epoch, link, s.time)
            said, member = told.value
            offices = list(s.offices)
            offices[which] = s.offices[which]._replace(rows=told.rows)
            s = s._replace(offices=tuple(offices))
            if member is None:
                s = self.cut(s, m, which)
            else:
                down = (*link.down, *(self.machines.messages.of(message) for message in said))
                s = self._link(s, m, which, member._replace(up=link.up, down=down, news=link.news))
        return s

    # Changes of office.

    def swap(self, s: Situation) -> Situation:
        """Office goes to the other node with everything; links to the old one close."""
        for m in range(3):
            if s.links[m][NOW] is not None:
                s = self.cut(s, m, NOW)
        office = s.offices[NOW]
        rows = self.offices.open_epoch(office.rows, office.epoch + 1, s.time)
        return s._replace(offices=(Office(office.epoch + 1, rows), None))

    def promote(self, s: Situation) -> Situation:
        """The standby takes office with what it holds; the old master lives on, and its links."""
        if s.offices[OLD] is not None:
            s = self.drop_old(s)
        office = s.offices[NOW]
        rows = self.offices.take_over(office.lag, office.epoch + 1, s.time)
        links = tuple((None, pair[NOW]) for pair in s.links)
        return s._replace(offices=(Office(office.epoch + 1, rows), office), links=links)

    def drop_old(self, s: Situation) -> Situation:
        """The old master is gone, and what it had alone."""
        for m in range(3):
            if s.links[m][OLD] is not None:
                s = self.cut(s, m, OLD)
        return s._replace(offices=(s.offices[NOW], None))
