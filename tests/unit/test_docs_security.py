"""docs/asvs.md and docs/security.md: each row that is met names tests, and their removal tests are in the table."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.mutations.controls import read
from tests.unit.test_docs import missing_tests

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted((ROOT / "docs").glob("asvs*.md"))
ROW = re.compile(r"^\| (\d+\.\d+\.\d+) \| (.+?) \| (.+?) \| (.+?) \|$", re.MULTILINE)
NOT_HERE = re.compile(r"^- \*\*([\d., ]+)\*\*: ", re.MULTILINE)
TEST = re.compile(r"`(tests/[\w/]+\.py::\w+)`")
NOT_MET = "*not met*"
REQUIREMENTS = 253
"""So many requirements of levels 1 and 2 the standard has (ASVS 5.0)."""
OF_A_LIBRARY = {"tests/unit/test_hardening.py::test_where_a_request_ends_is_not_a_matter_of_taste"}
"""Held by a library, where nothing of ours can be taken away."""
SAID = {
    control.tests[0].partition("[")[2].rstrip("]"): (control.file, control.old.strip())
    for control in read()
    if control.name.startswith("the words on ")
}


def rows() -> list[tuple[str, str, str, str]]:
    """Number, what it asks, how it is met, tests or *not met*."""
    return [match for page in PAGES for match in ROW.findall(page.read_text(encoding="utf-8"))]


def left_out() -> list[str]:
    """The numbers that do not apply."""
    text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    return [number.strip() for found in NOT_HERE.findall(text) for number in found.split(",")]


def test_each_row_that_is_met_names_tests_that_there_are() -> None:
    """Or it says that it is not met, in those words, and why."""
    for number, _, how, tests in rows():
        assert (tests == NOT_MET) != bool(TEST.findall(tests)), number
        assert missing_tests(tests) == [], number
        assert how.strip(), number


def test_each_named_test_notices_that_its_control_is_gone() -> None:
    """What docs/asvs.md names is removed one by one by `./scripts/soak controls`; nothing is named that is not."""
    shown = {test for control in read() for test in control.functions} | OF_A_LIBRARY
    named = {test for *_, tests in rows() for test in TEST.findall(tests)}
    assert named - shown == set()


def test_no_requirement_is_forgotten() -> None:
    """Each number stands once: in a row, or among those that do not apply."""
    numbers = [number for number, *_ in rows()] + left_out()
    assert len(set(numbers)) == len(numbers), sorted({one for one in numbers if numbers.count(one) > 1})
    assert len(numbers) == REQUIREMENTS


@pytest.mark.parametrize("control", read(), ids=lambda control: control.name)
def test_the_table_of_controls_is_of_this_code(control: object) -> None:
    """Each place that a removal changes stands once in its file."""
    for file, old, new in control.places:  # type: ignore[attr-defined]  # a parameter of pytest has no type
        assert (ROOT / file).read_text(encoding="utf-8").count(old) == 1
        assert old != new


@pytest.mark.parametrize("name", sorted(SAID))
def test_the_documents_say_it(name: str) -> None:
    """A heading that rows of docs/asvs.md point at, with text below it."""
    file, heading = SAID[name]
    text = (ROOT / file).read_text(encoding="utf-8")
    assert f"{heading}\n" in text
    assert len(text.partition(f"{heading}\n")[2].partition("\n## ")[0]) > 200


def test_the_page_says_how_many_are_met() -> None:
    """The sum that people read is that of the rows."""
    found = rows()
    missing = sum(1 for *_, tests in found if tests == NOT_MET)
    first = (ROOT / "docs" / "asvs.md").read_text(encoding="utf-8")
    assert f"{len(found) - missing} are met, {missing} are not met, {len(left_out())} do not apply" in first
