"""`understudy verify` and `sql` on a real pair: damage is named, healed and kept; a look changes nothing."""

from __future__ import annotations

import json
from pathlib import Path

from tests.process.cluster import Node, Pair, running_pair

PAGE = 4096


def flip(path: Path, at: int) -> None:
    """Change one byte of a file behind its node's back."""
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)
        file.seek(at)
        file.write(bytes([byte[0] ^ 0x40]))


def whole(pair: Pair, node: Node) -> bool:
    """Type verify; whether both nodes are equal and whole."""
    said = json.loads(pair.type(node, "understudy", "verify", "--json", expect=None))
    return bool(said.get("ok"))


def messages(node: Node) -> list[str]:
    """The texts of the system messages."""
    return [message["text"] for message in node.api.get("/api/v1/messages")]


def test_damage_is_found_healed_and_kept(tmp_path: Path) -> None:
    """JS7-10: a flipped byte of the standby's database and one of an object are found, fetched again, and kept."""
    with running_pair(tmp_path) as pair:
        master, standby = pair.wait_healthy()
        pair.type(master, "understudy", "job", "create", "hello", "--command", "echo hello", "--agent", "alpha")
        pair.type(master, "understudy", "run", "now", "hello", "--wait")
        said = pair.type(master, "understudy", "verify")
        assert said.startswith("EQUAL AND WHOLE: Both nodes hold the same.")
        assert "SQLite's check: ok" in said
        assert whole(pair, standby), "the standby can be asked as well"

        flip(standby.data / "scheduler.db", 7 * PAGE + 1000)
        said = pair.type(master, "understudy", "verify", expect=1)
        assert said.startswith("NOT PROVEN: south: On this disk page 8 of ")
        pair.wait("people to be told", lambda: any("found damage" in text for text in messages(master)))
        pair.wait("the standby to be healed", lambda: whole(pair, master))
        assert list(standby.data.glob("forks/damaged-*/blocks")), "the damaged version is kept"

        output = next((standby.data / "objects").iterdir())
        flip(output, 0)
        said = pair.type(master, "understudy", "verify", expect=1)
        assert said.startswith(f"NOT PROVEN: Objects that differ between the nodes: {output.name}")
        pair.wait("the object to be healed", lambda: whole(pair, master))


def test_a_look_into_the_database(tmp_path: Path) -> None:
    """`understudy sql` answers on both nodes, shows no secret, and writes nothing."""
    with running_pair(tmp_path) as pair:
        master, standby = pair.wait_healthy()
        for node in (master, standby):
            said = pair.type(node, "understudy", "sql", "SELECT name, id FROM agents ORDER BY name", "--csv")
            assert [line.split(",")[0] for line in said.splitlines()[:3]] == ["name", "alpha", "beta"]
        rows = json.loads(pair.type(master, "understudy", "sql", "SELECT * FROM users", "--json"))
        hidden = [index for index, name in enumerate(rows["columns"]) if "hash" in name or "password" in name]
        assert hidden
        assert all(row[index] is None for row in rows["rows"] for index in hidden)
        for query in ("DELETE FROM users", "PRAGMA journal_mode = DELETE", "ATTACH '/tmp/x' AS x", "VACUUM"):
            assert "SQLite says" in pair.type(master, "understudy", "sql", query, expect=2)
        assert whole(pair, master)
