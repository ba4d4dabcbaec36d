"""Agent environments: user, directory and environment variables that jobs share; some differ on single agents. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import msgspec

from server.core.model import Row


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where and as whom a job runs, and with which environment variables; what is empty is left to others."""

    run_as: str = ""
    working_directory: str = ""
    variables: dict[str, str] = {}

    def over(self, base: Place) -> Place:
        """This where it says something, else the base; of variables both, and this one's where both have one."""
        return Place(
            run_as=self.run_as or base.run_as,
            working_directory=self.working_directory or base.working_directory,
            variables={**base.variables, **self.variables},
        )


class Environment(Row, frozen=True, kw_only=True):
    """A named environment. `base` is for all agents; `agents`: what differs, by agent id."""

    JSON: ClassVar[frozenset[str]] = frozenset({"base", "agents"})

    id: int
    name: str
    description: str
    base: Place
    agents: dict[str, Place]
    created_at_us: int
    updated_at_us: int
    updated_by: str

    def on(self, agent_id: str) -> Place:
        """What holds on one agent."""
        own = self.agents.get(agent_id)
        return self.base if own is None else own.over(self.base)

    def clear(self) -> dict[str, str]:
        """Its texts that people see: directories and users."""
        places = [self.base, *self.agents.values()]
        return {
            "working_directory": "\n".join(place.working_directory for place in places),
            "run_as": "\n".join(place.run_as for place in places),
        }

    def values(self) -> list[str]:
        """The values of all of its environment variables."""
        return [value for place in (self.base, *self.agents.values()) for value in place.variables.values()]


def wrong_variables(variables: Mapping[str, str]) -> str:
    """What is wrong with environment variables, or ""."""
    if any("=" in name or not name or "\0" in name + value for name, value in variables.items()):
        return "names must not be empty or hold =, values must not hold NUL"
    return ""
