"""The borders between the parts, read from the imports. docs/architecture.md says why each is where it is."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

from tests.architecture.source import CODE, ROOT, Import, Source, report, sources

# Each part and the modules it is made of; the longest match decides. A part may always import itself.
PARTS = {
    "replication": "replication",
    "replication.core": "replication core",
    "replication.core.types": "replication words",
    "replication.core.witness": "replication words",
    "server": "common",
    "server.errors": "common",
    "server.allocator": "common",
    "server.garbage": "common",
    "server.clock": "common",
    "server.log_lines": "common",
    "server.ports": "edges",
    "server.ports.dialling": "common",
    "server.ports.agent_links": "agent links",
    "server.ports.witness_links": "agent links",
    "server.ports.cluster_port": "cluster port",
    "server.config": "common",
    "server.fence": "common",
    "server.people": "edges",
    "server.people.passwords": "trust",
    "server.people.second_factor": "trust",
    "server.site": "edges",
    "server.trust": "trust",
    "server.trust.admission": "edges",
    "server.trust.membership": "edges",
    "server.trust.founding": "edges",
    "server.trust.certificates": "edges",
    "server.trust.rotation": "edges",
    "server.trust.key_proofs": "edges",
    "server.roles": "edges",
    "server.core": "core",
    "server.storage": "storage",
    "server.actions": "actions",
    "server.office": "office",
    "server.office.scheduler": "scheduler",
    "server.office.fleet": "fleet",
    "server.office.deliverer": "fleet",
    "server.office.placer": "fleet",
    "server.office.agent_tickets": "fleet",
    "server.office.swap": "swap",
    "server.office.witnesses": "changeover",
    "server.office.notices": "changeover",
    "server.office.audit_watch": "changeover",
    "server.office.silence_watch": "changeover",
    "server.office.notifier": "notifier",
    "server.office.couriers": "notifier",
    "server.office.egress": "common",
    "server.agent": "agent",
    "server.web": "web",
    "server.app": "app",
    "server.integrity": "edges",
    "server.integrity.repair": "app",
    "server.integrity.mending": "app",
    "scripts": "scripts",
}
SHELL = {"common", "core", "storage", "replication words"}
IN_OFFICE = SHELL | {"actions", "replication"}
MAY_IMPORT = {
    "replication words": set(),
    "replication core": {"replication words"},
    "replication": {"replication core", "replication words"},
    "common": {"core", "replication words"},
    "trust": {"common", "core"},
    "core": {"replication words"},
    "storage": {"core", "common"},
    "actions": {"core", "storage", "common", "trust", "replication", "replication words"},
    "scheduler": IN_OFFICE,
    "agent links": SHELL,
    "fleet": IN_OFFICE | {"agent links"},
    "swap": IN_OFFICE,
    "changeover": IN_OFFICE | {"agent links"},
    "notifier": IN_OFFICE,
    "office": IN_OFFICE | {"notifier", "scheduler", "fleet", "swap", "changeover", "trust", "agent links"},
    "edges": SHELL | {"actions", "trust", "replication"},
    "cluster port": IN_OFFICE | {"scheduler", "fleet", "swap", "office", "trust", "edges"},
    "agent": {"common", "core", "trust", "replication words"},
    "web": SHELL | {"actions", "trust", "replication", "edges"},
    "app": set(PARTS.values()) - {"scripts"},
    "scripts": {"app", "edges", "common", "trust", "core", "agent", "replication words"},
}
# What a package shows to the others.
SHOWN = {
    "replication": {
        *("replication", "replication.node", "replication.store", "replication.ports"),
        *("replication.errors", "replication.process"),
    },
}
PURE_LIBRARIES = {"msgspec", "cronsim", "zoneinfo", "holidays", "yaml"}
# fmt: off
NOT_PURE = {
    "asyncio", "concurrent", "ctypes", "fcntl", "fileinput", "ftplib", "getpass", "glob", "http", "io",
    "logging", "mmap", "multiprocessing", "os", "pathlib", "platform", "random", "sched", "secrets",
    "select", "selectors", "shutil", "signal", "smtplib", "socket", "socketserver", "sqlite3", "ssl",
    "subprocess", "sys", "tempfile", "threading", "time", "urllib", "uuid",
}
# fmt: on
CLOCKS = ("now", "utcnow", "today")


def part_of(module: str) -> str | None:
    """The part that a module belongs to; None for what is not ours."""
    names = module.split(".")
    for length in range(len(names), 0, -1):
        if part := PARTS.get(".".join(names[:length])):
            return part
    return None


def crossing(source: Source, imported: Import) -> str | None:
    """Say what is wrong with one import, or None."""
    here = part_of(source.module)
    target = imported.module
    there = part_of(f"{target}.{imported.name}") if imported.name else part_of(target)
    if here is None or there is None or here == there:
        return None
    where = f"{source.relative}:{imported.line}"
    if there not in MAY_IMPORT[here]:
        return f"{where}: {here} imports {target} ({there})"
    if there in SHOWN and not here.startswith(there) and here != "app" and target not in SHOWN[there]:
        return f"{where}: {target} is inside {there}; use what {there} shows: {', '.join(sorted(SHOWN[there]))}"
    return None


def impurities(source: Source) -> list[str]:
    """What a pure module must not have: I/O, a clock, randomness, or a library not known to be pure."""
    found = []
    for imported in source.imports():
        ours = imported.top in CODE
        known = imported.top in sys.stdlib_module_names or imported.top in PURE_LIBRARIES
        if imported.top in NOT_PURE or not (ours or known):
            found.append(f"{source.relative}:{imported.line}: imports {imported.module}")
    for called, node in source.calls():
        if called == "open" or (called.rpartition(".")[2] in CLOCKS and not node.args and "." in called):
            found.append(f"{source.relative}:{node.lineno}: calls {called}()")
    return found


def invented(text: str, relative: str) -> Source:
    return Source(ROOT / relative, text)


def test_parts_import_only_what_the_table_allows() -> None:
    """Each import of one of our modules by another is allowed by the table above."""
    found = [crossing(source, imported) for source in sources(*CODE) for imported in source.imports()]
    report(
        [line for line in found if line],
        "Move the code to the part that may do this, or pass it in from server/app.py. Borders:",
    )


def test_core_is_pure() -> None:
    """No core module reaches a socket, a file, a clock or randomness: those come in as arguments."""
    core = (s for s in sources(*CODE) if ".core" in s.module)
    report([line for source in core for line in impurities(source)], "Make it an argument; core is pure:")


def test_scripts_do_without_aiohttp() -> None:
    """A command starts quickly: the scripts import no aiohttp, and their client only the standard library."""
    found = []
    for source in sources("scripts"):
        for imported in source.imports():
            standard = imported.top in sys.stdlib_module_names or imported.top == "scripts"
            strict = source.module in ("scripts.client", "scripts.bootstrap")
            if imported.top == "aiohttp" or (strict and not standard):
                found.append(f"{source.relative}:{imported.line}: imports {imported.module}")
    report(found, "Speak HTTP through scripts/client.py, which is standard library only:")


THREADS = {"concurrent", "queue", "sched", "threading", "time"}
THEIR_HOME = "replication.threads"


def unreplaceable(source: Source) -> list[str]:
    """Threads, waits and clocks that a simulation could not put its own in place of."""
    found = []
    for imported in source.imports():
        named = imported.module == THEIR_HOME and imported.name not in ("", "finished")
        if imported.top in THREADS or named:
            found.append(f"{source.relative}:{imported.line}: imports {imported.module}")
    return found


def test_threads_and_clocks_have_one_home() -> None:
    """Whatever of replication waits in a thread or looks at a clock can be simulated: it says `threads.Lock()`."""
    found = [line for s in sources("replication") if s.module != THEIR_HOME for line in unreplaceable(s)]
    report(found, "`from replication import threads`, then `threads.Lock()`, `threads.monotonic()`:")


@pytest.mark.parametrize("text", ["import threading", "from time import monotonic", "import concurrent.futures",
                                  "from replication.threads import Lock"])  # fmt: skip
def test_a_thread_that_cannot_be_simulated_is_found(text: str) -> None:
    """The rule sees a module of the standard library and a name taken out of the one home."""
    assert unreplaceable(invented(text, "replication/store.py"))


@pytest.mark.parametrize(
    ("relative", "text"),
    [
        ("replication/sender.py", "from server.core import model"),
        ("replication/core/machine.py", "from replication.journal import Journal"),
        ("server/core/gates.py", "def f():\n    from server.storage import gates"),
        ("server/storage/jobs.py", "from ..actions import jobs"),
        ("server/actions/jobs.py", "from replication.journal import Journal"),
        ("server/agent/client.py", "import replication.store"),
        ("server/web/pages/home.py", "from server.office import office"),
        ("server/ports/cluster_port.py", "import server.web.routes"),
        ("server/office/office.py", "from server.app import main"),
    ],
)
def test_a_wrong_import_is_found(relative: str, text: str) -> None:
    """The rule sees an import of each forbidden kind, also in a function, relative, or of a module's part."""
    source = invented(text, relative)
    assert [line for imported in source.imports() if (line := crossing(source, imported))]


@pytest.mark.parametrize(
    "text",
    ["import time", "from os import path", "import aiohttp", "open('x')", "d = datetime.datetime.now()"],
)
def test_an_impure_core_is_found(text: str) -> None:
    """The rule sees a clock, a file and an unknown library in a pure module."""
    assert impurities(invented(text, "server/core/schedule.py"))


def test_every_module_has_a_part() -> None:
    """A new module of `server` is put into the table on purpose: no file escapes the borders by its name."""
    known = set(PARTS) - {"server", "replication", "scripts"}
    loose = [
        source.relative
        for source in sources("server")
        if source.module != "server" and not any(f"{source.module}.".startswith(f"{name}.") for name in known)
    ]
    report(loose, "Add it to PARTS in tests/architecture/test_borders.py and to docs/architecture.md:")


# Opening a database. A process that closes any descriptor of scheduler.db drops SQLite's locks on it (POSIX):
# the file has one opener, and SQLite's connections to it are made in the named modules only.
CONNECTS_TO_SQLITE = {
    "replication/writer.py": "the writer of the node in office",
    "replication/readers.py": "its pool of readers",
    "replication/redo.py": "the standby's look at its held copy: mode=ro&immutable=1",
    "replication/proof.py": "SQLite's own check: mode=ro&immutable=1, of a copy that is removed afterwards",
    "replication/fork_tip.py": "what a fork holds: mode=ro&immutable=1, of a copy or while nothing is applied",
    "server/storage/former.py": "two schemas in memory, to compare them",
    "server/agent/spool.py": "the agent's own database, not scheduler.db",
}
NAMES_THE_DATABASE = {
    "replication/core/request.py": "the one constant",
    "server/trust/admission.py": "asks for its size, by stat",
}


def strings_of(source: Source) -> list[ast.Constant]:
    """String literals that are not docstrings."""
    documents = {
        id(node.body[0].value)
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    literals = (node for node in ast.walk(source.tree) if isinstance(node, ast.Constant))
    return [node for node in literals if isinstance(node.value, str) and id(node) not in documents]


def test_one_opener_of_the_database() -> None:
    """Only the named files connect to SQLite, and only replication's file layer names scheduler.db."""
    found = []
    for source in sources(*CODE):
        for called, node in source.calls():
            if called.endswith(("sqlite3.connect", "aiosqlite.connect", "sqlite3.Connection")) and (
                source.relative not in CONNECTS_TO_SQLITE
            ):
                found.append(f"{source.relative}:{node.lineno}: {called}")
        for literal in strings_of(source):
            if str(literal.value).endswith("scheduler.db") and source.relative not in NAMES_THE_DATABASE:
                found.append(f"{source.relative}:{literal.lineno}: names scheduler.db")
    report(found, "Ask replication/files.py or the Store; closing another descriptor drops SQLite's locks:")


def test_sqlite_openers_exist() -> None:
    """The lists of those who may connect and who may name the database have no leftovers."""
    gone = [path for path in [*CONNECTS_TO_SQLITE, *NAMES_THE_DATABASE] if not Path(ROOT / path).exists()]
    report(gone, "Remove it from CONNECTS_TO_SQLITE or NAMES_THE_DATABASE:")
