"""Settings of one node: flags, then `UNDERSTUDY_*`, then `understudy.toml` in the data directory. Not
replicated."""

from __future__ import annotations

import math
import os
import shlex
import shutil
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from replication.core.types import DEFAULT_RETENTION

CONFIG_FILE = "understudy.toml"
SYSTEM_DATA = Path("/var/lib/understudy")
DEFAULT_PORT = 8008
DEFAULT_CLUSTER_PORT = 8009


class ConfigError(Exception):
    """Settings cannot be used. The text has one line for each mistake, each naming its place; exit code
    78."""


@dataclass(frozen=True, slots=True)
class Config:
    """`host` is where the ports listen, `address` how others reach this node (what the roster and certificate
    say).

    A standby is lost when it makes no progress for `standby_timeout_s` while something is outstanding. `mode` says
    what then happens: `available` goes on alone once a majority of the witnesses has recorded it, `strict` waits for
    the standby or for `go-alone`. `standby_steady_s` is how long a standby must have kept up before it is counted on.
    `fence_command` is run before this node takes office without its master's help, for at most `fence_timeout_s`.
    `slot_bytes_max`, `slot_age_max_s` and `journal_free_bytes_min` bound what the journal keeps for a standby that is
    away or slow. `copy_rate_mb_s` limits what this node, as master, sends a standby that copies: megabytes of 10^6 per
    second, 0 for no limit. `compression` is what this node, as a standby, has requests and copies packed with on their
    way to it: `zstd` for a slow line, `off` on a LAN. With `hsts` browsers are told to use TLS alone for a year, on
    every port of this name and of all names below it.
    """

    data: Path
    host: str = "0.0.0.0"
    address: str = ""
    port: int = DEFAULT_PORT
    cluster_port: int = DEFAULT_CLUSTER_PORT
    behind_proxy: bool = False
    hsts: bool = False
    mode: str = "available"
    standby_timeout_s: float = 10.0
    proof_interval_s: float = 86400.0
    standby_steady_s: float = 30.0
    fence_command: str = ""
    fence_timeout_s: float = 30.0
    slot_bytes_max: int = DEFAULT_RETENTION.slot_bytes_max
    slot_age_max_s: float = DEFAULT_RETENTION.slot_age_max_s
    journal_free_bytes_min: int = DEFAULT_RETENTION.journal_free_bytes_min
    copy_rate_mb_s: float = 0.0
    compression: str = "off"
    log_level: str = "info"

    @property
    def web_host(self) -> str:
        """Where the web port listens: plain HTTP is for a proxy on this machine alone."""
        return "127.0.0.1" if self.behind_proxy else self.host


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError("must be a text that is not empty")
    return value.strip()


def _command(value: Any) -> str:
    text = _text(value)
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise ValueError(f"is no command line: {error}") from None
    if not words or shutil.which(words[0]) is None:
        raise ValueError("must begin with a program that exists and may be run")
    return text


def _one_of(*allowed: str) -> Callable[[Any], str]:
    def check(value: Any) -> str:
        if value not in allowed:
            raise ValueError(f"must be one of {', '.join(allowed)}")
        return str(value)

    return check


def _port(value: Any) -> int:
    try:
        number = int(value)
    except (TypeError, ValueError):
        number = -1
    if isinstance(value, bool) or not 0 <= number <= 65535:
        raise ValueError("must be a port, 1 to 65535 (0: any free one)")
    return number


def _flag(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    words = {
        "1": True,
        "true": True,
        "yes": True,
        "on": True,
        "0": False,
        "false": False,
        "no": False,
        "off": False,
    }
    if str(value).lower() not in words:
        raise ValueError("must be true or false")
    return words[str(value).lower()]


def _seconds(low: float, high: float = float("inf")) -> Callable[[Any], float]:
    def check(value: Any) -> float:
        try:
            number = float(value)
        except (TypeError, ValueError):
            raise ValueError("must be a number of seconds") from None
        if not number >= low:
            raise ValueError(f"must be at least {low:g} seconds")
        if number > high:
            raise ValueError(f"must be at most {high:g} seconds")
        return number

    return check


def _bytes(low: int) -> Callable[[Any], int]:
    def check(value: Any) -> int:
        try:
            number = int(value)
        except (TypeError, ValueError):
            number = -1
        if isinstance(value, bool) or number < low:
            raise ValueError(f"must be a number of bytes, at least {low}")
        return number

    return check


def _rate(value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = -1.0
    if isinstance(value, bool) or not 0 <= number < math.inf:
        raise ValueError("must be a number of megabytes per second; 0 is no limit")
    return number


CHECKS: dict[str, Callable[[Any], Any]] = {
    "host": _text,
    "address": _text,
    "port": _port,
    "cluster_port": _port,
    "behind_proxy": _flag,
    "hsts": _flag,
    "mode": _one_of("available", "strict"),
    "standby_timeout_s": _seconds(0.5),
    "standby_steady_s": _seconds(0.0),
    "fence_command": _command,
    "fence_timeout_s": _seconds(0.1, 60.0),
    "slot_bytes_max": _bytes(64 << 20),
    "slot_age_max_s": _seconds(60.0),
    "journal_free_bytes_min": _bytes(0),
    "proof_interval_s": _seconds(0.0),
    "copy_rate_mb_s": _rate,
    "compression": _one_of("off", "zstd"),
    "log_level": _one_of("debug", "info", "warning", "error"),
}


def read_config(data: Path, flags: Mapping[str, Any], environ: Mapping[str, str], file_text: str) -> Config:
    """Put the settings together; a flag of None was not given. Raises `ConfigError` with every mistake at
    once."""
    problems: list[str] = []
    sources: list[tuple[str, Mapping[str, Any]]] = [("file", _file_values(data, file_text, problems))]
    sources.append(("environment", {n: environ[_variable(n)] for n in CHECKS if environ.get(_variable(n))}))
    sources.append(("flags", {name: value for name, value in flags.items() if value is not None}))
    values: dict[str, Any] = {}
    for source, given in sources:
        for name, value in given.items():
            try:
                values[name] = CHECKS[name](value)
            except ValueError as error:
                problems.append(f"{_place(source, data, name)}: {value!r} {error}")
    if problems:
        raise ConfigError("\n".join(problems))
    return Config(data=data, **values)


def load_config(data: Path, flags: Mapping[str, Any]) -> Config:
    """`read_config` with this process's environment and the directory's file, when there is one."""
    path = data / CONFIG_FILE
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        text = ""
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error
    return read_config(data, flags, os.environ, text)


def _file_values(data: Path, text: str, problems: list[str]) -> Mapping[str, Any]:
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        problems.append(f"{data / CONFIG_FILE}: {error}")
        return {}
    known = {name: value for name, value in values.items() if name in CHECKS}
    for name in values.keys() - known.keys():
        problems.append(f"{data / CONFIG_FILE}: {name}: there is no such setting (known: {', '.join(CHECKS)})")
    return known


def _variable(name: str) -> str:
    return f"UNDERSTUDY_{name.upper()}"


def _place(source: str, data: Path, name: str) -> str:
    if source == "flags":
        return f"--{name.replace('_', '-')}"
    return _variable(name) if source == "environment" else f"{data / CONFIG_FILE}: {name}"


def data_directory(given: str | None, environ: Mapping[str, str]) -> Path:
    """Where a node lives: `--data`, `UNDERSTUDY_DATA`, /var/lib/understudy, ~/.local/share/understudy.

    The system's directory is taken when it exists or this user is root.
    """
    chosen = given or environ.get("UNDERSTUDY_DATA")
    if chosen:
        return Path(chosen).expanduser().absolute()
    if SYSTEM_DATA.is_dir() or os.geteuid() == 0:
        return SYSTEM_DATA
    return Path("~/.local/share/understudy").expanduser()
