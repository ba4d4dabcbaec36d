"""Renews the vendored browser files from npm, by package name, and writes their manifest.

`python -m scripts.vendor` installs the packages named below into a temporary directory (no install scripts), copies
the files that the pages use to `server/web/static/vendor/`, builds the icon sprite, and records name, version,
licence and SHA-256 of each in `manifest.json`. `--check` only compares the files on disk with the manifest.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

STATIC = Path(__file__).resolve().parents[1] / "server" / "web" / "static"
VENDOR = STATIC / "vendor"
ICONS_LIST = STATIC / "icons.txt"


@dataclass(frozen=True, slots=True)
class Package:
    """One npm package: the range to ask for, and the files to copy as (path in the package, name here)."""

    name: str
    wanted: str
    files: tuple[tuple[str, str], ...]


PACKAGES = (
    Package("htmx.org", "4", (("dist/htmx.min.js", "htmx.min.js"), ("LICENSE", "htmx.LICENSE"))),
    Package("@picocss/pico", "2", (("css/pico.min.css", "pico.min.css"), ("LICENSE.md", "pico.LICENSE"))),
    Package("lucide-static", "1", (("LICENSE", "lucide.LICENSE"),)),
)


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the manifest."""

    file: str
    name: str
    version: str
    licence: str
    sha256: str


def install(directory: Path) -> Path:
    """Install the packages below `directory` and return its `node_modules`."""
    wanted = [f"{package.name}@{package.wanted}" for package in PACKAGES]
    subprocess.run(
        ["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix", str(directory), *wanted],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return directory / "node_modules"


def sprite(icons: Path, names: list[str]) -> str:
    """One SVG with a symbol per icon; strokes come from the page's style sheet."""
    symbols = [_symbol(name, (icons / f"{name}.svg").read_text()) for name in names]
    return '<svg xmlns="http://www.w3.org/2000/svg">\n' + "\n".join(symbols) + "\n</svg>\n"


def _symbol(name: str, svg: str) -> str:
    found = re.search(r"<svg[^>]*>(.*)</svg>", svg, re.DOTALL)
    if found is None:
        raise ValueError(f"{name}.svg is not an SVG file")
    inner = " ".join(found.group(1).split())
    return f'<symbol id="{name}" viewBox="0 0 24 24">{inner}</symbol>'


def copy(modules: Path, into: Path) -> list[Entry]:
    """Copy what the pages use from `modules` and return the manifest's entries."""
    entries = []
    for package in PACKAGES:
        about = json.loads((modules / package.name / "package.json").read_text())
        produced = {here: (modules / package.name / there).read_bytes() for there, here in package.files}
        if package.name == "lucide-static":
            names = ICONS_LIST.read_text().split()
            produced["icons.svg"] = sprite(modules / package.name / "icons", names).encode()
        for file, data in produced.items():
            (into / file).write_bytes(_without_source_map(data))
            entries.append(_entry(file, about["name"], about["version"], about["license"], into / file))
    return entries


def _without_source_map(data: bytes) -> bytes:
    """Drop the pointer to a source map: the map is not shipped, and a browser would ask for it."""
    return re.sub(rb"\n?//# sourceMappingURL=\S+\s*$", b"\n", data)


def _entry(file: str, name: str, version: str, licence: str, path: Path) -> Entry:
    return Entry(file, name, version, licence, hashlib.sha256(path.read_bytes()).hexdigest())


def differences(vendor: Path) -> list[str]:
    """What on disk is not what the manifest says, one sentence each; empty when all agrees."""
    entries = [Entry(**line) for line in json.loads((vendor / "manifest.json").read_text())]
    listed = {entry.file for entry in entries} | {"manifest.json"}
    found = [f"{path.name} is not in the manifest" for path in vendor.iterdir() if path.name not in listed]
    for entry in entries:
        path = vendor / entry.file
        if not path.exists():
            found.append(f"{entry.file} is missing")
        elif hashlib.sha256(path.read_bytes()).hexdigest() != entry.sha256:
            found.append(f"{entry.file} differs from its SHA-256")
    return found


def renew() -> None:
    """Fetch, copy and write the manifest."""
    VENDOR.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as directory:
        entries = copy(install(Path(directory)), VENDOR)
    lines = [asdict(entry) for entry in entries]
    (VENDOR / "manifest.json").write_text(json.dumps(lines, indent=2) + "\n")


def main() -> int:
    """Run the command; 0 ok, 1 when `--check` found a difference."""
    parser = argparse.ArgumentParser(description="Renew the vendored browser files, or check them.")
    parser.add_argument("--check", action="store_true", help="only compare with the manifest")
    if not parser.parse_args().check:
        renew()
    found = differences(VENDOR)
    for line in found:
        print(line, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
