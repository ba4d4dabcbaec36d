"""What nodes and agents say of groups: messages of `agent_wire`, from protocol 2 on.

Fields are only ever added at the end, with a default.
"""

from __future__ import annotations

import msgspec


class _Message(msgspec.Struct, array_like=True, frozen=True):
    pass


class Recall(_Message, frozen=True, tag="recall"):
    """Give back a run that has not begun here; from protocol 2 on.

    Answered by the report `Ended` with the cause `recalled` and this number; one that began is answered by its own.
    """

    recall: int
    key: str


class SetDeployment(_Message, frozen=True, tag="deployment"):
    """The groups that this agent serves, by name; of others it starts nothing. From protocol 2 on."""

    revision: int
    groups: tuple[str, ...] = ()


class DeploymentKept(_Message, frozen=True, tag="deployment_kept"):
    """This deployment is durable here."""

    revision: int
