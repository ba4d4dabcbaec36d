"""Prerequisites as people write them, in one line, and back. Pure.

    backup and (load completed|failed or event:arrived) and report ended dont-overwrite during:month-end

Lines may be broken anywhere. AND binds closer than OR.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from server.core.prerequisites import CONDITIONS_MAX, Condition, Group, Operator, Prerequisites, Status

KINDS = {"job": "run", "workflow": "workflow", "event": "event", "monitor": "monitor"}
"""What may stand before the name and a colon, and the kind of happening that it means; a job without."""
DEFAULTS = {"event": Status.FIRED, "monitor": Status.TRIPPED}
STATUSES = {"event": (Status.FIRED,), "monitor": (Status.TRIPPED, Status.CLEAR)}
"""What a source of a kind may reach; all others what a run may."""
_OF_RUNS = tuple(one for one in Status if all(one not in found for found in STATUSES.values()))
DONT_OVERWRITE, DONT_CLEAR, DURING = "dont-overwrite", "dont-clear", "during:"
DEPTH_MAX = 20
_TOKEN = re.compile(r"[()]|[^\s()]+")
_WORDS = {word: name for name, word in KINDS.items()}


class BadPrerequisites(ValueError):
    """The text does not say what to wait for; the message says where and what would do."""


@dataclass(frozen=True, slots=True)
class Source:
    """What a condition names: the kind of happening, and the name as written."""

    kind: str
    name: str


def parse(text: str, find: Callable[[Source], int]) -> Prerequisites:
    """What a text says; `find` gives the id of a source, or raises BadPrerequisites. Nothing for an empty text.

    Raises BadPrerequisites.
    """
    tokens = _TOKEN.findall(text)
    if not tokens:
        return Prerequisites()
    reader = _Reader(tokens, find)
    expression = reader.alternatives(0)
    if reader.here < len(tokens):
        raise BadPrerequisites(f"{_at(tokens, reader.here)}: AND or OR is missing before it, or one ) is too many")
    return Prerequisites(expression=expression)


def write(prerequisites: Prerequisites, name: Callable[[Condition], str]) -> str:
    """The text that says the same; `name` names the source of a condition."""
    return _write(prerequisites.expression, name, Operator.OR) if prerequisites.expression is not None else ""


def source_words(condition: Condition, name: str) -> str:
    """How a source is written: its name alone for a job, else with its kind."""
    return name if condition.kind == "run" and name.lower() not in ("and", "or") else f"{_WORDS[condition.kind]}:{name}"


class _Reader:
    """Reads tokens from `here` on. One for each text."""

    def __init__(self, tokens: list[str], find: Callable[[Source], int]) -> None:
        self.tokens = tokens
        self.here = 0
        self._find = find
        self._count = 0

    def alternatives(self, depth: int) -> Condition | Group:
        return self._joined(Operator.OR, lambda: self._joined(Operator.AND, lambda: self._part(depth)))

    def _joined(self, operator: Operator, read: Callable[[], Condition | Group]) -> Condition | Group:
        parts = [read()]
        while self._next().lower() == operator:
            self.here += 1
            parts.append(read())
        return parts[0] if len(parts) == 1 else Group(operator=operator, parts=tuple(parts))

    def _part(self, depth: int) -> Condition | Group:
        token = self._next()
        if token != "(":
            return self._condition()
        if depth == DEPTH_MAX:
            raise BadPrerequisites(f"{_at(self.tokens, self.here)}: brackets are nested at most {DEPTH_MAX} deep")
        self.here += 1
        found = self.alternatives(depth + 1)
        if self._next() != ")":
            raise BadPrerequisites(f"{_at(self.tokens, self.here)}: a ) is missing")
        self.here += 1
        return found

    def _condition(self) -> Condition:
        token = self._next()
        if token in ("", ")") or token.lower() in (Operator.AND, Operator.OR):
            raise BadPrerequisites(f"{_at(self.tokens, self.here)}: the name of a job is missing, or event:NAME")
        self.here += 1
        source = _source(token)
        flags, statuses, during = set[str](), tuple[Status, ...](), ""
        while (word := self._next()) not in ("", "(", ")") and word.lower() not in (Operator.AND, Operator.OR):
            if word in (DONT_OVERWRITE, DONT_CLEAR):
                flags.add(word)
            elif word.startswith(DURING) and word != DURING and source.kind == "run":
                during = word.removeprefix(DURING)
            elif not statuses:
                statuses = _statuses(word, source)
            else:
                raise BadPrerequisites(f"{_at(self.tokens, self.here)}: several statuses are written completed|failed")
            self.here += 1
        self._count += 1
        if self._count > CONDITIONS_MAX:
            raise BadPrerequisites(f"there may be at most {CONDITIONS_MAX} conditions")
        return Condition(
            number=self._count,
            kind=source.kind,
            source_id=self._find(source),
            statuses=statuses or (DEFAULTS.get(source.kind, Status.COMPLETED),),
            dont_overwrite=DONT_OVERWRITE in flags,
            dont_clear=DONT_CLEAR in flags,
            during=during,
        )

    def _next(self) -> str:
        return self.tokens[self.here] if self.here < len(self.tokens) else ""


def _source(token: str) -> Source:
    kind, colon, name = token.partition(":")
    if not colon:
        return Source("run", token)
    if kind not in KINDS or not name:
        raise BadPrerequisites(f"{token!r}: write NAME for a job, or one of " + ", ".join(f"{k}:NAME" for k in KINDS))
    return Source(KINDS[kind], name)


def _statuses(word: str, source: Source) -> tuple[Status, ...]:
    known = STATUSES.get(source.kind, _OF_RUNS)
    parts = word.lower().split("|")
    if any(part not in known for part in parts):
        raise BadPrerequisites(f"{word!r} after {source.name}: the statuses are {', '.join(known)}, joined by |")
    return tuple(status for status in known if status in parts)


def _at(tokens: list[str], here: int) -> str:
    return f"at {tokens[here]!r}" if here < len(tokens) else "at the end"


def _write(part: Condition | Group, name: Callable[[Condition], str], around: Operator) -> str:
    if isinstance(part, Condition):
        words = [source_words(part, name(part))]
        if part.statuses != (DEFAULTS.get(part.kind),):
            words.append("|".join(part.statuses))
        words += [DONT_OVERWRITE] * part.dont_overwrite + [DONT_CLEAR] * part.dont_clear
        return " ".join([*words, DURING + part.during] if part.during else words)
    joined = f" {part.operator} ".join(_write(one, name, part.operator) for one in part.parts)
    return joined if part.operator is Operator.AND or around is Operator.OR else f"({joined})"
