"""Builds to run beside this one: former ones from the history, named in `former`, and one made newer than this.

A build is a folder with the product's code, run by this environment's Python with the folder in front of everything.
"""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path

from server.storage import migrate
from tests.process.programs import COMMAND_DEADLINE_S, ROOT, clean_environment

FORMER = Path(__file__).parent / "former"
PARTS = ("replication", "server", "scripts", "templates", "pyproject.toml")
NEXT_SCHEMA = """-- What a next release might add.
ALTER TABLE jobs ADD COLUMN from_next TEXT NOT NULL DEFAULT 'next';
CREATE TABLE from_next (id INTEGER PRIMARY KEY, text TEXT NOT NULL) STRICT;
"""


@dataclass(frozen=True)
class Build:
    """A folder with a build, and what to call it."""

    name: str
    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        """What makes Python take this build: PYTHONPATH comes before the environment's own checkout."""
        return {"PYTHONPATH": str(self.folder)}

    def words(self, script: str) -> list[str]:
        """How to run one of its console scripts; -P: not what lies in the working directory."""
        return [sys.executable, "-P", "-m", f"scripts.{script.replace('-', '_')}"]

    def type(self, script: str, *words: str, expect: int = 0) -> str:
        """Type one of its commands; what it printed. Fails with all of that unless it exits as expected."""
        done = subprocess.run(
            [*self.words(script), *words],
            cwd=self.folder,
            env=clean_environment(self.environment),
            capture_output=True,
            text=True,
            timeout=COMMAND_DEADLINE_S,
        )
        shown = f"$ {script} {' '.join(words)} -> {done.returncode}\n{done.stdout}{done.stderr}"
        assert done.returncode == expect, shown
        return done.stdout if expect == 0 else done.stdout + done.stderr


def present() -> Build:
    """This one."""
    return Build("present", ROOT)


def former(name: str, into: Path) -> Build | None:
    """The build that `former` calls so, taken from the history; None when the history, or git, is not there."""
    lines = [line.split(":")[0].split(" ") for line in FORMER.read_text().splitlines()]
    commits = {called: commit for commit, called in lines}
    try:
        packed = subprocess.run(["git", "archive", commits[name]], cwd=ROOT, capture_output=True)
    except FileNotFoundError:
        return None  # no git here
    if packed.returncode != 0:
        return None
    with tarfile.open(fileobj=io.BytesIO(packed.stdout)) as archive:
        archive.extractall(into / name, filter="data")
    return Build(name, into / name)


def following(into: Path) -> Build:
    """A made build that is one newer than this: release, one more migration, protocol + 1, fields behind those here."""
    folder = into / "following"
    for part in PARTS:
        source = ROOT / part
        if source.is_dir():
            shutil.copytree(source, folder / part, ignore=shutil.ignore_patterns("__pycache__", "node_modules"))
        else:
            shutil.copy2(source, folder / part)
    migrations = folder / "server" / "storage" / "migrations"
    (migrations / f"{migrate.latest() + 1:04}_next.sql").write_text(NEXT_SCHEMA)
    release = folder / "server" / "__init__.py"
    release.write_text(re.sub(r'(__version__ = "\d+\.)(\d+)', lambda f: f"{f[1]}{int(f[2]) + 1}", release.read_text()))
    messages = folder / "replication" / "core" / "messages.py"
    text = re.sub(r"PROTOCOL_MAX = (\d+)", lambda found: f"PROTOCOL_MAX = {int(found[1]) + 1}", messages.read_text())
    for frame in ("Hello", "Heartbeat", "Follow", "Decide", "Ack", "Grant", "Token"):
        fields = re.compile(rf"(class {frame}\(Message\):.*?)\n\n\n", re.S)
        text, count = fields.subn(r'\1\n    from_next: str = "next"\n\n\n', text)
        assert count == 1, f"{frame} was not found in {messages}"
    messages.write_text(text)
    return Build("following", folder)
