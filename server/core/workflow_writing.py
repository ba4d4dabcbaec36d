"""The one way in which this program writes a workflow: YAML that reads again to the same. Pure.

Fields in the order of the structs, without those that have their default; edges and retries in their short forms.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec
import yaml

from server.core.retry import RetryRule
from server.core.workflows import Edge, Outcome, WorkflowSpec, Written

_STRANGE = re.compile("[^\n\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")


def write(spec: WorkflowSpec) -> Written:
    """The workflow as canonical YAML, its steps last."""
    said = plain(spec)
    said["steps"] = said.pop("steps")
    return Written(spec=spec, text=dump(said), format="yaml")


def dump(said: Any) -> str:
    """Dictionaries, lists and scalars as YAML: in their order, lines of a text as lines, nothing as an alias."""
    return str(
        yaml.dump(said, Dumper=_Dumper, sort_keys=False, default_flow_style=False, allow_unicode=True, width=110)
    )


def plain(value: Any) -> Any:
    """What is said, as dictionaries, lists and scalars; what has its default is left out."""
    if isinstance(value, msgspec.Struct):
        found: dict[str, Any] = {}
        for field in msgspec.structs.fields(value):
            inner = getattr(value, field.name)
            if field.required or (inner != field.default and inner != _made(field)):
                found[field.name] = _field(inner)
        return found
    return _field(value)


def _made(field: Any) -> Any:
    return field.default_factory() if field.default_factory is not msgspec.NODEFAULT else field.default


def _field(value: Any) -> Any:
    if isinstance(value, RetryRule):
        said = plain(value)
        return said["attempts_max"] if list(said) == ["attempts_max"] else said
    if isinstance(value, list) and value and isinstance(value[0], Edge):
        return _edges(value)
    if isinstance(value, list):
        scalars = all(isinstance(one, (str, int)) for one in value)
        return _Flow(value) if scalars else [plain(one) for one in value]
    if isinstance(value, dict):
        return dict(value)
    return str(value) if isinstance(value, str) else plain(value) if isinstance(value, msgspec.Struct) else value


def _edges(edges: list[Edge]) -> Any:
    names = [edge.step for edge in edges]
    if all(edge.on == Outcome.SUCCEEDED for edge in edges):
        return names[0] if len(names) == 1 else _Flow(names)
    if len(set(names)) == len(names) and "step" not in names:
        return _FlowMapping({edge.step: str(edge.on) for edge in edges})
    return _Flow([_FlowMapping({"step": edge.step, "on": str(edge.on)}) for edge in edges])


class _Flow(list[Any]):
    """A list in one line."""


class _FlowMapping(dict[str, Any]):
    """A mapping in one line."""


class _Dumper(yaml.SafeDumper):
    """Lines of a text stay lines; nothing is written as an alias; the hyphens of lists are indented."""

    def ignore_aliases(self, data: Any) -> bool:
        """Each value is written where it stands."""
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> Any:
        """Lists inside mappings are indented, as people write them."""
        return super().increase_indent(flow, False)


def _text(dumper: Any, value: str) -> Any:
    style = '"' if _STRANGE.search(value) else "|" if "\n" in value else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


def _flow(dumper: Any, value: list[Any]) -> Any:
    return dumper.represent_sequence("tag:yaml.org,2002:seq", list(value), flow_style=True)


def _flow_mapping(dumper: Any, value: dict[str, Any]) -> Any:
    return dumper.represent_mapping("tag:yaml.org,2002:map", dict(value), flow_style=True)


_Dumper.add_representer(str, _text)
_Dumper.add_representer(_Flow, _flow)
_Dumper.add_representer(_FlowMapping, _flow_mapping)
