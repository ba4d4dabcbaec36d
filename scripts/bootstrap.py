"""Make `.venv` ready for a checkout: `python3 -m scripts.bootstrap run|test`; the scripts beside it call it.

Standard library only, in the syntax of Python 3.8: an old Python gets a sentence instead of a traceback.
Touches `.venv`, and as root the Debian packages named below; nothing else. When the lock file, this file,
pyproject.toml and the Python are the same as at the last success, it does nothing and downloads nothing.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
VENV = os.path.join(ROOT, ".venv")
PYTHON = os.path.join(VENV, "bin", "python")
LOCKS = {"run": "requirements.lock", "test": "requirements-test.lock"}

# What tests need from the system: Debian's package, and a path or a command that shows it is there.
TEST_PACKAGES = (
    ("chromium", "chromium", "the browser tests"),
    ("fonts-dejavu-core", "/usr/share/fonts/truetype/dejavu", "screenshots with readable text"),
    ("iproute2", "ip", "network namespaces"),
    ("openssl", "openssl", "looking at certificates from outside"),
)

# Settings of pip that would send packages somewhere else than into .venv.
MISLEADING = (
    "PIP_TARGET",
    "PIP_PREFIX",
    "PIP_ROOT",
    "PIP_USER",
    "PIP_REQUIRE_VIRTUALENV",
    "PYTHONPATH",
    "PYTHONHOME",
)

# The second line is sh to sh and a string to Python: a path with a space in it works.
LAUNCHER = """#!/bin/sh
'''exec' "{python}" "$0" "$@"
' '''
import sys
from {module} import {function}
sys.exit({function}())
"""


class SetupError(Exception):
    """Set-up cannot go on; the text names the command to type next."""


def say(text: str) -> None:
    """Print one line of progress where it does not mix with what the script prints."""
    print("set-up: " + text, file=sys.stderr, flush=True)


def run(*command: str) -> bool:
    """Run a command at the top of the checkout; True when it succeeded. What it prints goes to stderr."""
    environment = {name: value for name, value in os.environ.items() if name not in MISLEADING}
    done = subprocess.run(command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=2)
    return done.returncode == 0


def check_python() -> None:
    """Refuse a Python that is too old."""
    if sys.version_info < (3, 11):  # noqa: UP036 - this file is what an older Python runs
        raise SetupError(
            f"Understudy needs Python 3.11 or newer; this is {sys.version.split()[0]} ({sys.executable}). "
            "Install a newer one and name it: PYTHON=python3.11 ./scripts/demo"
        )


def install_packages(packages: list[str]) -> bool:
    """Install Debian packages as root. Returns False when that is not possible here."""
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        return False
    say("installing " + " ".join(packages))
    options = ("env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "--quiet", "--quiet")
    install = (*options, "install", "--yes", "--no-install-recommends", *packages)
    return run(*install) or (run(*options, "update") and run(*install))


def make_environment(uv: str | None) -> None:
    """Create `.venv` unless it works already."""
    if os.path.exists(PYTHON) and run(PYTHON, "-c", "import sys; sys.exit(sys.version_info < (3, 11))"):
        return
    if uv and run(uv, "venv", "--quiet", "--no-cache", "--clear", "--python", sys.executable, VENV):
        return
    if importlib.util.find_spec("ensurepip") is None and not install_packages(["python3-venv"]):
        raise SetupError("python3 cannot make an environment. As root: apt-get install python3-venv")
    importlib.invalidate_caches()
    if not run(sys.executable, "-m", "venv", "--clear", VENV):
        raise SetupError(f"could not create {VENV}; remove it and run this again")


def install_requirements(uv: str | None, lock: str) -> None:
    """Install exactly what the lock file names, by hash."""
    if uv and run(uv, "pip", "install", "--quiet", "--no-cache", "--python", PYTHON, "--require-hashes", "-r", lock):
        return
    if not run(PYTHON, "-c", "import pip"):
        run(PYTHON, "-m", "ensurepip", "--upgrade")
    options = ("--quiet", "--no-cache-dir", "--disable-pip-version-check", "--require-hashes")
    if not run(PYTHON, "-m", "pip", "install", *options, "-r", lock):
        raise SetupError(f"installing {lock} failed; its message is above. Then run this again")


def link_project() -> None:
    """Make the checkout importable from anywhere in `.venv`, give it its version there, write its commands."""
    import tomllib

    with open(os.path.join(ROOT, "pyproject.toml"), "rb") as file:
        project = tomllib.load(file)["project"]
    question = "import sysconfig; print(sysconfig.get_path('purelib'))"
    folder = subprocess.check_output([PYTHON, "-I", "-c", question], text=True).strip()
    write(os.path.join(folder, "understudy-checkout.pth"), ROOT + "\n")
    metadata = f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    write(os.path.join(folder, f"{project['name']}-{project['version']}.dist-info", "METADATA"), metadata)
    for name, target in project["scripts"].items():
        module, function = target.split(":")
        path = os.path.join(VENV, "bin", name)
        write(path, LAUNCHER.format(python=PYTHON, module=module, function=function))
        os.chmod(path, 0o755)


def write(path: str, text: str) -> None:
    """Write a small file of `.venv`, with its folder."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as file:
        file.write(text)


def stamp_of(purpose: str) -> str:
    """Digest of everything that decides what `.venv` must hold."""
    digest = hashlib.sha256((sys.version + ROOT).encode())
    for name in (LOCKS[purpose], "pyproject.toml", os.path.join("scripts", "bootstrap.py")):
        with open(os.path.join(ROOT, name), "rb") as file:
            digest.update(file.read())
    return digest.hexdigest()


def is_stamped(purpose: str) -> bool:
    """True when `.venv` was brought to the present state for `purpose`."""
    try:
        with open(os.path.join(VENV, "stamp-" + purpose)) as file:
            return os.path.exists(PYTHON) and file.read() == stamp_of(purpose)
    except OSError:
        return False


def prepare_environment(purpose: str) -> None:
    """Bring `.venv` to what `purpose` ("run" or "test") needs. The test lock holds all of the other."""
    if is_stamped(purpose):
        return
    say(f"preparing {VENV} from {LOCKS[purpose]}; once, about a minute")
    uv = shutil.which("uv")
    uv = uv if uv and subprocess.run([uv, "--version"], capture_output=True).returncode == 0 else None
    make_environment(uv)
    install_requirements(uv, LOCKS[purpose])
    link_project()
    for name in ("run", "test") if purpose == "test" else ("run",):
        write(os.path.join(VENV, "stamp-" + name), stamp_of(name))


def prepare_system() -> None:
    """Install what tests need from the system, or say loudly what will be skipped."""
    missing = [row for row in TEST_PACKAGES if not (os.path.exists(row[1]) or shutil.which(row[1]))]
    if missing and not install_packages([package for package, _, _ in missing]):
        for package, _, purpose in missing:
            say(f"*** SKIPPED: {purpose}, for want of {package}. As root: apt-get install {package}")


def main() -> int:
    """Entry point; exit status 0, 1 (with a sentence that says what to type) or 2 (usage)."""
    if len(sys.argv) != 2 or sys.argv[1] not in LOCKS:
        print("usage: python3 -m scripts.bootstrap run|test", file=sys.stderr)
        return 2
    try:
        check_python()
        lock = os.open(ROOT, os.O_RDONLY)
        fcntl.flock(lock, fcntl.LOCK_EX)  # two scripts started at once: the second finds the work done
        prepare_environment(sys.argv[1])
        if sys.argv[1] == "test":
            prepare_system()
    except SetupError as error:
        say(str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
