"""What is wrong with a workflow, each with the place in it. Pure; what it names is looked up by `actions.workflows`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from difflib import get_close_matches

import msgspec

from server.core.job_uses import wrong_tags
from server.core.retry import wrong_retry
from server.core.workflows import Edge, Join, Outcome, Path, WorkflowSpec, WorkflowStep

STEPS_MAX = 200
EDGES_MAX = 1000
ITEMS_MAX = 1000
TEXT_MAX = 64 * 1024
TIMEOUT_S_MAX = 366 * 86400
RESERVED = ("step", "on")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}\Z")
STEP = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}\Z")
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}\Z")
_ELSEWHERE = ("agent", "group", "working_directory", "run_as")


class Wrong(msgspec.Struct, frozen=True):
    """One mistake: where, and what is allowed."""

    path: Path
    text: str


def check(spec: WorkflowSpec) -> list[Wrong]:
    """Everything that is not right, in the order of the specification; empty when it can be kept."""
    found = [*_head(spec), *_names(spec)]
    for index, step in enumerate(spec.steps):
        found += _step(spec, step, ("steps", index))
    known = {step.name for step in spec.steps}
    if all(edge.step in known - {step.name} for step in spec.steps for edge in step.after):
        circle = cycle({step.name: [edge.step for edge in step.after] for step in spec.steps})
        if circle:
            first = next(index for index, step in enumerate(spec.steps) if step.name == circle[0])
            found.append(Wrong(("steps", first, "after"), f"the steps wait for each other: {' → '.join(circle)}"))
        else:
            found += _unreachable(spec)
    return found


def meant(word: str, known: Sequence[str]) -> str:
    """`; did you mean 'x'?`, or nothing when no known word is near."""
    near = get_close_matches(word, known, 1, 0.6)
    return f"; did you mean {near[0]!r}?" if near else ""


def cycle(after: dict[str, list[str]]) -> list[str]:
    """One way round a graph of names, the first name again at its end; empty when there is none."""
    done: set[str] = set()
    for start in after:
        trail: list[str] = []
        heads: list[Iterator[str]] = [iter((start,))]
        while heads:
            name = next(heads[-1], None)
            if name is None:
                heads.pop()
                if trail:
                    done.add(trail.pop())
            elif name in trail:
                return [*trail[trail.index(name) :], name]
            elif name not in done:
                trail.append(name)
                heads.append(iter(after.get(name, ())))
    return []


def _head(spec: WorkflowSpec) -> list[Wrong]:
    found = []
    if not NAME.match(spec.name):
        text = "the name must begin with a letter or digit and have up to 100 letters, digits, . _ -"
        found.append(Wrong(("name",), text))
    elif spec.name == "schema":
        found.append(Wrong(("name",), "no workflow may be called 'schema': that is the address of its schema"))
    if spec.agent and spec.group:
        found.append(Wrong(("group",), "give an agent or a group, not both"))
    if not spec.steps:
        found.append(Wrong(("steps",), "a workflow has at least one step"))
    if len(spec.steps) > STEPS_MAX:
        found.append(Wrong(("steps",), f"{len(spec.steps)} steps are too many; a workflow has at most {STEPS_MAX}"))
    edges = sum(len(step.after) for step in spec.steps)
    if edges > EDGES_MAX:
        found.append(Wrong(("steps",), f"{edges} edges are too many; a workflow has at most {EDGES_MAX}"))
    found += [Wrong(("tags",), f"tags: {said}") for said in wrong_tags(spec.tags).values()]
    return found + _texts(spec, ()) + _timeout(spec.timeout_s, ()) + _variables(spec.variables, ("variables",))


def _names(spec: WorkflowSpec) -> list[Wrong]:
    found: list[Wrong] = []
    seen: set[str] = set()
    for index, step in enumerate(spec.steps):
        place = ("steps", index, "name")
        if not STEP.match(step.name):
            text = "a step's name must begin with a letter or digit and have up to 63 letters, digits, _ -"
            found.append(Wrong(place, text))
        elif step.name in RESERVED:
            found.append(Wrong(place, f"no step may be called {step.name!r}: it is a word of edges"))
        elif step.name in seen:
            found.append(Wrong(place, f"there are two steps {step.name!r}; each has a name of its own"))
        seen.add(step.name)
    return found


def _step(spec: WorkflowSpec, step: WorkflowStep, at: Path) -> list[Wrong]:
    kinds = [kind for kind in ("command", "job", "workflow") if getattr(step, kind).strip()]
    found: list[Wrong] = []
    if len(kinds) != 1:
        said = f"it has {' and '.join(kinds)}" if kinds else "it has none of them"
        text = f"the step {step.name!r} needs exactly one of command, job and workflow; {said}"
        found.append(Wrong((*at, kinds[1]) if kinds else at, text))
    elif kinds[0] == "command":
        found += _place(spec, step, at)
    else:
        found += _given(step, kinds[0], at)
    found += _texts(step, at) + _timeout(step.timeout_s, at) + _variables(step.environment, (*at, "environment"))
    found += [Wrong((*at, *name.split(".")), text) for name, text in wrong_retry(step.retry).items()]
    return found + _items(step, at) + _edges(spec, step, at)


def _place(spec: WorkflowSpec, step: WorkflowStep, at: Path) -> list[Wrong]:
    if step.agent and step.group:
        return [Wrong((*at, "group"), f"the step {step.name!r} runs on an agent or on a group, not both")]
    if not (step.agent or step.group or spec.agent or spec.group):
        text = f"nothing says where {step.name!r} runs: give it an agent or a group, or give the workflow one"
        return [Wrong(at, text)]
    return []


def _given(step: WorkflowStep, kind: str, at: Path) -> list[Wrong]:
    """What a step of a job or of another workflow may not say, because that says it."""
    names = [name for name in _ELSEWHERE if getattr(step, name)]
    if kind == "workflow" and step.environment:
        names.append("environment")
    return [Wrong((*at, name), f"the {kind} {getattr(step, kind)!r} itself says its {name}") for name in names]


def _texts(holder: WorkflowSpec | WorkflowStep, at: Path) -> list[Wrong]:
    found = []
    for name in holder.__struct_fields__:
        value = getattr(holder, name)
        if isinstance(value, str) and ("\0" in value or len(value) > TEXT_MAX):
            found.append(Wrong((*at, name), f"{name} may hold no NUL character and at most {TEXT_MAX} characters"))
    return found


def _timeout(timeout_s: int, at: Path) -> list[Wrong]:
    if 0 <= timeout_s <= TIMEOUT_S_MAX:
        return []
    return [Wrong((*at, "timeout_s"), f"timeout_s is from 0 (none) to {TIMEOUT_S_MAX} seconds")]


def _variables(values: dict[str, str], at: Path) -> list[Wrong]:
    found = []
    for name, value in values.items():
        if not VARIABLE.match(name):
            text = f"{name!r} is no name of a variable: it has letters, digits and _, and begins with no digit"
            found.append(Wrong((*at, name), text))
        elif name.startswith("UNDERSTUDY_"):
            found.append(Wrong((*at, name), f"{name}: names that begin with UNDERSTUDY_ are set by the agent"))
        elif "\0" in value or len(value) > TEXT_MAX:
            found.append(Wrong((*at, name), f"{name} may hold no NUL character and at most {TEXT_MAX} characters"))
    return found


def _items(step: WorkflowStep, at: Path) -> list[Wrong]:
    place = (*at, "for_each")
    if len(step.for_each) > ITEMS_MAX:
        return [Wrong(place, f"{len(step.for_each)} items are too many; for_each has at most {ITEMS_MAX}")]
    found = []
    seen: set[str] = set()
    for index, item in enumerate(step.for_each):
        if not item or "\0" in item or len(item) > 1000:
            found.append(Wrong((*place, index), "an item has 1 to 1000 characters and no NUL"))
        elif item in seen:
            found.append(Wrong((*place, index), f"the item {item!r} is there twice"))
        seen.add(item)
    return found


def _edges(spec: WorkflowSpec, step: WorkflowStep, at: Path) -> list[Wrong]:
    names = [other.name for other in spec.steps]
    found: list[Wrong] = []
    for index, edge in enumerate(step.after):
        place = (*at, "after", index)
        if edge.step not in names:
            others = [name for name in names if name != step.name]
            found.append(Wrong((*place, "step"), f"step {edge.step!r} is not a step{meant(edge.step, others)}"))
        elif edge.step == step.name:
            found.append(Wrong(place, f"the step {step.name!r} waits for itself"))
        elif edge in step.after[:index]:
            found.append(Wrong(place, f"{edge.step!r} is named twice"))
    return found


Needs = frozenset[tuple[str, Outcome]]
_CONTRARY = (Outcome.SUCCEEDED, Outcome.FAILED)


def _unreachable(spec: WorkflowSpec) -> list[Wrong]:
    """Steps that can never begin, because a step before them would have to have succeeded and failed.

    What must have happened is followed along the edges: with `all` from every edge, with `any` what all of them share.
    """
    steps = {step.name: step for step in spec.steps}
    needs: dict[str, Needs | None] = {}
    found: list[Wrong] = []
    for name in order({step.name: [edge.step for edge in step.after] for step in spec.steps}):
        step = steps[name]
        ways = [_way(edge, needs) for edge in step.after]
        needs[name] = _joined(step.join, ways)
        if needs[name] is None and None not in ways:
            index = next(i for i, other in enumerate(spec.steps) if other.name == name)
            text = f"the step {name!r} can never begin: {_contrary(frozenset().union(*(w for w in ways if w)))}"
            found.append(Wrong(("steps", index, "after"), text))
    return found


def order(after: dict[str, list[str]]) -> list[str]:
    """Names, each behind all that it comes after; in the given order where that is free. The graph has no cycle."""
    waiting = {name: set(before) for name, before in after.items()}
    found: list[str] = []
    while waiting:
        ready = [name for name, before in waiting.items() if not before]
        for name in ready:
            del waiting[name]
        for before in waiting.values():
            before.difference_update(ready)
        found += ready
    return found


def _way(edge: Edge, needs: dict[str, Needs | None]) -> Needs | None:
    before = needs[edge.step]
    return None if before is None else before | ({(edge.step, edge.on)} if edge.on in _CONTRARY else set())


def _joined(join: Join, ways: Sequence[Needs | None]) -> Needs | None:
    """What must have happened before a step begins; None when that is impossible."""
    if not ways:
        return frozenset()
    if join == Join.ANY:
        open_ways = [way for way in ways if way is not None]
        return frozenset.intersection(*open_ways) if open_ways else None
    if None in ways:
        return None
    together: Needs = frozenset().union(*(way for way in ways if way is not None))
    return None if _contrary(together) else together


def _contrary(needs: Needs) -> str:
    both = sorted(name for name, on in needs if on == Outcome.FAILED and (name, Outcome.SUCCEEDED) in needs)
    return f"{both[0]!r} would have to succeed and to fail" if both else ""
