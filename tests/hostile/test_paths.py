"""Names from outside: of objects, forks, static files, runs; and files that grow when they are read."""

from __future__ import annotations

import io
import tarfile
import time
from pathlib import Path

import pytest

from replication.errors import BadName
from replication.files import Disk, checked_name, object_file
from server.actions import calendars, exports
from server.core.calendar_rules import CalendarSpec
from server.core.model import SYSTEM
from server.errors import Invalid, NotFound
from server.integrity import forks
from tests.unit.ledger import START_US, Ledger
from tests.unit.web_desk import open_desk

NAMES = (
    "..",
    ".",
    "",
    "/etc/passwd",
    "../x",
    "a/../../x",
    "a/b",
    "a\0b",
    "a\nb",
    "x" * 200,
    "%2e%2e",
    "\\x",
    "-x",
    "\u0661",
    "CON:",
)
SECRET = "secret-of-the-machine"
ENDLESS = (
    "BEGIN:VCALENDAR\nVERSION:2.0\nPRODID:x\nBEGIN:VEVENT\nUID:1\nDTSTAMP:20260101T000000Z\nDTSTART:20260101T000000Z\n"
    "RRULE:FREQ=SECONDLY\nSUMMARY:x\nEND:VEVENT\nEND:VCALENDAR\n"
)


@pytest.mark.parametrize("name", NAMES)
def test_no_object_has_such_a_name(name: str) -> None:
    """Of a write here, of a request from the other node, of a block of a copy: one check for all."""
    with pytest.raises(BadName):
        object_file(name)
    with pytest.raises(BadName):
        checked_name("objects/" + name)
    with pytest.raises(BadName):
        checked_name(name)


def test_a_link_in_the_data_directory_is_not_followed(tmp_path: Path) -> None:
    """An object that somebody replaced by a symbolic link is neither read nor written through."""
    (tmp_path / "data" / "objects").mkdir(parents=True)
    outside = tmp_path / "outside"
    outside.write_text(SECRET)
    (tmp_path / "data" / "objects" / "run-1").symlink_to(outside)
    disk = Disk(tmp_path / "data")
    for create in (False, True):
        with pytest.raises(OSError, match="symbolic"):
            disk.open(object_file("run-1"), create=create)
    disk.close()
    assert outside.read_text() == SECRET


def test_names_of_forks(tmp_path: Path) -> None:
    """Only what replication names so is a fork; links in one are not exported, and a link is none."""
    (tmp_path / "secret").write_text(SECRET)
    kept = tmp_path / "forks" / "5-9-abc"
    kept.mkdir(parents=True)
    (kept / "requests").write_text("kept")
    (kept / "blocks").symlink_to(tmp_path / "secret")
    (tmp_path / "forks" / "5-9-abd").symlink_to(tmp_path)
    for name in (*NAMES, "5-9-abc/..", "../forks/5-9-abc", "5-9-abd"):
        with pytest.raises(NotFound):
            forks.folder(tmp_path, name)
    exported = b"".join(forks.archive(forks.folder(tmp_path, "5-9-abc")))
    with tarfile.open(fileobj=io.BytesIO(exported)) as archive:
        assert archive.getnames() == ["5-9-abc/README.txt", "5-9-abc/requests"]
    assert [fork.name for fork in forks.listed(tmp_path)] == ["5-9-abc"]


def test_static_files_are_those_of_the_package(tmp_path: Path) -> None:
    """Whatever the address says, nothing else is read."""
    with open_desk(Ledger(), tmp_path) as desk:
        for name in (
            "../../../../etc/passwd", "..%2f..%2f..%2f..%2fetc/passwd", "%2e%2e/%2e%2e/site.py", "/etc/passwd", "%00",
            "../routes.py", "....//....//routes.py", "..\\..\\routes.py", "x" * 300, "%ff", "../static/../routes.py",
        ):  # fmt: skip
            status, text = desk.page(f"/static/{name}")
            assert status in (400, 404), (name, status)
            assert "root:" not in text
            assert "import" not in text


@pytest.mark.timeout(60)
def test_files_that_grow_when_they_are_read() -> None:
    """A file of aliases of aliases, a nested one, an endless calendar: refused or bounded, in little time."""
    laughs = "understudy: 1\na0: &a0 [x, x, x, x, x, x, x, x, x]\n"
    laughs += "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12)) + "jobs: *a11\n"
    began = time.process_time()
    for text in (
        laughs,
        laughs.replace("a0:", "workflows:", 1),
        "[" * 100_000,
        "understudy: 1\njobs: &a [*a]\n",
        "a: " + "{" * 5000,
    ):
        with pytest.raises(Invalid):
            exports.read(text)
    ledger = Ledger()
    ledger.do(calendars.create(CalendarSpec(name="c", days=["Saturday"]), SYSTEM, START_US))
    with pytest.raises(Invalid):
        ledger.do(calendars.import_file("c", ENDLESS, SYSTEM, START_US, ""))
    assert time.process_time() - began < 30, "bounded: without a bound it would not come back at all"
