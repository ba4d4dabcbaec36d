"""Who may ask a node for its forks, and who may have one deleted (BEY-3)."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from server import site as server_site
from server.core.model import NodeRow
from server.errors import Conflict, Forbidden
from server.ports import fork_port
from server.ports.fork_port import Kept

OWN, MASTER, STRANGER = "a" * 32, "b" * 32, "c" * 32
NAME = "5-9-abc"


@dataclasses.dataclass
class Request:
    """As much of a request as the handlers look at: who shows which certificate, and what for."""

    site: Any
    peer: str
    query: dict[str, str]
    kind: str = "node"

    @property
    def transport(self) -> Any:
        """A transport whose peer showed a certificate of this cluster."""
        names = {"subjectAltName": (("URI", f"understudy://{self.kind}/{self.peer}"),)}
        return SimpleNamespace(get_extra_info=lambda name: names)

    @property
    def app(self) -> Any:
        """The application, which knows the site."""
        return {server_site.SITE: self.site}

    match_info = {"name": NAME}


def row(node: str) -> NodeRow:
    return NodeRow(id=node, name=node[0], address="", web_port=1, cluster_port=2, enrolled_at_us=0)


@pytest.fixture
def site(tmp_path: Path) -> Any:
    (tmp_path / "forks" / NAME).mkdir(parents=True)
    return SimpleNamespace(
        config=SimpleNamespace(data=tmp_path),
        identity=SimpleNamespace(id=OWN),
        roster={OWN: row(OWN), MASTER: row(MASTER)},
        status=lambda: SimpleNamespace(master=MASTER),
    )


async def ask(handler: Any, site: Any, peer: str, kind: str = "node", **query: str) -> Any:
    """The body of an answer."""
    return (await handler(Request(site, peer, query, kind))).body


async def test_a_node_of_the_roster_is_answered(site: Any) -> None:
    """The answer says who answers, so that a wrong address is noticed."""
    kept = msgspec.json.decode(await ask(fork_port.list_forks, site, MASTER), type=Kept)
    assert (kept.node, [fork.name for fork in kept.forks]) == (OWN, [NAME])


@pytest.mark.parametrize("handler", [fork_port.list_forks, fork_port.show_contents, fork_port.delete])
@pytest.mark.parametrize(("peer", "kind"), [(STRANGER, "node"), (MASTER, "agent")])
async def test_nobody_else_is(site: Any, handler: Any, peer: str, kind: str) -> None:
    """A node that was removed, whose certificate still counts, and an agent get nothing and delete nothing."""
    with pytest.raises(Forbidden):
        await ask(handler, site, peer, kind, node=OWN)
    assert (site.config.data / "forks" / NAME).is_dir()


async def test_only_the_master_has_a_fork_deleted_and_names_the_node(site: Any) -> None:
    """Invariant 14: a node that is not master now, or means another node, deletes nothing; again is the same."""
    folder = site.config.data / "forks" / NAME
    with pytest.raises(Conflict):
        await ask(fork_port.delete, site, MASTER, node=STRANGER)
    site.status = lambda: SimpleNamespace(master=None)
    with pytest.raises(Forbidden):
        await ask(fork_port.delete, site, MASTER, node=OWN)
    assert folder.is_dir()
    site.status = lambda: SimpleNamespace(master=MASTER)
    assert msgspec.json.decode(await ask(fork_port.delete, site, MASTER, node=OWN)) == {"removed": True}
    assert msgspec.json.decode(await ask(fork_port.delete, site, MASTER, node=OWN)) == {"removed": False}
    assert not folder.exists()
