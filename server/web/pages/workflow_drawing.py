"""The picture of a workflow, and the list that says the same: what `partials/_workflow_graph.html` draws.

States are given, so that the page of a workflow and the page of its run draw alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

from server.core.workflow_layout import HEIGHT, WIDTH, Layout, Route, layout
from server.core.workflows import Join, Outcome, WorkflowSpec, WorkflowStep
from server.web.states import RUNS, Badge, badge

NAME_MAX, TEXT_MAX = 20, 20
ANY_MAX, COUNT_MAX = 3, 5
LABEL_WIDTH, LABEL_HEIGHT = 54, 16
ICONS = {"command": "play", "job": "calendar-clock", "workflow": "workflow"}
WORDS = {Outcome.SUCCEEDED: "succeeded", Outcome.FAILED: "failed", Outcome.ENDED: "ended"}


@dataclass(frozen=True, slots=True)
class Box:
    """A step as drawn. `state` is None on the page of a workflow."""

    x: int
    y: int
    name: str
    text: str
    title: str
    icon: str
    items: int
    checkpoint: bool
    any: bool
    state: Badge | None


@dataclass(frozen=True, slots=True)
class Line:
    """An edge as drawn: `path` is SVG's; the label stands at (x, y). `taken`: the run went this way."""

    path: str
    on: str
    label: str
    x: int
    y: int
    taken: bool


@dataclass(frozen=True, slots=True)
class StepRow:
    """A step as the list says it."""

    name: str
    does: str
    where: str
    after: str
    marks: tuple[str, ...]
    state: Badge | None
    note: str


@dataclass(frozen=True, slots=True)
class Drawing:
    """The picture with its list. `outcomes` are those that the legend explains."""

    name: str
    width: int
    height: int
    boxes: tuple[Box, ...]
    lines: tuple[Line, ...]
    rows: tuple[StepRow, ...]
    outcomes: tuple[str, ...]
    has_checkpoints: bool
    has_items: bool
    has_any: bool
    box_width: int = WIDTH
    box_height: int = HEIGHT


def draw(
    spec: WorkflowSpec,
    states: Mapping[str, str] | None = None,
    notes: Mapping[str, str] | None = None,
    words: Mapping[str, Badge] = RUNS,
) -> Drawing:
    """Draw a workflow. `states`: the state of each step by name, a key of `words`; `notes`: a sentence beside it."""
    found, given = layout(spec), states or {}
    badges = {name: badge(dict(words), state) for name, state in given.items()}
    steps = {step.name: step for step in spec.steps}
    boxes = tuple(_box(steps[place.step], place.x, place.y, badges.get(place.step)) for place in found.places)
    rows = tuple(_row(spec, step, badges.get(step.name), (notes or {}).get(step.name, "")) for step in spec.steps)
    used = {route.on for route in found.routes}
    return Drawing(
        name=spec.name,
        width=found.width,
        height=found.height,
        boxes=boxes,
        lines=tuple(_lines(found, given)),
        rows=rows,
        outcomes=tuple(WORDS[on] for on in Outcome if on in used),
        has_checkpoints=any(step.checkpoint for step in spec.steps),
        has_items=any(step.for_each for step in spec.steps),
        has_any=any(box.any for box in boxes),
    )


def kind(step: WorkflowStep) -> str:
    """command, job or workflow."""
    return "job" if step.job else "workflow" if step.workflow else "command"


def does(step: WorkflowStep) -> str:
    """What a step does, in a line."""
    if step.command:
        return next((line.strip() for line in step.command.splitlines() if line.strip()), "")
    return f"{kind(step)} {step.job or step.workflow}"


def _box(step: WorkflowStep, x: int, y: int, state: Badge | None) -> Box:
    has_any = step.join == Join.ANY and len(step.after) > 1
    return Box(
        x=x,
        y=y,
        name=_cut(step.name, NAME_MAX - (ANY_MAX if has_any else 0)),
        text=_cut(state.word if state else does(step), TEXT_MAX - (COUNT_MAX if step.for_each else 0)),
        title=f"{step.name}: {does(step)}" + (f", {state.word}" if state else ""),
        icon=state.icon if state else ICONS[kind(step)],
        items=len(step.for_each),
        checkpoint=step.checkpoint,
        any=has_any,
        state=state,
    )


def _row(spec: WorkflowSpec, step: WorkflowStep, state: Badge | None, note: str) -> StepRow:
    own: WorkflowSpec | WorkflowStep = step if step.agent or step.group else spec
    where = (own.agent or f"group {own.group}") if step.command else ""
    joined = " or " if step.join == Join.ANY else " and "
    after = joined.join(f"{edge.step} {WORDS[edge.on]}" for edge in step.after)
    marks = [f"for each of {len(step.for_each)}"] if step.for_each else []
    marks += ["checkpoint"] if step.checkpoint else []
    marks += ["restartable"] if step.restartable else []
    marks += [f"up to {step.retry.attempts_max} attempts"] if step.retry.attempts_max > 1 else []
    return StepRow(step.name, does(step), where, after, tuple(marks), state, note)


def _lines(found: Layout, states: Mapping[str, str]) -> list[Line]:
    """The edges; labels that would lie on each other are moved down."""
    lines: list[Line] = []
    used: dict[int, list[int]] = {}
    for route in found.routes:
        x, y = _middle(route)
        label = "" if route.on == Outcome.SUCCEEDED else WORDS[route.on]
        while label and any(abs(x - other) < LABEL_WIDTH for other in used.get(y, ())):
            y += LABEL_HEIGHT
        if label:
            used.setdefault(y, []).append(x)
        lines.append(Line(_path(route), str(route.on), label, x, y, _is_taken(route, states.get(route.source, ""))))
    return lines


def _is_taken(route: Route, state: str) -> bool:
    ended = {"succeeded": (Outcome.SUCCEEDED, Outcome.ENDED)}
    ended |= dict.fromkeys(("failed", "killed", "interrupted", "cancelled"), (Outcome.FAILED, Outcome.ENDED))
    return route.on in ended.get(state, ())


def _middle(route: Route) -> tuple[int, int]:
    """Where the label stands: half way down to the next layer, since what ends together begins apart."""
    (x, y), (to_x, to_y) = route.points[:2]
    return (x + to_x) // 2, (y + to_y) // 2


def _path(route: Route) -> str:
    """Curves between layers, straight lines through them."""
    points = route.points
    path = f"M{points[0][0]} {points[0][1]}"
    for (x, y), (to_x, to_y) in pairwise(points):
        bend = (y + to_y) // 2
        path += f"V{to_y}" if x == to_x else f"C{x} {bend} {to_x} {bend} {to_x} {to_y}"
    return path


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
