"""The witnesses as people and programs see them: rows, and what each said last to this node."""

from __future__ import annotations

import sqlite3

import msgspec

from server.core.model import NodeRow
from server.core.witness_seats import Seated, is_held, pending, problem, sets
from server.site import Site
from server.storage import nodes
from server.storage import witnesses as rows
from server.web.states import MAJORITY, WITNESSES, Badge


class WitnessLine(msgspec.Struct, frozen=True):
    """One agent with a seat.

    `seat`: held | in doubt | replaced, of the present set; "" when it has none there. `former` says that it was a
    witness before a change that is not applied by both nodes yet. `connected` is to the node that answers;
    `silent_since_us` is when its link ended, None while it is connected or was never heard. The record is as this node
    heard it at `heard_at_us`; all of it is None when it was not: `epoch` (number) it obeys, `alone` the name of the
    node that writes alone in `alone_epoch` or "", and `counter` of what was said of that.
    """

    id: str
    name: str
    seat: str
    former: bool
    connected: bool
    silent_since_us: int | None
    heard_at_us: int | None
    epoch: int | None
    epoch_node: str | None
    alone: str | None
    alone_epoch: int | None
    counter: int | None

    @property
    def badge(self) -> Badge:
        """Whether it can be asked."""
        if self.seat in ("in doubt", "replaced"):
            return WITNESSES["lost"]
        if not self.seat:
            return WITNESSES["former"]
        return WITNESSES["answers" if self.connected else "silent"]


class Standing(msgspec.Struct, frozen=True):
    """All witnesses. `answering` of `seats` in the present set are connected; `needed` is a majority of it.

    `change` is the number of a change that waits for the other node, or None; while it waits, former and present set
    must each agree. `problem` is a sentence with what to type, or "".
    """

    witnesses: tuple[WitnessLine, ...]
    seats: int
    answering: int
    needed: int
    change: int | None
    problem: str

    @property
    def sentence(self) -> str:
        """How many answer."""
        if self.seats == 1:
            return f"The witness {'answers' if self.answering else 'does not answer'}."
        return f"{self.answering} of {self.seats} witnesses answer."

    @property
    def badge(self) -> Badge:
        """Whether enough of them answer."""
        few = self.answering < self.needed
        return MAJORITY["few" if few else "all" if self.answering == self.seats else "enough"]


class Seating(msgspec.Struct, frozen=True):
    """What is read of the witnesses: `change` counts the changes of the set."""

    seated: list[Seated]
    change: int
    roster: list[NodeRow]


def read(connection: sqlite3.Connection) -> Seating:
    """Read the rows."""
    return Seating(rows.seated(connection), rows.number(connection), nodes.page(connection))


def standing(site: Site, found: Seating) -> Standing:
    """Put together what rows and links say."""
    names = {node.id: node.name for node in found.roster}
    seated, change = found.seated, found.change
    lines = tuple(_line(site, agent, names) for agent in seated)
    present = [line for line in lines if line.seat]
    waiting = pending(seated, change)
    return Standing(
        witnesses=lines,
        seats=len(present),
        answering=sum(line.connected and line.seat == "held" for line in present),
        needed=len(present) // 2 + 1 if present else 0,
        change=waiting.number if waiting is not None and sets(seated) else None,
        problem=problem(seated),
    )


def _line(site: Site, agent: Seated, names: dict[str, str]) -> WitnessLine:
    view = site.witnesses
    heard = view.heard(agent.id) if view is not None else None
    record = heard.record if heard is not None else None
    connected = view is not None and view.is_connected(agent.id)
    status = site.status()
    is_counted = record is not None and status is not None and record.alone == status.counted_name
    alone = record.alone if record is not None and not is_counted else ""
    return WitnessLine(
        id=agent.id,
        name=agent.name,
        seat=_seat(agent),
        former=agent.former_witness != 0,
        connected=connected,
        silent_since_us=None if connected or view is None else view.silent_since_us(agent.id),
        heard_at_us=heard.at_us if heard is not None else None,
        epoch=record.epoch.number if record else None,
        epoch_node=names.get(record.epoch.node, record.epoch.node[:8]) if record else None,
        alone=names.get(alone, alone[:8]) if record else None,
        alone_epoch=record.alone_epoch.number if record else None,
        counter=record.counter if record else None,
    )


def _seat(agent: Seated) -> str:
    if not agent.witness or is_held(agent, "witness"):
        return "held" if agent.witness else ""
    return "in doubt" if agent.removed_at_us is None else "replaced"
