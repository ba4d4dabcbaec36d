"""What the code never does: run text as code, give text to a shell, read data that can act, guess where it must not."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest

from tests.architecture.source import CODE, ROOT, Source, report, sources

CALLS = {
    "eval": "runs text as code",
    "exec": "runs text as code",
    "compile": "runs text as code",
    "os.system": "gives text to a shell",
    "os.popen": "gives text to a shell",
    "asyncio.create_subprocess_shell": "gives text to a shell",
    "tempfile.mktemp": "names a file that another may make first",
    "yaml.load": "makes objects of text",
    "yaml.unsafe_load": "makes objects of text",
    "hashlib.md5": "is broken",
    "hashlib.sha1": "is broken",
    "ssl._create_unverified_context": "believes anybody",
    "jinja2.Template": "makes a template of text",
}
METHODS = {"from_string": "makes a template of text"}
MODULES = {"pickle", "marshal", "shelve", "dill", "xml", "lxml", "ldap3", "telnetlib", "ftplib"}
GUESSED = {
    "server/agent/link.py": "how long to wait before dialling again",
    "server/agent/credentials.py": "when to renew",
    "replication/links.py": "how long to wait before dialling again",
    "scripts/demo_pair.py": "what the demonstration does",
}
"""Where `random` is used, and for what: never for what nobody may guess."""
UNVERIFIED = {"server/trust/tls.py", "scripts/client.py"}
"""To fetch the authority, which is compared with a known fingerprint before anything is sent."""


def dangers(source: Source) -> Iterator[str]:
    """Each place with what is wrong there."""
    for name, call in source.calls():
        where = f"{source.relative}:{call.lineno}"
        if name == "yaml.load" and any("SafeLoader" in ast.unparse(word.value) for word in call.keywords):
            continue
        if why := CALLS.get(name) or METHODS.get(name.rpartition(".")[2]):
            yield f"{where}: {name} {why}"
        for word in call.keywords:
            if word.arg == "shell" and not _is_false(word.value):
                yield f"{where}: shell= gives text to a shell"
            if word.arg in ("ssl", "verify") and _is_false(word.value):
                yield f"{where}: {word.arg}=False believes anybody"
    for found in source.imports():
        if found.top in MODULES:
            yield f"{source.relative}:{found.line}: {found.top} reads data that can act"
        if found.top == "random" and source.relative not in GUESSED:
            yield f"{source.relative}:{found.line}: random can be guessed; use secrets"
    if "CERT_NONE" in source.text and source.relative not in UNVERIFIED:
        yield f"{source.relative}: CERT_NONE believes anybody"
    yield from _statements(source)


def _is_false(value: ast.expr) -> bool:
    return isinstance(value, ast.Constant) and value.value is False


def _statements(source: Source) -> Iterator[str]:
    """SQL that is put together with what is not a constant of the code: values belong behind question marks."""
    for name, call in source.calls():
        if name.rpartition(".")[2] not in ("execute", "executemany") or not call.args:
            continue
        for part in ast.walk(call.args[0]):
            if isinstance(part, ast.FormattedValue) and ast.unparse(part.value) in VALUES:
                yield f"{source.relative}:{call.lineno}: SQL holds the value {ast.unparse(part.value)}"
            if isinstance(part, ast.BinOp) and isinstance(part.op, ast.Mod):
                yield f"{source.relative}:{call.lineno}: SQL is put together with %"


VALUES = {"name", "value", "text", "match", "token_hash", "reason", "user", "password", "after", "address", "tenant"}


def test_nothing_dangerous_is_done() -> None:
    """Whoever needs one of these says here where and why; nobody does yet, but for waits and one certificate."""
    report([line for source in sources(*CODE) for line in dangers(source)], "Do without it, or say why it is safe:")


INVENTED = (
    "eval(text)",
    "subprocess.run(text, shell=True)",
    "import pickle",
    "import random",
    "import xml.etree.ElementTree",
    "environment.from_string(text)",
    "yaml.load(text)",
    "hashlib.md5(b'')",
    "session.get(url, ssl=False)",
    "connection.execute(f\"SELECT * FROM users WHERE name = '{name}'\")",
    "connection.execute('SELECT %s' % name)",
)


@pytest.mark.parametrize("text", INVENTED)
def test_a_danger_is_found(text: str) -> None:
    """The search above sees each of them."""
    assert list(dangers(Source(ROOT / "server" / "invented.py", text)))


def test_every_cookie_is_closed() -> None:
    """Each is of one host by its name, goes over TLS alone, is out of reach of scripts, and says to which sites."""
    calls = ((source, name, call) for source in sources("server") for name, call in source.calls())
    found = [(source, call) for source, name, call in calls if name.endswith(".set_cookie")]
    wrong = []
    for source, call in found:
        given = {word.arg: ast.unparse(word.value) for word in call.keywords}
        closed = {"secure": "True", "httponly": "True", "samesite": "'Lax'", "path": "'/'"}
        if not closed.items() <= given.items() or "domain" in given:
            wrong.append(f"{source.relative}:{call.lineno}")
    report(wrong, "Say secure, httponly, samesite and path, and no domain:")
    names = re.findall(r'COOKIE = "([^"]+)"', "".join(source.text for source in sources("server")))
    assert len(names) >= len(found) >= 3
    assert all(name.startswith("__Host-") for name in names)


def test_scripts_of_pages_make_no_markup_and_keep_nothing() -> None:
    """The one script of ours puts text into pages as text, runs none, talks to no other page and stores nothing."""
    text = (ROOT / "server" / "web" / "static" / "live.js").read_text(encoding="utf-8")
    for word in ("innerHTML", "insertAdjacentHTML", "document.write", "eval(", "Function(", "postMessage", "Storage"):
        assert word not in text, word
    assert "document.cookie" not in text


def test_every_library_is_pinned_by_its_hash() -> None:
    """Each line of each lock names one version and the hashes of its files; the set-up installs nothing else."""
    locks = sorted(ROOT.glob("requirements*.lock"))
    assert len(locks) >= 4
    for lock in locks:
        wanted = re.split(r"\n(?=[A-Za-z0-9])", lock.read_text(encoding="utf-8"))
        for one in wanted:
            if one.strip() and not one.startswith("#"):
                assert re.match(r"[\w.\[\]-]+==[\w.]+ ", one), f"{lock.name}: {one[:60]}"
                assert re.search(r"--hash=sha256:[0-9a-f]{64}", one), f"{lock.name}: {one[:60]}"
    assert "--require-hashes" in (ROOT / "scripts" / "bootstrap.py").read_text(encoding="utf-8")
