"""Set-up of a checkout: what an old Python reads, what a second run does, and what a failure says."""

from __future__ import annotations

import ast
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
NEEDED = (
    "pyproject.toml",
    "requirements.lock",
    "requirements-test.lock",
    "scripts/__init__.py",
    "scripts/bootstrap.py",
)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The files of a checkout that set-up reads, in a folder with a space in its name."""
    root = tmp_path / "a checkout"
    for name in NEEDED:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, root / name)
    return root


def module_of(checkout: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("bootstrap_of_checkout", checkout / "scripts/bootstrap.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def kept_files(checkout: Path) -> list[Path]:
    """Everything in a checkout but what Python caches when it imports."""
    return [path for path in sorted(checkout.rglob("*")) if "__pycache__" not in path.parts]


def run_bootstrap(checkout: Path) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "scripts.bootstrap", "run"]
    environment = {**os.environ, "PATH": "/nowhere"}
    return subprocess.run(words, cwd=checkout, env=environment, capture_output=True, text=True, timeout=60)


def test_python_3_8_can_read_it() -> None:
    """The set-up is in the syntax of Python 3.8, so that an old Python gets its sentence."""
    for name in NEEDED[3:]:
        ast.parse((ROOT / name).read_text(), name, feature_version=(3, 8))


def test_old_python_gets_a_sentence(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Below Python 3.11 the set-up refuses and says how to name a newer one."""
    module = module_of(checkout)
    monkeypatch.setattr(module.sys, "version_info", (3, 10, 4))
    with pytest.raises(module.SetupError, match=r"3\.11 or newer.*PYTHON=python3\.11"):
        module.check_python()


def test_second_run_does_nothing(checkout: Path) -> None:
    """With the stamp of these very files nothing is run, downloaded or said, and no file changes."""
    module = module_of(checkout)
    (checkout / ".venv/bin").mkdir(parents=True)
    (checkout / ".venv/bin/python").symlink_to(sys.executable)
    (checkout / ".venv/stamp-run").write_text(module.stamp_of("run"))
    before = kept_files(checkout)
    done = run_bootstrap(checkout)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert kept_files(checkout) == before


def test_a_changed_lock_is_installed_and_a_failure_says_what_to_do(checkout: Path) -> None:
    """Another lock file is noticed; one that cannot be installed ends with a sentence, not with a stamp."""
    module = module_of(checkout)
    (checkout / ".venv/bin").mkdir(parents=True)
    python = checkout / ".venv/bin/python"
    python.write_text("#!/bin/sh\ncase $* in *'pip install'*) echo no such version >&2; exit 1;; esac\n")
    python.chmod(0o755)
    (checkout / ".venv/stamp-run").write_text(module.stamp_of("run"))
    (checkout / "requirements.lock").write_text("unheard-of==1\n")
    done = run_bootstrap(checkout)
    assert done.returncode == 1
    assert "no such version" in done.stderr
    assert "installing requirements.lock failed" in done.stderr.splitlines()[-1]
    assert (checkout / ".venv/stamp-run").read_text() != module.stamp_of("run")


def test_commands_work_in_a_folder_with_a_space(checkout: Path) -> None:
    """A console script starts its module although the path to its Python has a space in it."""
    module = module_of(checkout)
    (checkout / ".venv/bin").mkdir(parents=True)
    (checkout / ".venv/bin/python").symlink_to(sys.executable)
    (checkout / "greeting.py").write_text("def main():\n    print('hello')\n    return 3\n")
    script = checkout / ".venv/bin/greet"
    script.write_text(module.LAUNCHER.format(python=module.PYTHON, module="greeting", function="main"))
    script.chmod(0o755)
    environment = {**os.environ, "PYTHONPATH": str(checkout)}
    done = subprocess.run([script], env=environment, capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout) == (3, "hello\n")
