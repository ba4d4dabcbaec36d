"""The project's own files, parsed, for the tests beside this one."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CODE = ("server", "replication", "scripts")
FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Import:
    """One name that a module imports: `module` is dotted, `name` is "" for a plain `import module`."""

    module: str
    name: str
    line: int

    @property
    def top(self) -> str:
        return self.module.split(".")[0]


@dataclass(frozen=True)
class Source:
    """One Python file of the project."""

    path: Path
    text: str

    @property
    def relative(self) -> str:
        return self.path.relative_to(ROOT).as_posix()

    @property
    def module(self) -> str:
        dotted = self.relative.removesuffix(".py").replace("/", ".")
        return dotted.removesuffix(".__init__")

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text, self.relative)

    def imports(self) -> Iterator[Import]:
        """All imports, wherever they stand: in functions and under TYPE_CHECKING too."""
        package = self.module if self.path.name == "__init__.py" else self.module.rpartition(".")[0]
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                yield from (Import(alias.name, "", node.lineno) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                base = node.module or ""
                if node.level:
                    parents = package.split(".")[: len(package.split(".")) - node.level + 1]
                    base = ".".join([*parents, base]).rstrip(".")
                yield from (Import(base, alias.name, node.lineno) for alias in node.names)

    def functions(self) -> Iterator[FunctionNode]:
        for node in ast.walk(self.tree):
            if isinstance(node, FunctionNode):
                yield node

    def calls(self) -> Iterator[tuple[str, ast.Call]]:
        """Every call with the dotted text of what is called."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Call):
                yield ast.unparse(node.func), node


@lru_cache
def sources(*folders: str) -> tuple[Source, ...]:
    """All Python files below the folders, in order of their paths."""
    paths = (path for folder in folders for path in sorted((ROOT / folder).rglob("*.py")))
    return tuple(Source(path, path.read_text(encoding="utf-8")) for path in paths)


def report(offenders: list[str], remedy: str) -> None:
    """Fail with one line for each offender and what to do about it."""
    assert not offenders, remedy + "\n  " + "\n  ".join(offenders)
