"""Runs courses with one point armed and says what was broken.

`python -m tests.failpoints.runs COURSE NODE POINT NTH` shows one strike again; with numbers of passes it runs those,
without arguments it lists all places.
"""

from __future__ import annotations

import random
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.bench.certificates import A, B
from tests.failpoints.courses import COURSES
from tests.failpoints.pair import DeadlyPair
from tests.process.checker import Verdict

NODES = {"a": A, "b": B}
LANES = 3
"""Strikes at a time: a course mostly waits for its processes."""
STARTS = {"restart": ("a",), "cut": ("a", "b"), "compare": ("a", "b"), "copy": ("b",)}
"""Courses in which a node is started: its points before it listens can only be armed for that start."""


@dataclass(frozen=True)
class Place:
    """A point of one node in one course, and how often it is reached there."""

    course: str
    node: str
    point: str
    count: int


def _begin(pair: DeadlyPair, course: str) -> None:
    pair.start(A)
    pair.ask(A, "found")
    pair.write(A, "first", 2)
    if course != "copy":
        pair.start(B)
        pair.ask(B, "join")
        pair.settle()
        pair.write(A, "both", 2, 30_000)
        pair.settle()
    else:
        pair.acknowledged.clear()
        for number in range(3):
            pair.ask(A, "push", f"filling{number}-", 3)


def survey(course: str) -> list[Place]:
    """Run a course twice with nothing armed, since it does not always come by the same; every place of either."""
    found: dict[tuple[str, str], int] = {}
    for _ in range(2):
        for place, count in _reached(course).items():
            found[place] = max(found.get(place, 0), count)
    return [Place(course, letter, point, count) for (letter, point), count in found.items()]


def _reached(course: str) -> dict[tuple[str, str], int]:
    with tempfile.TemporaryDirectory(prefix="failpoints-") as root:
        pair = DeadlyPair(Path(root))
        try:
            _begin(pair, course)
            before = {name: pair.try_order(name, "reached") or {} for name in (A, B)}
            pair.watched = course
            COURSES[course](pair)
            pair.settle()
            for name in (A, B):
                pair._remember(name)
            wrong = pair.check()
        finally:
            pair.watched = ""
            pair.close()
    assert not wrong, (course, wrong)
    return {
        (letter, point): count - before[name].get(point, 0)
        for letter, name in NODES.items()
        for point, count in pair.reached[name].items()
        if count > before[name].get(point, 0)
    }


def strike(place: Place, nth: int) -> tuple[bool, list[str]]:
    """Run the course with the point armed; (whether the process died there, what was wrong afterwards)."""
    with tempfile.TemporaryDirectory(prefix="failpoints-") as root:
        pair = DeadlyPair(Path(root))
        name = NODES[place.node]
        try:
            _begin(pair, place.course)
            if place.node in STARTS.get(place.course, ()):
                pair.arm_start(name, place.point, nth)
            if name in pair.running:
                pair.ask(name, "arm", place.point, nth)
            COURSES[place.course](pair)
            pair.settle()
            return bool(pair.deaths), pair.check()
        except AssertionError as error:
            return bool(pair.deaths), [str(error)]
        finally:
            pair.close()


def strike_home(turns: Sequence[tuple[Place, int]]) -> tuple[Place, int, bool, list[str]]:
    """Strike until a process died at the point or something was wrong: how often a point is passed is not always the
    same.
    """
    for place, nth in turns:
        died, wrong = strike(place, nth)
        if died or wrong:
            break
    return place, nth, died, wrong


def strikes(places: list[Place], seed: int) -> Iterator[list[tuple[Place, int]]]:
    """Each distinct point once, in a course and at a time drawn by lot; then the first time in each course."""
    rng = random.Random(seed)
    by_point: dict[tuple[str, str], list[Place]] = {}
    for place in places:
        by_point.setdefault((place.node, place.point), []).append(place)
    for _, candidates in sorted(by_point.items()):
        place = rng.choice(candidates)
        again = [(place, 1), *((other, 1) for other in candidates if other != place)]
        yield [(place, rng.randint(1, min(place.count, 6))), *again]


def one_pass(places: list[Place], number: int, say: Callable[[str], None]) -> Verdict:
    """Every point of both nodes once, as the lot of this pass has it; a point at which nothing died is a fault."""
    planned = list(strikes(places, number))
    points = {place.point for place in places}
    hits = 0
    faults: list[str] = []
    with ThreadPoolExecutor(LANES) as pool:
        for done, (place, nth, died, wrong) in enumerate(pool.map(strike_home, planned), 1):
            hits += died
            command = f"python -m tests.failpoints.runs {place.course} {place.node} '{place.point}' {nth}"
            found = wrong if died else [*wrong, f"never hit: {place.node} {place.point}"]
            for sentence in found:
                faults.append(f"{sentence}; again: {command}")
                say(f"pass {number}: {faults[-1]}")
            if done % 100 == 0:
                say(f"pass {number}: {done} of {len(planned)} strikes, {len(faults)} faults")
    say(f"pass {number}: {len(points)} points, {len(planned)} on a node, {hits} hit, {len(faults)} faults")
    return Verdict({"points": len(points), "on a node": len(planned), "hits": hits}, tuple(faults))


def passes(numbers: Iterable[int], say: Callable[[str], None]) -> Verdict:
    """These passes, each by its own lot; first it prints the points, each with the courses that reach it."""
    places = [place for course in COURSES for place in survey(course)]
    courses: dict[tuple[str, str], list[str]] = {}
    for place in places:
        courses.setdefault((place.node, place.point), []).append(place.course)
    for (node, point), names in sorted(courses.items()):
        say(f"{node} {point}: {' '.join(names)}")
    verdicts = [one_pass(places, number, say) for number in numbers]
    counts = {**verdicts[-1].counts, "passes": len(verdicts), "hits": sum(each.counts["hits"] for each in verdicts)}
    return Verdict(counts, tuple(fault for each in verdicts for fault in each.faults))


def soak(directory: Path, count: int, say: Callable[[str], None]) -> Verdict:
    """Passes 1 to `count`: every point of both nodes in each of them."""
    return passes(range(1, count + 1), say)


def main() -> int:
    """One strike again, some passes, or the list of all points."""
    words = sys.argv[1:]
    if words and all(map(str.isdigit, words)):
        verdict = passes(map(int, words), partial(print, flush=True))
        print(verdict)
        return int(bool(verdict.faults))
    if words:
        course, node, point, nth = words
        died, wrong = strike(Place(course, node, point, 0), int(nth))
        print("it died there" if died else "it was never there", *wrong, sep="\n")
        return int(bool(wrong))
    for course in COURSES:
        for place in survey(course):
            print(f"{place.course:8} {place.node} {place.count:5} {place.point}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
