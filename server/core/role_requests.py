"""What the role scripts ask of a node:

over its socket while it runs, through `wish.json` while it is stopped.
"""

from __future__ import annotations

import msgspec


class BecomeStandby(msgspec.Struct, frozen=True):
    """What `master-to-standby` asks: the master's web address and who lets us in.

    `name` is for a node that is new, `code` for a user who has a second factor.
    """

    master: str
    port: int
    fingerprint: str | None = None
    user: str = "admin"
    password: str = ""
    name: str = ""
    code: str = ""


class BecomeMaster(msgspec.Struct, frozen=True):
    """What `standby-to-master` asks. `yes`: the old master is shut down for certain; `hold`:

    come up with all held.
    """

    allow_data_loss: bool = False
    hold: bool = False
    yes: bool = False


class Wish(msgspec.Struct, frozen=True):
    """What a stopped node was asked for; exactly one of the two.

    An enrolment was done already, without `password`.
    """

    master: BecomeMaster | None = None
    standby: BecomeStandby | None = None


class PromotionNote(msgspec.Struct, frozen=True):
    """What a promotion carries along: by whom, and whether to come up with everything held."""

    by: str
    hold: bool = False
    allow_data_loss: bool = False

    def encode(self) -> bytes:
        """As it travels in the request."""
        return msgspec.json.encode(self)

    @classmethod
    def decode(cls, note: bytes) -> PromotionNote:
        """Read a note; one that is empty or of another kind is a plain promotion by the system."""
        try:
            return msgspec.json.decode(note, type=cls)
        except msgspec.DecodeError:
            return cls("system")
