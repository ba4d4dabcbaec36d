"""Command sets: commands that jobs share, run before and after each job's own. Pure.

The commands before run in the same shell as the job's: what they export, and the directory they go to, is there. The
first that fails ends the run with its exit code. The commands after run in any case but a kill, and see the exit status
in `UNDERSTUDY_COMMAND_STATUS`; the run's exit code is the command's, or theirs when the command's is 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from server.core.model import Row

COMMANDS_MAX = 50
STATUS = "UNDERSTUDY_COMMAND_STATUS"


class CommandSet(Row, frozen=True, kw_only=True):
    """A named command set."""

    JSON: ClassVar[frozenset[str]] = frozenset({"before", "after"})

    id: int
    name: str
    description: str
    before: list[str]
    after: list[str]
    created_at_us: int
    updated_at_us: int
    updated_by: str


def composed(command: str, before: Sequence[str], after: Sequence[str]) -> str:
    """One text for `/bin/sh -c`."""
    head = "".join(f"{{ {one}\n}} || exit $?\n" for one in before)
    if not after:
        return head + command
    tail = "".join(f"{{ {one}\n}} || understudy_after=$?\n" for one in after)
    return (
        f"(\n{head}{command}\n)\n{STATUS}=$?\nexport {STATUS}\nunderstudy_after=0\n{tail}"
        f'[ "${STATUS}" = 0 ] && exit "$understudy_after"\nexit "${STATUS}"\n'
    )


def wrong_commands(before: Sequence[str], after: Sequence[str]) -> dict[str, str]:
    """What is wrong, by field."""
    wrong = {}
    for field, commands in (("before", before), ("after", after)):
        if len(commands) > COMMANDS_MAX:
            wrong[field] = f"at most {COMMANDS_MAX} commands"
        elif any(not one.strip() or "\0" in one for one in commands):
            wrong[field] = "a command must not be empty or hold a NUL character"
    if not before and not after:
        wrong["before"] = "give at least one command before or after"
    return wrong
