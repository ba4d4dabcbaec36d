"""Settings: which source wins, and that every mistake is named at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from server.config import ConfigError, data_directory, read_config

DATA = Path("/data")


def test_flags_win_over_environment_over_file() -> None:
    """Each source is asked only for what the one above it leaves open."""
    text = 'port = 1\ncluster_port = 2\nhost = "127.0.0.9"\n'
    environ = {"UNDERSTUDY_PORT": "3", "UNDERSTUDY_CLUSTER_PORT": "4"}
    config = read_config(DATA, {"port": "5", "cluster_port": None}, environ, text)
    assert (config.port, config.cluster_port, config.host) == (5, 4, "127.0.0.9")


def test_all_mistakes_are_named_with_their_places() -> None:
    """One error names the file's key, the variable and the flag; nobody has to start four times."""
    with pytest.raises(ConfigError) as raised:
        read_config(DATA, {"port": "x"}, {"UNDERSTUDY_LOG_LEVEL": "loud"}, "cluster_port = 70000\nfoo = 1\n")
    text = str(raised.value)
    for place in ("--port", "UNDERSTUDY_LOG_LEVEL", "/data/understudy.toml: cluster_port", "foo"):
        assert place in text


def test_the_mode_is_available_unless_another_is_named() -> None:
    """SKY-6: the default goes on alone with the witnesses' leave; a mode that does not exist is refused by name."""
    assert read_config(DATA, {}, {}, "").mode == "available"
    assert read_config(DATA, {}, {"UNDERSTUDY_MODE": "strict"}, "").mode == "strict"
    assert read_config(DATA, {"standby_timeout_s": "3"}, {}, 'mode = "strict"').standby_timeout_s == 3.0
    with pytest.raises(ConfigError, match="available, strict"):
        read_config(DATA, {"mode": "etcd"}, {}, "")


def test_a_fence_command_that_cannot_run_is_refused_at_the_start() -> None:
    """At 3 a.m. is too late to learn that the program of the hook does not exist."""
    assert read_config(DATA, {}, {}, "fence_command = \"true --off 'a b'\"").fence_command == "true --off 'a b'"
    for wrong in ("no-such-program-here now", "sh -c 'unfinished"):
        with pytest.raises(ConfigError, match="--fence-command"):
            read_config(DATA, {"fence_command": wrong}, {}, "")


def test_the_rate_of_copies_is_a_number_or_none() -> None:
    """A limit of what a copy takes of the network: 0 and nothing said mean none."""
    assert read_config(DATA, {}, {}, "").copy_rate_mb_s == 0.0
    assert read_config(DATA, {}, {"UNDERSTUDY_COPY_RATE_MB_S": "12.5"}, "").copy_rate_mb_s == 12.5
    for wrong in ("fast", "-1", "inf", "nan"):
        with pytest.raises(ConfigError, match="megabytes per second"):
            read_config(DATA, {}, {"UNDERSTUDY_COPY_RATE_MB_S": wrong}, "")


def test_a_broken_file_is_named() -> None:
    """A file that is no TOML says so with its path."""
    with pytest.raises(ConfigError, match=r"/data/understudy\.toml"):
        read_config(DATA, {}, {}, "port =")


def test_plain_http_stays_on_loopback() -> None:
    """Behind a proxy the web port listens on loopback whatever the host is; nodes and agents still come to the host."""
    config = read_config(DATA, {"behind_proxy": True, "host": "10.0.0.1"}, {}, "")
    assert (config.web_host, config.host) == ("127.0.0.1", "10.0.0.1")
    assert read_config(DATA, {"host": "10.0.0.1"}, {}, "").web_host == "10.0.0.1"


def test_the_data_directory_is_the_one_that_was_named() -> None:
    """The flag wins over `UNDERSTUDY_DATA`; a relative path is made whole."""
    assert data_directory("/a", {"UNDERSTUDY_DATA": "/b"}) == Path("/a")
    assert data_directory(None, {"UNDERSTUDY_DATA": "/b"}) == Path("/b")
    assert data_directory("here", {}).is_absolute()
