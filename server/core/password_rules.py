"""Which passwords are refused when somebody chooses one; of letters and signs nothing is asked (docs/access.md)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection

LENGTH_MIN = 8
LENGTH_MAX = 1024
DIGITS = 8
"""So many digits of the SHA-256 of a common password are kept."""
WORDS = (
    "understudy", "standby", "master", "scheduler", "server", "cluster", "node", "agent", "administrator", "admin",
    "operator", "auditor", "user", "root", "password", "passwort", "secret", "welcome", "login",
)  # fmt: skip
"""A password of nothing but these, the user's own name, digits and signs is guessed first."""


def wrong(password: str, name: str, common: Collection[str]) -> str:
    """Why this password is not taken for the user `name`, "" when it is. `common`: digits of hashes, in lower case."""
    if not LENGTH_MIN <= len(password) <= LENGTH_MAX:
        return f"A password has {LENGTH_MIN} to {LENGTH_MAX} characters."
    if hashed(password) in common:
        return "This is one of the passwords that are tried first everywhere. Choose another."
    if is_guessed(password, name):
        return "This password is made of a name or a word that is tried first here. Choose another."
    return ""


def hashed(password: str) -> str:
    """What is kept of a common password."""
    return hashlib.sha256(password.lower().encode()).hexdigest()[:DIGITS]


def is_guessed(password: str, name: str) -> bool:
    """Is nothing left of it without the words, the name, digits and signs; or is it few letters over and over?"""
    plain = password.lower()
    words = [*WORDS, *re.findall(r"[^\W\d_]{3,}", name.lower())]
    for word in sorted(words, key=len, reverse=True):
        plain = plain.replace(word, "")
    return not re.sub(r"[\W\d_]", "", plain) or len(set(password)) < 3
