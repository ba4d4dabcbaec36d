"""Sizes, docstrings of tests, and what a template may hold: taste, as far as it can be counted."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import pytest

from tests.architecture.source import CODE, ROOT, FunctionNode, report, sources

FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 60
FUNCTION_LINES_MEDIAN_MAX = 12
ALL_CODE = (*CODE, "tests")
WRITTEN_HERE = ("templates/**/*.html", "server/web/static/*.css", "server/web/static/*.js", "docs/*.md")


def length_of(function: FunctionNode) -> int:
    """Lines from `def` to the end, without decorators."""
    return (function.end_lineno or function.lineno) - function.lineno + 1


def inline_parts(text: str) -> Iterator[str]:
    """Style and script that a strict Content-Security-Policy would block."""
    without_comments = re.sub(r"\{#.*?#\}|<!--.*?-->", "", text, flags=re.S)
    yield from re.findall(r"<style\b", without_comments)
    yield from re.findall(r"<script\b(?![^>]*\bsrc=)[^>]*>", without_comments)
    yield from re.findall(r"""<[a-z][^<>]*?\s(style|on[a-z]+)\s*=\s*["']""", without_comments)
    yield from re.findall(r"javascript:", without_comments)


def test_files_are_short() -> None:
    """No file has more than 400 lines: a reader holds one in the head."""
    pages = [path for pattern in WRITTEN_HERE for path in ROOT.glob(pattern)]
    files = [source.path for source in sources(*ALL_CODE)] + pages
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in files}
    long = [f"{path.relative_to(ROOT)}: {n} lines" for path, n in lengths.items() if n > FILE_LINES_MAX]
    report(long, f"Split by noun; {FILE_LINES_MAX} lines at most:")


def test_functions_are_short() -> None:
    """No function has more than 60 lines, and half of them have at most 12."""
    functions = [(source, function) for source in sources(*ALL_CODE) for function in source.functions()]
    long = [
        f"{source.relative}:{function.lineno}: {function.name} has {length_of(function)} lines"
        for source, function in functions
        if length_of(function) > FUNCTION_LINES_MAX
    ]
    report(long, f"Name the steps and call them; {FUNCTION_LINES_MAX} lines at most:")
    middle = median(length_of(function) for source, function in functions if source.relative.split("/")[0] in CODE)
    assert middle <= FUNCTION_LINES_MEDIAN_MAX, f"The median function has {middle} lines: split the longest ones."


def test_tests_say_what_they_show() -> None:
    """Each test has one sentence that says what it shows."""
    silent = [
        f"{source.relative}:{function.lineno}: {function.name}"
        for source in sources("tests")
        for function in source.functions()
        if function.name.startswith("test_") and not (function.body and _document(function))
    ]
    report(silent, "Add a docstring of one sentence:")


def _document(function: FunctionNode) -> str:
    first = function.body[0]
    value = getattr(getattr(first, "value", None), "value", None)
    return value.strip() if isinstance(value, str) else ""


def test_nothing_is_put_off() -> None:
    """No note to do something later, and no check switched off without its reason in the same line."""
    later = re.compile(r"\b(TO" r"DO|FIX" r"ME|X" r"XX)\b")
    silenced = re.compile(r"#\s*(type: ignore|noqa|pragma: no cover)(\S*)(?P<rest>.*)$")
    found = []
    for source in sources(*ALL_CODE):
        for number, line in enumerate(source.text.splitlines(), 1):
            match = silenced.search(line)
            bare = match is not None and len(re.sub(r"[^A-Za-z]", "", re.sub(r"[A-Z]+\d+", "", match["rest"]))) < 8
            if later.search(line) or bare:
                found.append(f"{source.relative}:{number}: {line.strip()}")
    report(found, "Do it, file it, or give the reason in the same line:")


def test_templates_have_no_inline_style_or_script() -> None:
    """Pages live under a strict Content-Security-Policy: style and script come from files."""
    found = [
        f"{path.relative_to(ROOT)}: {part}"
        for path in sorted((ROOT / "templates").rglob("*.html"))
        for part in inline_parts(path.read_text(encoding="utf-8"))
    ]
    report(found, "Move it to a file in server/web/static:")


@pytest.mark.parametrize(
    "page",
    [
        "<style>p{}</style>",
        "<script>f()</script>",
        '<p style="x">',
        "<a onclick='f()'>",
        '<a href="javascript:f()">',
    ],
)
def test_inline_parts_are_found(page: str) -> None:
    """The rule sees each kind of inline style and script, and lets linked files pass."""
    assert list(inline_parts(page))
    assert not list(inline_parts('{# <style> #}<link rel="stylesheet" href="a.css"><script src="a.js"></script>'))


def test_the_test_lock_holds_the_whole_run_lock() -> None:
    """What is tested is what is run: each pinned line of requirements.lock is in requirements-test.lock."""
    run, test = (pins(ROOT / name) for name in ("requirements.lock", "requirements-test.lock"))
    report(sorted(run - test), "Make both lock files again (CONTRIBUTING.md):")


def pins(path: Path) -> set[str]:
    lines = path.read_text(encoding="utf-8").splitlines()
    return {line.split(" ")[0] for line in lines if re.match(r"[a-z0-9].*==", line)}
