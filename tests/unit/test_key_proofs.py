"""The keys of the cluster are on both nodes and open what is sealed: taken away, a swap and a takeover say so."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from server.errors import Conflict, Unavailable
from server.integrity.proofs import refusal
from server.roles import Roles
from server.storage import sealed
from server.trust import tls
from server.trust.identity import SEAL_FILE, write_private
from server.trust.key_proofs import Keys, look_here
from tests.unit.ledger import HandClock, Ledger
from tests.unit.web_desk import DeskSite
from tests.unit.web_door import new_site

KEY = bytes(32)


class Pair:
    """A master that swaps to a standby; both have the same rows, each its own directory."""

    def __init__(self, folder: Path) -> None:
        self.ledger = Ledger()
        self.authority = tls.Authority.create("c" * 32, datetime.now(UTC))
        self.seal(tls.SEALED_AUTHORITY_KEY, self.authority.key_pem())
        self.seal("variable/token", b"secret")
        self.master, self.standby = self._node(folder / "north"), self._node(folder / "south")
        self.is_answering = True
        self.master.proofs = SimpleNamespace(post=self._post)  # type: ignore[assignment]  # all that is asked of it

    def seal(self, name: str, secret: bytes, key: bytes = KEY) -> None:
        """Keep a secret in the rows of both."""
        nonce, ciphertext = tls.seal(key, name, secret)
        sealed.put(self.ledger.connection, name, nonce, ciphertext)

    def _node(self, data: Path) -> DeskSite:
        data.mkdir()
        write_private(data / SEAL_FILE, KEY)
        site = new_site(self.ledger, data, HandClock())
        site.authority_pem = self.authority.certificate_pem()
        site.node = SimpleNamespace(node=data.name, status=site.status)  # type: ignore[assignment]  # its name is enough
        return site

    async def _post(self, target: str, path: str, body: bytes) -> bytes:
        assert (target, path) == ("south", "/keys")
        if not self.is_answering:
            raise Unavailable("The node south does not answer.")
        return msgspec.json.encode(await look_here(self.standby))

    async def said(self) -> list[tuple[bool, bool, str]]:
        """What the check of a swap says of keys: whether it is well, whether `--yes` accepts it, the words."""
        found = await Keys(self.master).reasons("south", "south")
        return [(one.ok, one.acceptable, one.text) for one in found]


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    """Both nodes with the key."""
    return Pair(tmp_path)


async def test_both_nodes_open_everything(pair: Pair) -> None:
    """One line, with how many secrets were opened."""
    text = "Both nodes hold the seal key and the authority's key, and opened all 2 secrets with them."
    assert await pair.said() == [(True, False, text)]


@pytest.mark.parametrize("content", [None, b"x" * 32, b"short"])
async def test_a_standby_without_its_key_is_no_target(pair: Pair, content: bytes | None) -> None:
    """The file is gone, or another: refused, though the running program has the key in memory."""
    file = pair.standby.config.data / SEAL_FILE
    file.unlink() if content is None else file.write_bytes(content)
    ((is_ok, is_acceptable, text),) = await pair.said()
    assert (is_ok, is_acceptable) == (False, False)
    assert text.startswith(f"On south {file} ")
    assert "from the other node" in text


async def test_a_standby_that_opens_nothing_is_no_target(pair: Pair) -> None:
    """It works with the key of another cluster: secrets and authority stay closed, and are named."""
    pair.standby.seal_key = b"x" * 32
    write_private(pair.standby.config.data / SEAL_FILE, b"x" * 32)
    found = await pair.said()
    assert [(is_ok, is_acceptable) for is_ok, is_acceptable, _ in found] == [(False, False)] * 2
    assert "2 of 2 sealed secrets do not open with its seal key, authority_key first" in found[0][2]
    assert "the authority's key does not open" in found[1][2]


async def test_what_is_wrong_here_is_said_too(pair: Pair) -> None:
    """A master that lost its own file may hand its office over, when somebody accepts it."""
    (pair.master.config.data / SEAL_FILE).unlink()
    ((is_ok, is_acceptable, text),) = await pair.said()
    assert (is_ok, is_acceptable, text.startswith("On this node ")) == (False, True, True)


async def test_one_damaged_secret_is_named(pair: Pair) -> None:
    """Neither node opens it: the check says which."""
    pair.seal("variable/other", b"secret", b"y" * 32)
    found = await pair.said()
    assert len(found) == 2
    assert all("1 of 3 sealed secrets" in text and "variable/other first" in text for _, _, text in found)


async def test_the_authoritys_key_is_that_of_its_certificate(pair: Pair) -> None:
    """It opens, and is another: certificates that this node signs would be refused everywhere."""
    pair.seal(tls.SEALED_AUTHORITY_KEY, tls.private_pem(tls.new_key()))
    assert all("not that of its certificate" in text for _, _, text in await pair.said())
    sealed.remove(pair.ledger.connection, tls.SEALED_AUTHORITY_KEY)
    assert all("does not open" in text for _, _, text in await pair.said())


async def test_a_node_that_does_not_say_is_not_called_well(pair: Pair) -> None:
    """A former release, or no answer: not known, which `--yes` accepts."""
    pair.is_answering = False
    ((is_ok, is_acceptable, text),) = await pair.said()
    assert (is_ok, is_acceptable, "is not known" in text) == (False, True, True)


def test_a_node_of_a_former_release_is_named_as_that() -> None:
    """Not with the sentence of its cluster port, which takes the question for a mistake of the person (BEY-12)."""
    assert refusal("south", 404, b'{"code": "wrong_port"}').startswith("The release of south does not know")
    assert refusal("south", 503, b"not open \xff yet") == "The node south refused (503): not open \ufffd yet"


async def test_a_takeover_without_the_key_needs_leave(pair: Pair) -> None:
    """`standby-to-master` refuses with what to type; accepted, it goes on."""
    asked: Any = SimpleNamespace(allow_data_loss=False)
    roles = Roles(pair.standby, lambda: None)  # type: ignore[arg-type,return-value]  # nothing is opened here
    await roles._check_keys(asked.allow_data_loss)
    (pair.standby.config.data / SEAL_FILE).unlink()
    with pytest.raises(Conflict, match="--allow-data-loss"):
        await roles._check_keys(False)
    await roles._check_keys(True)
