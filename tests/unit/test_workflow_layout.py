"""The picture of a workflow: every edge goes down, nothing lies on anything else, and few edges cross."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from server.core.workflow_layout import DROP, HEIGHT, MARGIN, WIDTH, Layout, crossings, layout
from server.core.workflows import Edge, Outcome, WorkflowSpec
from server.web.pages.workflow_drawing import draw
from tests.storybook.workflows import five, one, sixty, twelve
from tests.unit.test_workflows import flow, step


def sound(spec: WorkflowSpec) -> Layout:
    """Lay it out and check what must be true of every picture."""
    found = layout(spec)
    places = {place.step: place for place in found.places}
    assert list(places) == [step.name for step in spec.steps]
    for place in found.places:
        assert MARGIN <= place.x <= found.width - WIDTH - MARGIN
        assert place.y == MARGIN + place.layer * (HEIGHT + DROP)
        assert place.y + HEIGHT <= found.height - MARGIN
    for left in found.places:
        assert not [right for right in found.places if left.step < right.step and _touch(left.x, right.x, left, right)]
    for route in found.routes:
        assert places[route.source].layer < places[route.target].layer
        heights = [y for _, y in route.points]
        assert heights == sorted(heights)
        for (x, y), (to_x, to_y) in zip(route.points, route.points[1:], strict=False):
            if to_y - y == HEIGHT:
                assert x == to_x
                assert not [place for place in found.places if place.y == y and place.x < x < place.x + WIDTH]
    assert {(route.source, route.target, route.on) for route in found.routes} == {
        (edge.step, one.name, edge.on) for one in spec.steps for edge in one.after
    }
    return found


def _touch(x: int, other: int, left: object, right: object) -> bool:
    return getattr(left, "layer", 0) == getattr(right, "layer", 1) and abs(x - other) < WIDTH


def test_pictures_of_one_to_sixty_steps_are_sound() -> None:
    """Those that the storybook shows; none of them needs a crossing."""
    for spec in (one(), five(), twelve(), sixty()):
        assert crossings(sound(spec)) <= 2


def test_a_tree_has_no_crossing() -> None:
    """However its steps are ordered in the text."""
    names = [f"s{number}" for number in range(1, 16)]
    steps = [step(name, *([f"s{(number + 1) // 2}"] if number else [])) for number, name in enumerate(names)]
    shuffled = [steps[(index * 7) % 15] for index in range(15)]
    assert crossings(sound(flow(*shuffled))) == 0


def test_branches_given_crosswise_are_uncrossed() -> None:
    """Two chains whose second halves stand in the other order."""
    steps = [step("a"), step("b"), step("b2", "b"), step("a2", "a"), step("a3", "a2"), step("b3", "b2")]
    assert crossings(sound(flow(*steps))) == 0


def test_a_picture_of_the_most_edges_is_drawn() -> None:
    """Two hundred steps, a thousand edges, most of them over many layers: those run straight, and it ends."""
    steps = [step("s0")]
    for number in range(1, 200):
        before = {f"s{number - 1}", *(f"s{other}" for other in range(0, number, 45))}
        steps.append(step(f"s{number}", *sorted(before)))
    assert 600 < sum(len(one.after) for one in steps) <= 1000
    found = layout(flow(*steps))
    assert len(found.places) == 200
    assert sum(len(route.points) for route in found.routes) < 6000


def test_a_chain_is_straight() -> None:
    """Each step stands below the one before, whatever leaves it sideways."""
    found = {place.step: place.x for place in sound(five()).places}
    assert abs(found["dump"] - found["compress"]) < WIDTH / 2
    assert abs(found["compress"] - found["copy"]) < WIDTH / 2


@settings(max_examples=25)
@given(st.data())
def test_any_graph_is_sound_and_drawn_the_same_again(data: st.DataObject) -> None:
    """Up to 25 steps with any edges."""
    count = data.draw(st.integers(1, 25))
    steps = []
    for number in range(count):
        before = data.draw(st.lists(st.integers(0, number - 1), unique=True, max_size=5)) if number else []
        edges = [Edge(step=f"s{one}", on=data.draw(st.sampled_from(list(Outcome)))) for one in before]
        steps.append(step(f"s{number}", *edges))
    spec = flow(*data.draw(st.permutations(steps)))
    assert sound(spec) == layout(spec)
    drawn = draw(spec)
    assert len(drawn.boxes) == len(drawn.rows) == count
    labels = [line for line in drawn.lines if line.label]
    apart = [abs(a.x - b.x) >= 54 or abs(a.y - b.y) >= 15 for a in labels for b in labels if a is not b]
    assert all(apart)
