"""Words: what must be in the documents, and what must be in no file."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator

import pytest

from tests.architecture import states
from tests.architecture.source import ROOT, Source, report, sources

# Written in pieces, so that this file passes its own test.
FORBIDDEN = {
    "the host of a package registry": [
        ".".join(parts)
        for parts in (
            ("pypi", "org"),
            ("pythonhosted", "org"),
            ("registry", "npmjs"),
            ("deb", "debian", "org"),
            ("proxy", "golang"),
            ("crates", "io"),
        )
    ],
    "a path of one machine": ["/" + folder for folder in ("work/", "root/", "tmp/brief")],
}
TEXT = (".py", ".md", ".sql", ".html", ".css", ".js", ".toml", ".lock", ".json", ".txt", ".sh", "")
VENDORED = "server/web/static/vendor/"


def committed_files() -> Iterator[tuple[str, str]]:
    """Path and text of each tracked text file that was written here; LICENSE and vendored files were not."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    for relative in listed.splitlines():
        path = ROOT / relative
        if path.suffix in TEXT and path.is_file() and relative != "LICENSE" and not relative.startswith(VENDORED):
            yield relative, path.read_text(encoding="utf-8", errors="replace")


def forbidden_in(text: str) -> Iterator[tuple[int, str]]:
    """Line and kind of each forbidden word. A path counts where it starts, not inside another path."""
    for number, line in enumerate(text.splitlines(), 1):
        for kind, words in FORBIDDEN.items():
            if any(re.search(rf"(?<![\w.}}]){re.escape(word)}", line) for word in words):
                yield number, kind


def test_no_file_names_a_registry_or_a_machine() -> None:
    """The project speaks of itself alone: no registry's host, no path of the machine it was written on."""
    found = [f"{relative}:{line}: {kind}" for relative, text in committed_files() for line, kind in forbidden_in(text)]
    report(found, "Say it without the name:")


@pytest.mark.parametrize("word", [word for words in FORBIDDEN.values() for word in words])
def test_forbidden_words_are_found(word: str) -> None:
    """The rule sees each forbidden word in the middle of a line."""
    assert list(forbidden_in(f"see {word}x for more"))


def enumerations() -> Iterator[tuple[Source, ast.ClassDef, str]]:
    """Every member of every string enumeration of the two packages."""
    for source in sources("server", "replication"):
        for node in ast.walk(source.tree):
            if isinstance(node, ast.ClassDef) and any(ast.unparse(base).endswith("StrEnum") for base in node.bases):
                for line in node.body:
                    if isinstance(line, ast.Assign) and isinstance(line.value, ast.Constant):
                        yield source, node, str(line.value.value)


def test_documents_explain_every_state() -> None:
    """Each word of an enumeration stands in the documents: an operator can look it up."""
    documents = "\n".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "docs").rglob("*.md")))
    missing = [
        f"{source.relative}:{node.lineno}: {node.name} {value}"
        for source, node, value in enumerations()
        if not re.search(rf"(?<!\w){re.escape(value)}(?!\w)", documents)
    ]
    report(missing, "Explain it in docs/ (glossary, protocol or operations):")


def test_page_of_states_is_current() -> None:
    """docs/states.md says exactly what the tables of roles and runs say."""
    assert states.PAGE.read_text(encoding="utf-8") == states.page(), "Run: python -m tests.architecture.states"


def test_documents_link_to_what_exists() -> None:
    """A relative link in a document leads to a file of the project."""
    broken = []
    for path in [*sorted((ROOT / "docs").rglob("*.md")), *ROOT.glob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", path.read_text(encoding="utf-8")):
            if not (path.parent / target).exists():
                broken.append(f"{path.relative_to(ROOT)}: {target}")
    report(broken, "Correct the link or write the page:")
