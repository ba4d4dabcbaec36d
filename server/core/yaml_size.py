"""How deep and how large a YAML text becomes, found without building it. Pure.

The loader goes down in the processor's own stack, where a text of brackets ends the process; and aliases of aliases, a
few lines, name more than any memory holds.
"""

from __future__ import annotations

from typing import Any

import yaml

DEPTH_MAX = 60
NODES_MAX = 2_000_000
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class TooLarge(Exception):
    """What is wrong with the text, as a sentence."""


def check_size(text: str) -> None:
    """Raise TooLarge for a text that is nested too deep or would become too large; YAMLError for what is no YAML."""
    sizes: dict[str, int] = {}
    open_nodes: list[tuple[str | None, int]] = []
    nodes = 0
    for event in yaml.parse(text, Loader=_LOADER):
        if isinstance(event, yaml.AliasEvent):
            nodes += sizes.get(event.anchor or "", NODES_MAX)  # an alias inside of what it names has no end
        elif isinstance(event, yaml.CollectionStartEvent):
            nodes += 1
            open_nodes.append((event.anchor, nodes))
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = open_nodes.pop()
            if anchor:
                sizes[anchor] = nodes - before + 1
        elif isinstance(event, yaml.ScalarEvent):
            nodes += 1
            if event.anchor:
                sizes[event.anchor] = 1
        if len(open_nodes) > DEPTH_MAX:
            raise TooLarge(f"The file is nested too deep: at most {DEPTH_MAX} levels are read.")
        if nodes > NODES_MAX:
            raise TooLarge(f"The file becomes larger than {NODES_MAX} values by its aliases. Write them out.")
