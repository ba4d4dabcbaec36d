"""The data directory's private files and its lock."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from server.config import ConfigError
from server.core.role_requests import BecomeMaster, Wish
from server.trust.identity import (
    Identity,
    directory_lock,
    forget_wish,
    load_identity,
    load_wish,
    save_identity,
    save_peers,
    save_wish,
    write_private,
)

IDENTITY = Identity("node", "c" * 32, "a" * 32, "north", {"b" * 32: "127.0.0.2:8009"})


def test_an_identity_is_kept(tmp_path: Path) -> None:
    """What was saved is loaded again; an empty directory has none."""
    assert load_identity(tmp_path) is None
    save_identity(tmp_path, IDENTITY)
    assert load_identity(tmp_path) == IDENTITY


def test_a_damaged_identity_says_so(tmp_path: Path) -> None:
    """A file that cannot be read is an error with its path, never a node without a role."""
    (tmp_path / "identity.json").write_text("{")
    with pytest.raises(ConfigError, match=r"identity\.json"):
        load_identity(tmp_path)


def test_private_files_are_for_their_owner_alone(tmp_path: Path) -> None:
    """Also when a file with wider permissions was there before, and whatever the umask is."""
    path = tmp_path / "node.key"
    path.write_text("old")
    path.chmod(0o644)
    before = os.umask(0)
    try:
        write_private(path, b"new")
    finally:
        os.umask(before)
    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == 0o600
    assert [file.name for file in tmp_path.iterdir()] == ["node.key"]


def test_peers_are_written_only_when_they_change(tmp_path: Path) -> None:
    """The roster comes every two seconds; the disk hears of it when it is another one."""
    same = save_peers(tmp_path, IDENTITY, dict(IDENTITY.peers))
    assert same is IDENTITY
    assert load_identity(tmp_path) is None
    changed = save_peers(tmp_path, IDENTITY, {})
    assert load_identity(tmp_path) == changed


def test_one_process_at_a_time(tmp_path: Path) -> None:
    """The second one learns who has the directory and what to type; afterwards it is free."""
    refused = pytest.raises(ConfigError, match=f"understudy serve with pid {os.getpid()}.*--data")
    with directory_lock(tmp_path, "understudy serve"), refused, directory_lock(tmp_path, "understudy init"):
        pass
    with directory_lock(tmp_path, "understudy init"):
        pass


def test_a_wish_is_kept_until_it_is_forgotten(tmp_path: Path) -> None:
    """What a role script asked of a stopped node survives until `serve` has dealt with it."""
    wish = Wish(master=BecomeMaster(allow_data_loss=True, hold=True, yes=True))
    assert load_wish(tmp_path) is None
    save_wish(tmp_path, wish)
    assert load_wish(tmp_path) == wish
    forget_wish(tmp_path)
    assert load_wish(tmp_path) is None
