"""Argon2id (PHC strings), in a thread, at most two at a time: a burst of sign-ins must not eat the
machine."""

from __future__ import annotations

import asyncio
import os
from functools import cache
from pathlib import Path

from cryptography.exceptions import InvalidKey
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from server.core import password_rules
from server.errors import Invalid, Unavailable

MEMORY_KIB = 19 * 1024
ITERATIONS = 2
LANES = 1
COMMON = Path(__file__).with_name("common_passwords.txt")


@cache
def common_passwords() -> frozenset[str]:
    """What is kept of those that are tried first everywhere; read once."""
    lines = COMMON.read_text(encoding="ascii").splitlines()
    return frozenset(word for line in lines if not line.startswith("#") for word in line.split())


def check_new_password(password: str, name: str, old: str | None = None) -> None:
    """Raise `Invalid` for a password that the user `name` may not choose; `old` is the one that they say they have."""
    wrong = password_rules.wrong(password, name, common_passwords())
    if not wrong and password == old:
        wrong = "The password must be another one than before."
    if wrong:
        raise Invalid(wrong, field="password")


def hash_password(password: str) -> str:
    """The PHC string to keep. About 25 ms of one core; releases the interpreter lock."""
    algorithm = Argon2id(salt=os.urandom(16), length=32, iterations=ITERATIONS, lanes=LANES, memory_cost=MEMORY_KIB)
    return algorithm.derive_phc_encoded(password.encode())


def verify_password(password: str, phc: str) -> bool:
    """Whether `password` is the one of `phc`; False also for a string that cannot be read."""
    try:
        Argon2id.verify_phc_encoded(password.encode(), phc)
    except (InvalidKey, ValueError):
        return False
    return True


_NOBODY = hash_password("nobody has this password")


WAITING_MAX = 32
"""So many sign-ins from the network wait for their turn: all that the guard lets in. More are refused at once."""


class Passwords:
    """Hashing for coroutines."""

    def __init__(self) -> None:
        self._turn = asyncio.Semaphore(2)
        self._waiting = 0

    async def hash(self, password: str) -> str:
        """`hash_password` in a thread."""
        async with self._turn:
            return await asyncio.to_thread(hash_password, password)

    async def verify(self, password: str, phc: str | None, bounded: bool = False) -> bool:
        """`verify_password` in a thread. With None (no such user) it takes the same time and is False.

        `bounded`: raises `Unavailable` at once when too many wait already.
        """
        if bounded and self._waiting >= WAITING_MAX:
            raise Unavailable("Too many people sign in at once. Try again in a few seconds.")
        self._waiting += 1
        try:
            async with self._turn:
                found = await asyncio.to_thread(verify_password, password[: password_rules.LENGTH_MAX], phc or _NOBODY)
        finally:
            self._waiting -= 1
        return found and phc is not None and len(password) <= password_rules.LENGTH_MAX
