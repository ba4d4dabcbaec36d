"""Messages as a healthy cluster sends them: what is mutated. Of replication those of the golden files and of a pair in
the simulation, of agents one of each kind with every field filled.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest

from server.core import agent_wire as wire
from tests.simulation import pair_simulation, seeded_network

GOLDEN = Path(__file__).parents[1] / "unit" / "golden"
SEED = 11
OF_A_KIND = 40


@cache
def replication_frames() -> tuple[bytes, ...]:
    """Frames of both protocols' golden files, and up to `OF_A_KIND` of each type that a simulated pair sent."""
    found = []
    for protocol in (1, 2):
        entries = json.loads((GOLDEN / f"frames_protocol_{protocol}.json").read_text())
        found += [bytes.fromhex(entry["hex"]) for entry in entries]
    kinds: dict[int, list[bytes]] = {}
    carry = seeded_network.Network.carry

    def record(network: Any, end: Any, frame: bytes | None) -> None:
        if frame is not None and len(kinds.setdefault(frame[0], [])) < OF_A_KIND and len(frame) < 65536:
            kinds[frame[0]].append(frame)
        carry(network, end, frame)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(seeded_network.Network, "carry", record)
        pair_simulation.simulate(SEED)
    return (*found, *(frame for frames in kinds.values() for frame in frames))


@cache
def agent_frames(direction: str) -> tuple[bytes, ...]:
    """A message of each kind that goes `to_agent` or `to_node`, in two sizes."""
    kinds = get_args(wire.FromNode if direction == "to_agent" else wire.FromAgent)
    return tuple(wire.encode(_filled(kind, many)) for kind in kinds for many in (1, 3))


def _filled(kind: Any, many: int, depth: int = 0) -> Any:
    """A value of a type: every field of a struct is filled, lists have `many` entries."""
    described = msgspec.inspect.type_info(kind)
    return msgspec.convert(_plain(described, many, depth), kind, strict=False)


def _plain(described: Any, many: int, depth: int) -> Any:
    kind = type(described).__name__
    if kind == "StructType":
        values = {
            one.encode_name: _plain(one.type, many, depth + 1) for one in described.fields if depth < 6 or one.required
        }
        if described.array_like:
            first = [described.tag] if described.tag is not None else []
            return first + [_plain(one.type, many, depth + 1) for one in described.fields]
        return values | ({described.tag_field: described.tag} if described.tag is not None else {})
    if kind == "UnionType":
        return _plain(next(one for one in described.types if type(one).__name__ != "NoneType"), many, depth)
    if kind == "NamedTupleType":
        return [_plain(one.type, many, depth + 1) for one in described.fields]
    if kind == "TupleType":
        return [_plain(one, many, depth + 1) for one in described.item_types]
    if kind in ("VarTupleType", "ListType", "SetType", "FrozenSetType"):
        return [_plain(described.item_type, many, depth + 1) for _ in range(many if depth < 4 else 0)]
    if kind == "DictType":
        return {"k": _plain(described.value_type, many, depth + 1)} if depth < 5 else {}
    if kind == "LiteralType":
        return described.values[0]
    if kind == "EnumType":
        return next(iter(described.cls)).value
    simple: dict[str, Any] = {
        "IntType": many, "StrType": "j1.rone.a1", "BoolType": True, "FloatType": 1.5, "BytesType": b"data",
        "AnyType": None, "NoneType": None,
    }  # fmt: skip
    return simple[kind]
