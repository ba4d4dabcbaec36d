"""Numbers that people and programs write into addresses, forms and bodies: those that a row can hold."""

from __future__ import annotations

from typing import Annotated

import msgspec

NUMBER_MAX = 2**62
DIGITS_MAX = 19

Whole = Annotated[int, msgspec.Meta(ge=0, le=NUMBER_MAX)]
"""A key, a position or an instant in a body."""


def is_number(text: str) -> bool:
    """Whether it is a whole number up to NUMBER_MAX in the digits 0 to 9; then `int(text)` cannot fail."""
    return text.isascii() and text.isdecimal() and len(text) <= DIGITS_MAX and int(text) <= NUMBER_MAX


def is_too_large(error: Exception) -> bool:
    """Whether an error says that a number fits into no row, or that its digits were too many to be read."""
    return isinstance(error, OverflowError) or (
        isinstance(error, ValueError) and "integer string conversion" in str(error)
    )
