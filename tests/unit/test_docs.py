"""What documents name exists: tests, files, commands and their flags."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from scripts.master_to_standby import master_to_standby
from scripts.standby_to_master import standby_to_master
from scripts.understudy import understudy

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = [*sorted(DOCS.rglob("*.md")), *sorted(ROOT.glob("*.md"))]
FILE = re.compile(r"(?<![\w/.-])(?:server|replication|scripts|templates|tests|docs)/[\w./-]*[\w]")
TEST = re.compile(r"(tests/[\w/]+\.py)::(\w+)")
IDS = re.compile(r"^\| ((?:SKY|UIP|JS7|CRY|SMA|BEY)-\d+) \|", re.MULTILINE)
TYPED = re.compile(r"^\w+# ((?:understudy|standby-to-master|master-to-standby) .*)$", re.MULTILINE)
NAMED = re.compile(r"`((?:understudy|standby-to-master|master-to-standby) [^`…]+)`")
SCRIPTS: dict[str, click.Command] = {
    "understudy": understudy,
    "standby-to-master": standby_to_master,
    "master-to-standby": master_to_standby,
}


def missing_tests(text: str) -> list[str]:
    """The tests that a text names and that are not there."""
    return [f"{file}::{name}" for file, name in TEST.findall(text) if name not in functions_of(ROOT / file)]


def functions_of(file: Path) -> set[str]:
    """The names of a file's functions; none when there is no such file."""
    tree = ast.parse(file.read_text() if file.exists() else "")
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def missing_files(text: str) -> list[str]:
    """The files and folders of the project that a text names and that are not there."""
    return [name for name in FILE.findall(text) if not any(ROOT.glob(name.rstrip("/") + "*"))]


def typed_commands(text: str) -> Iterator[list[str]]:
    """The commands that a text shows or tells to type, as words; what stands after two spaces is a remark."""
    for line in [*TYPED.findall(text), *NAMED.findall(text)]:
        yield shlex.split(line.split("  ")[0])


def wrong_words(words: list[str]) -> str:
    """Why a command would be refused before it does anything: an unknown command or flag; "" when it would not."""
    command, rest = SCRIPTS[words[0]], words[1:]
    context = click.Context(command)
    while isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
        found = command.get_command(context, rest[0])
        if found is None:
            return f"{' '.join(words)}: there is no command {rest[0]}"
        command, rest = found, rest[1:]
    known = {flag for parameter in command.params for flag in (*parameter.opts, *parameter.secondary_opts)}
    strange = [word for word in rest if word.startswith("--") and word.split("=")[0] not in known | {"--help"}]
    return f"{' '.join(words)}: it has no flag {strange[0]}" if strange else ""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_document_names_exists(page: Path) -> None:
    """Each test and file that a document names is there, and each command that it shows would be accepted."""
    text = page.read_text(encoding="utf-8")
    wrong = [*missing_tests(text), *missing_files(text), *filter(None, map(wrong_words, typed_commands(text)))]
    assert wrong == []


def test_each_feature_has_one_row_and_a_test() -> None:
    """An id stands in one row of features.md, and each row names a test."""
    text = (DOCS / "features.md").read_text(encoding="utf-8")
    ids = IDS.findall(text)
    assert len(ids) == len(set(ids)) > 30
    rows = [line for line in text.splitlines() if IDS.match(line)]
    assert [line for line in rows if not TEST.search(line)] == []


def test_what_is_wrong_is_found() -> None:
    """A test, a file, a command and a flag that do not exist are each found."""
    assert missing_tests("`tests/unit/test_docs.py::test_nothing_like_it`") == [
        "tests/unit/test_docs.py::test_nothing_like_it"
    ]
    assert missing_files("see server/nowhere.py and server/trust/tls.py") == ["server/nowhere.py"]
    shown = "a# understudy swap --yes   as always\na# understudy swop\nb# standby-to-master --hole\n"
    assert [wrong_words(words) for words in typed_commands(shown)] == [
        "",
        "understudy swop: there is no command swop",
        "standby-to-master --hole: it has no flag --hole",
    ]
