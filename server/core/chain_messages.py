"""A step chain: the steps of a workflow's run that an agent may begin by itself, as it is told them (JS7-4). Pure.

It travels with the dispatch of a step; an agent of an earlier release does not see it and begins nothing of it.
Fields are only ever added at the end, with a default.
"""

from __future__ import annotations

import msgspec

from server.core.model import Specification

Given = tuple[str, dict[str, str]]
"""Outputs that a step is given: (name of a step of the chain that tells them when it ends, {}), or ("", known ones)."""


class ChainStep(msgspec.Struct, array_like=True, frozen=True):
    """One step with one item. `key`: of the attempt that the master would make, so whoever begins it begins the same.

    `after` and `join`: its edges as (step, outcome), see `core.workflows`. `specification` None: the master has sent it
    as a run of its own; else what the agent begins, without what `given` and, over all, `own` add to its environment.
    `retried`: its rule may repeat a failure, which only the master does.
    """

    name: str
    key: str
    after: tuple[tuple[str, str], ...] = ()
    join: str = "all"
    specification: Specification | None = None
    given: tuple[Given, ...] = ()
    own: dict[str, str] = {}
    retried: bool = False


class Chain(msgspec.Struct, array_like=True, frozen=True):
    """What of a workflow's run one agent may begin; a later one takes the place of an earlier one.

    `ended`: states of steps that are over already and that edges come from, by name. Nothing of it begins at or after
    `until_us`, by the agent's wall clock.
    """

    workflow_run: int
    until_us: int
    steps: tuple[ChainStep, ...]
    ended: dict[str, str] = {}


class KeptChain(msgspec.Struct, array_like=True, frozen=True):
    """A chain as the agent holds it: which of its steps have ended since, how, and what they told those after them."""

    chain: Chain
    ended: dict[str, str] = {}
    outputs: dict[str, dict[str, str]] = {}
