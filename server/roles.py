"""What the two role scripts ask of a running node, and the wish that they left for one that was stopped."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import structlog

from replication.core.types import IN_OFFICE, Refused, State
from server.config import DEFAULT_PORT
from server.core.role_requests import BecomeMaster, BecomeStandby, PromotionNote, Wish
from server.errors import Conflict, Unavailable, UnderstudyError
from server.site import Site
from server.trust import identity as files
from server.trust.enrolment import EnrolmentError, Joiner, enrol_node
from server.trust.key_proofs import look_here

OFFICE_WAIT_S = 30.0
FOLLOWING = frozenset({State.COPYING, State.SYNCING, State.IN_SYNC})
log = structlog.get_logger()


class Roles:
    """`open_member` opens the node once the directory has an identity."""

    def __init__(self, site: Site, open_member: Callable[[], Awaitable[None]]) -> None:
        self._site = site
        self._open_member = open_member
        self._turn = asyncio.Lock()

    async def become_standby(self, asked: BecomeStandby) -> dict[str, Any]:
        """Follow the master at `asked.master:asked.port`; enrols with its password where the certificate does
        not do.

        Raises `Conflict` on a node in office, and the errors of the enrolment; then nothing changed.
        """
        async with self._turn:
            status = self._site.status()
            if status is not None and status.state in IN_OFFICE:
                raise Conflict(
                    "This node is master. To exchange the roles type `understudy swap`; to give its office away for "
                    "good, stop it and type `standby-to-master` on the other node first."
                )
            if status is not None and status.state in FOLLOWING and any(peer.connected for peer in status.peers):
                return {"already": True, "text": "This node is a standby and streams from its master already."}
            identity = await asyncio.to_thread(self._enrol, asked)
            if self._site.node is None:
                await self._open_member()
            else:
                self._site.identity = identity
                await self._site.node.join(identity.peers)
            return {"already": False, "text": f"Enrolled as {identity.name}. The copy begins."}

    def _enrol(self, asked: BecomeStandby) -> files.Identity:
        config = self._site.config
        known = files.load_identity(config.data)
        joiner = Joiner(
            known.name if known is not None else asked.name or default_name(config.port),
            config.address,
            config.port,
            config.cluster_port,
        )
        try:
            who = (asked.user, asked.password, joiner, asked.code)
            return enrol_node(config.data, asked.master, asked.port, asked.fingerprint, *who)
        except EnrolmentError as error:
            raise EnrolmentRefused(error) from error

    async def become_master(self, asked: BecomeMaster) -> dict[str, Any]:
        """Take office without the master's help.

        Raises `Refused` with what to type next; then nothing changed.
        """
        async with self._turn:
            node, status = self._site.node, self._site.status()
            if node is None or status is None:
                raise Unavailable("This node holds no copy. Make it a standby first: master-to-standby.")
            if status.state in IN_OFFICE:
                return {"already": True, "text": "This node is master already."}
            await self._check_keys(asked.allow_data_loss)
            note = PromotionNote("local", asked.hold, asked.allow_data_loss)
            text = await node.promote(asked.allow_data_loss, asked.yes, note.encode())
            async with asyncio.timeout(OFFICE_WAIT_S):
                while not self._site.in_office:
                    await node.wait_status()
            return {"already": False, "text": text}

    async def _check_keys(self, is_loss_accepted: bool) -> None:
        """Raise `Conflict` when this node could not open what is sealed, unless that is accepted."""
        found = await look_here(self._site)
        if found.problems and not is_loss_accepted:
            raise Conflict(
                f"On this node {'; '.join(found.problems)}. As master it would give jobs no secrets and sign no "
                "certificates. To accept this: standby-to-master --allow-data-loss"
            )
        if found.problems:
            log.error("takes office with keys that do not open what is sealed", problems=found.problems)

    async def fulfil_wish(self) -> None:
        """Carry out what a role script recorded while this node was stopped; a refusal is logged and forgets
        it.
        """
        wish = files.load_wish(self._site.config.data)
        if wish is None:
            return
        try:
            text = await self._fulfil(wish)
            log.info("carried out what was asked while this node was stopped", text=text)
        except (Refused, UnderstudyError, TimeoutError) as error:
            log.error("refused what was asked while this node was stopped; nothing changed", why=str(error))
        files.forget_wish(self._site.config.data)

    async def _fulfil(self, wish: Wish) -> str:
        node, identity = self._site.node, self._site.identity
        if node is None or identity is None:
            return "there is no node to do it"
        if wish.master is not None:
            return str((await self.become_master(wish.master))["text"])
        await node.join(identity.peers)
        return "it follows the master"


def default_name(port: int) -> str:
    """What a node is called when nobody says:

    the machine's short name, with the web port when that is not usual.
    """
    machine = socket.gethostname().partition(".")[0] or "node"
    return machine if port == DEFAULT_PORT else f"{machine}-{port}"


class EnrolmentRefused(UnderstudyError):
    """The enrolment failed, and nothing changed.

    It keeps the code of the error, so that a script can tell them apart.
    """

    status = 409

    def __init__(self, error: EnrolmentError) -> None:
        super().__init__(str(error))
        self.code = error.code
