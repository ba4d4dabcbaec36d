"""What is shipped: the four packages with their pages and files, and nothing of the checkout."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = ("server", "replication", "scripts", "templates")


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """File names of a wheel built here, offline, from what git tracks."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for relative in listed.splitlines():
        origin, copy = ROOT / relative, source / relative
        if origin.is_file():
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(origin.read_bytes())
            copy.chmod(origin.stat().st_mode)
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=source, check=True, capture_output=True, timeout=60)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_wheel_holds_every_file_of_the_four_packages(names: set[str]) -> None:
    """Each tracked file of the packages is in the wheel: modules, migrations, templates, static files."""
    listed = subprocess.run(["git", "ls-files", *SHIPPED], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    expected = {name for name in listed.splitlines() if Path(name).suffix and (ROOT / name).is_file()}
    assert expected
    assert expected - names == set()
    for kind in (".py", ".sql", ".html", ".css", ".js"):
        assert any(name.endswith(kind) for name in names), f"no {kind} file in the wheel"


def test_wheel_holds_nothing_of_the_checkout(names: set[str]) -> None:
    """No test, no document and no extensionless script of a checkout is shipped."""
    strange = {name for name in names if name.split("/")[0] not in SHIPPED and ".dist-info/" not in name}
    assert strange == set()
    assert {name for name in names if name.startswith("scripts/") and not Path(name).suffix} == set()


def test_wheel_declares_commands_and_licence(names: set[str]) -> None:
    """The wheel declares its console scripts and carries the licence."""
    assert any(name.endswith("entry_points.txt") for name in names)
    assert any(name.endswith("LICENSE") for name in names)
