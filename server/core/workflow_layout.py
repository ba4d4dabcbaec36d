"""Where the steps of a workflow stand in its picture, and where its edges run. Pure and deterministic.

From top to bottom: a step stands one layer below the lowest step that it comes after. An edge over several layers runs
through a gap in each, so that it crosses no step. Steps of a layer are ordered by the middle of their neighbours, in
sweeps that keep the order with the fewest crossings; then each is drawn towards its neighbours as far as those beside
it leave room. Coordinates are whole units, the left upper corner is 0, 0.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from server.core.workflow_check import order
from server.core.workflows import Outcome, WorkflowSpec, WorkflowStep

WIDTH, HEIGHT = 184, 58
GAP, DROP, MARGIN = 20, 52, 14
LANE = 12
"""The width of the gap through which an edge passes a layer."""
GAPS_MAX = 2000
SWEEPS = 12
PULLS = 12


@dataclass(frozen=True, slots=True)
class Place:
    """A step's box: its left upper corner, and its layer from 0."""

    step: str
    x: int
    y: int
    layer: int


@dataclass(frozen=True, slots=True)
class Route:
    """An edge: from the bottom of one step, through gaps, to the top of another."""

    source: str
    target: str
    on: Outcome
    points: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Layout:
    """The whole picture. `places` are in the order of the specification."""

    width: int
    height: int
    places: tuple[Place, ...]
    routes: tuple[Route, ...]


@dataclass(slots=True)
class _Slot:
    """A step, or an edge that passes a layer (`step` is "" then)."""

    step: str
    layer: int
    middle: float = 0.0

    @property
    def width(self) -> int:
        return WIDTH if self.step else LANE


def layout(spec: WorkflowSpec) -> Layout:
    """Place every step. The specification is one that `workflow_check.check` accepts."""
    after = {step.name: list(dict.fromkeys(edge.step for edge in step.after)) for step in spec.steps}
    layers = _layers(after)
    boxes = {name: _Slot(name, layer) for name, layer in layers.items()}
    chains = _chains(boxes, [(before, name) for name, found in after.items() for before in found])
    rows = _rows(boxes, chains)
    links = [pair for chain in chains.values() for pair in pairwise(chain)]
    rows = _ordered(rows, links)
    straight = {(edge.step, step.name) for step in spec.steps for edge in step.after if edge.on == Outcome.SUCCEEDED}
    _pull(
        rows, [(*pair, _weight(pair, ends in straight)) for ends, chain in chains.items() for pair in pairwise(chain)]
    )
    left = min(slot.middle - slot.width / 2 for row in rows for slot in row)
    places = {name: _place(slot, left) for name, slot in boxes.items()}
    routes = tuple(route for step in spec.steps for route in _routes(step, chains, left))
    right = max(slot.middle - left + slot.width / 2 for row in rows for slot in row)
    height = 2 * MARGIN + len(rows) * HEIGHT + (len(rows) - 1) * DROP
    return Layout(round(right) + 2 * MARGIN, height, tuple(places[step.name] for step in spec.steps), routes)


def crossings(found: Layout) -> int:
    """How many pairs of edges cross between two layers: for tests, and to judge a picture."""
    spans: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for route in found.routes:
        for (x, y), (to_x, to_y) in pairwise(route.points):
            if to_y - y == DROP:
                spans.setdefault((y, to_y), []).append((x, to_x))
    return sum(_count(sorted(pairs)) for pairs in spans.values())


def _layers(after: dict[str, list[str]]) -> dict[str, int]:
    found: dict[str, int] = {}
    for name in order(after):
        found[name] = max((found[before] + 1 for before in after[name]), default=0)
    return found


def _chains(boxes: dict[str, _Slot], ends: list[tuple[str, str]]) -> dict[tuple[str, str], list[_Slot]]:
    """For each edge the steps at both ends, and between them a gap in every layer.

    When there would be more gaps than GAPS_MAX, the longest edges run straight, behind whatever is in their way.
    """
    left = GAPS_MAX
    found: dict[tuple[str, str], list[_Slot]] = {}
    for source, target in sorted(ends, key=lambda pair: boxes[pair[1]].layer - boxes[pair[0]].layer):
        between = range(boxes[source].layer + 1, boxes[target].layer)
        left -= len(between)
        gaps = [_Slot("", layer) for layer in between] if left >= 0 else []
        found[source, target] = [boxes[source], *gaps, boxes[target]]
    return {pair: found[pair] for pair in ends}


def _rows(boxes: dict[str, _Slot], chains: dict[tuple[str, str], list[_Slot]]) -> list[list[_Slot]]:
    rows: list[list[_Slot]] = [[] for _ in range(max(slot.layer for slot in boxes.values()) + 1)]
    for slot in boxes.values():
        rows[slot.layer].append(slot)
    for chain in chains.values():
        for slot in chain[1:-1]:
            rows[slot.layer].append(slot)
    return rows


Link = tuple[_Slot, _Slot]


def _ordered(rows: list[list[_Slot]], links: Sequence[Link]) -> list[list[_Slot]]:
    """The order of each layer that made the fewest crossings in all sweeps; the first of equals."""
    above, below = _neighbours(links)
    best, fewest = [list(row) for row in rows], _crossed(rows, links)
    for sweep in range(SWEEPS):
        down = sweep % 2 == 0
        neighbours = above if down else below
        for row in rows[1:] if down else reversed(rows[:-1]):
            _sort(row, neighbours, _positions(rows))
        crossed = _crossed(rows, links)
        if crossed < fewest:
            best, fewest = [list(row) for row in rows], crossed
        if fewest == 0:
            break
    return best


def _neighbours(links: Sequence[Link]) -> tuple[dict[int, list[_Slot]], dict[int, list[_Slot]]]:
    above: dict[int, list[_Slot]] = {}
    below: dict[int, list[_Slot]] = {}
    for upper, lower in links:
        above.setdefault(id(lower), []).append(upper)
        below.setdefault(id(upper), []).append(lower)
    return above, below


def _positions(rows: list[list[_Slot]]) -> dict[int, int]:
    return {id(slot): place for row in rows for place, slot in enumerate(row)}


def _sort(row: list[_Slot], neighbours: dict[int, list[_Slot]], positions: dict[int, int]) -> None:
    """By the mean place of the neighbours; what has none stays about where it is."""
    keys = {}
    for place, slot in enumerate(row):
        near = [positions[id(other)] for other in neighbours.get(id(slot), ())]
        keys[id(slot)] = (sum(near) / len(near) if near else float(place), place)
    row.sort(key=lambda slot: keys[id(slot)])


def _crossed(rows: list[list[_Slot]], links: Sequence[Link]) -> int:
    positions = _positions(rows)
    pairs: list[list[tuple[int, int]]] = [[] for _ in rows]
    for upper, lower in links:
        pairs[upper.layer].append((positions[id(upper)], positions[id(lower)]))
    return sum(_count(sorted(found)) for found in pairs)


def _count(pairs: Sequence[tuple[int, int]]) -> int:
    """Crossings of edges between two layers, given by their ends in ascending order: pairs in the other order below."""
    seen: list[int] = []
    found = 0
    for _, to_x in pairs:
        found += len(seen) - bisect_right(seen, to_x)
        insort(seen, to_x)
    return found


Pull = tuple[_Slot, _Slot, float]


def _weight(pair: Link, is_straight: bool) -> float:
    """How much two slots want to stand below each other: a gap below a gap most, then what follows success."""
    return 8.0 if not pair[0].step and not pair[1].step else 4.0 if is_straight else 1.0


def _pull(rows: list[list[_Slot]], links: Sequence[Pull]) -> None:
    """Give every slot the middle of its place: drawn to its neighbours, in order, without touching."""
    near: dict[int, list[tuple[_Slot, float]]] = {}
    for upper, lower, weight in links:
        near.setdefault(id(upper), []).append((lower, weight))
        near.setdefault(id(lower), []).append((upper, weight))
    for row in rows:
        _settle(row, [0.0] * len(row))
    for pull in range(PULLS):
        side = -1 if pull % 2 == 0 else 1
        for row in rows if side < 0 else reversed(rows):
            _settle(row, [_wished(slot, near, side) for slot in row])
    for row in rows:
        _settle(row, [_wished(slot, near, 0) for slot in row])


def _wished(slot: _Slot, near: dict[int, list[tuple[_Slot, float]]], side: int) -> float:
    """The middle of its neighbours by weight: those above (-1), below (1), or all (0)."""
    found = [
        (other.middle * weight, weight)
        for other, weight in near.get(id(slot), ())
        if side == 0 or (other.layer - slot.layer) * side > 0
    ]
    return sum(middle for middle, _ in found) / sum(weight for _, weight in found) if found else slot.middle


def _settle(row: list[_Slot], wished: Sequence[float]) -> None:
    """The places nearest to those wished (least squares) that keep the order and the gaps: pooled neighbours."""
    offsets = [0.0]
    for left, right in pairwise(row):
        offsets.append(offsets[-1] + (left.width + right.width) / 2 + GAP)
    pools: list[tuple[float, int]] = []
    for wish, offset in zip(wished, offsets, strict=True):
        mean, size = wish - offset, 1
        while pools and pools[-1][0] >= mean:
            other, count = pools.pop()
            mean, size = (mean * size + other * count) / (size + count), size + count
        pools.append((mean, size))
    means = [mean for mean, size in pools for _ in range(size)]
    for slot, mean, offset in zip(row, means, offsets, strict=True):
        slot.middle = mean + offset


def _place(slot: _Slot, left: float) -> Place:
    x = round(slot.middle - slot.width / 2 - left) + MARGIN
    return Place(slot.step, x, _top(slot.layer), slot.layer)


def _top(layer: int) -> int:
    return MARGIN + layer * (HEIGHT + DROP)


def _routes(step: WorkflowStep, chains: dict[tuple[str, str], list[_Slot]], left: float) -> list[Route]:
    """The edges of a step; they end beside each other, in the order in which they arrive."""
    edges = sorted(step.after, key=lambda edge: chains[edge.step, step.name][-2].middle)
    apart = min(24, (WIDTH - 40) // max(1, len(edges)))
    shifts = {edge: round((rank - (len(edges) - 1) / 2) * apart) for rank, edge in enumerate(edges)}
    return [
        Route(edge.step, step.name, edge.on, _points(chains[edge.step, step.name], left, shifts[edge]))
        for edge in step.after
    ]


def _points(chain: Sequence[_Slot], left: float, shift: int) -> tuple[tuple[int, int], ...]:
    middles = [round(slot.middle - left) + MARGIN for slot in chain]
    found = [(middles[0], _top(chain[0].layer) + HEIGHT)]
    for slot, middle in zip(chain[1:-1], middles[1:-1], strict=True):
        found += [(middle, _top(slot.layer)), (middle, _top(slot.layer) + HEIGHT)]
    return (*found, (middles[-1] + shift, _top(chain[-1].layer)))
