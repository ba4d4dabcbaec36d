"""A secret in a real pair with a real agent: the job has it, over a change of office, and no file holds it (SKY-17)."""

from __future__ import annotations

import base64
import hashlib
import http.client
import ssl
from pathlib import Path

from tests.process.cluster import Node, Pair, running_pair

FIRST, SECOND = "marker-of-the-first-secret", "marker-of-the-second-one"


def of(proof: Path, value: str) -> bool:
    """Whether the job wrote the hash of this value beside the directories of all programs."""
    return proof.exists() and hashlib.sha256(value.encode()).hexdigest() in proof.read_text()


def page(pair: Pair, node: Node, path: str) -> str:
    """A page or an answer as a program with a token gets it."""
    context = ssl.create_default_context(cafile=str(node.data / "ca.crt"))
    connection = http.client.HTTPSConnection(node.host, node.port, context=context, timeout=10)
    connection.request("GET", path, headers={"Authorization": f"Bearer {pair.token}"})
    text = connection.getresponse().read().decode()
    connection.close()
    return text


def forms(value: str) -> list[bytes]:
    """The value as it is, and as it is easily written by accident."""
    plain = value.encode()
    return [plain, base64.b64encode(plain)[:-4], plain.hex().encode()]


def holders(folder: Path) -> list[str]:
    """Files below a folder that have a secret in them, in any form."""
    wanted = [form for value in (FIRST, SECOND) for form in forms(value)]
    return [
        str(path.relative_to(folder))
        for path in sorted(folder.rglob("*"))
        if path.is_file() and any(form in path.read_bytes() for form in wanted)
    ]


def test_a_secret_reaches_its_job_and_nothing_else(tmp_path: Path) -> None:
    """By order and by dispatch, from both nodes; then no database, journal, spool, log, page or answer has it."""
    proof = tmp_path / "proof"
    (folder := tmp_path / "pair").mkdir()
    print_it = f'printf %s "$TOKEN" | sha256sum >> {proof}; echo "it is $TOKEN"; printf "and $TOKEN"'
    with running_pair(folder, agents=("alpha",)) as pair:
        north = pair.nodes["north"]
        value = tmp_path / "value"

        def put(node: Node, text: str) -> None:
            value.write_text(text)
            said = pair.type(node, "understudy", "variable", "set", "token", "--secret", "--value-file", str(value))
            assert text not in said

        put(north, FIRST)
        job = ["--command", print_it, "--environment", "TOKEN=${{ token }}", "--agent", "alpha"]
        pair.type(north, "understudy", "job", "create", "tick", *job, "--cron", "* * * * * *")
        pair.type(north, "understudy", "job", "create", "asked", *job)
        pair.wait("a run of the order", lambda: of(proof, FIRST))
        said = pair.type(north, "understudy", "run", "now", "asked", "--wait", "--follow")
        assert "it is ***\nand ***" in said
        put(north, SECOND)
        pair.wait("a run with the new value", lambda: of(proof, SECOND))
        pair.type(north, "understudy", "swap", "--yes")
        south = pair.node("master")
        assert south is not north
        proof.write_text("")
        put(south, FIRST)
        said = pair.type(south, "understudy", "run", "now", "asked", "--wait", "--follow")
        assert "it is ***\nand ***" in said
        assert of(proof, FIRST)
        read = ["variables", "variables/token", "jobs", "jobs/tick", "jobs/asked", "runs", "audit", "schedules"]
        read += [f"runs/{number}" for number in range(1, 4)] + [f"runs/{number}/output" for number in range(1, 4)]
        texts = [page(pair, south, f"/api/v1/{path}") for path in read]
        texts += [page(pair, south, path) for path in ("/shared/variables?name=token", "/jobs/1", "/audit", "/runs/1")]
        assert sum("token" in text for text in texts) > 4
        assert "Change token" in texts[-4]
        for marker in (FIRST, SECOND):
            assert not [text[:200] for text in texts if marker in text]
        assert holders(folder) == []
    assert holders(folder) == []
