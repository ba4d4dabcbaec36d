"""What of a specification needs secrets: as rows hold it, and as an agent is told it. Pure.

Rows hold the texts in pieces, and the secrets sealed with the cluster's seal key. An agent is told the values, on its
own link; what it keeps is sealed with a key of its own (docs/variables.md).
"""

from __future__ import annotations

import msgspec

NO_SECRETS = "its agent takes no secrets: upgrade the agent"
"""Why a run waits that was made for an agent of an earlier release."""
Piece = tuple[str, str]
"""(text, "") as it stands, or ("", name) for the value of the secret of that name."""


class Confidential(msgspec.Struct, array_like=True, frozen=True):
    """Environment variables whose text names secrets. Fields are only added at the end, with a default.

    `texts`: by environment variable. `secrets`: by name, (what it is sealed for, nonce and ciphertext in base64).
    """

    texts: dict[str, tuple[Piece, ...]]
    secrets: dict[str, tuple[str, str]]


class Opened(msgspec.Struct, array_like=True, frozen=True):
    """The same in clear, for the one agent that runs it. `hidden`: what is replaced in the output."""

    environment: dict[str, str]
    hidden: tuple[str, ...]


def opened(confidential: Confidential, values: dict[str, str]) -> Opened:
    """Put the values of all secrets in."""
    environment = {
        name: "".join(values[secret] if secret else text for text, secret in pieces)
        for name, pieces in confidential.texts.items()
    }
    return Opened(environment, tuple(values.values()))
