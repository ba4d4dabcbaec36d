"""Takes the values of secrets out of what a job prints, before it is written anywhere. Used by the keeper.

Found are the bytes of a value as they are, wherever reads and writes cut them, and each line of one of several lines.
Not found is what the job has changed: encoded, reversed, or printed with something between.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path

from server.agent.output_file import OutputFile

MARK = b"***"
SHORTEST = 4
"""Bytes: a line of a value that is shorter is not looked for."""


class Redactor:
    """A stream through which bytes go. What may be the beginning of a secret is held back until more is there."""

    def __init__(self, secrets: Iterable[str]) -> None:
        values = {part.encode() for secret in secrets for part in (secret, *secret.splitlines())}
        self._secrets = sorted((value for value in values if len(value) >= SHORTEST), key=len, reverse=True)
        self._first = {value[0] for value in self._secrets}
        self._pattern = re.compile(b"|".join(map(re.escape, self._secrets)))
        self._held = b""

    def feed(self, data: bytes) -> bytes:
        """What can be written now."""
        if not self._secrets:
            return data
        text = self._held + data
        kept, at, found = self._kept(text, 0), 0, []
        for match in self._pattern.finditer(text):
            if match.start() >= kept:
                break
            found += [text[at : match.start()], MARK]
            at = match.end()
        if at > kept:
            kept = self._kept(text, at)
        found.append(text[at:kept])
        self._held = text[kept:]
        return b"".join(found)

    @property
    def holds(self) -> bool:
        """Whether something is held back now."""
        return bool(self._held)

    def rest(self) -> bytes:
        """What was held back: nothing more comes. Again: nothing."""
        text, self._held = self._held, b""
        return self._pattern.sub(MARK, text) if self._secrets else text

    def _kept(self, text: bytes, at: int) -> int:
        """From where on the text may be the beginning of a secret; its length when it is none."""
        for start in range(max(at, len(text) - len(self._secrets[0]) + 1), len(text)):
            if text[start] not in self._first:
                continue
            end = text[start:]
            if any(len(end) < len(secret) and secret.startswith(end) for secret in self._secrets):
                return start
        return len(text)


class RedactedFile(OutputFile):
    """The output of a run without the values of its secrets; `***` stands for each."""

    def __init__(
        self, directory: Path, bytes_max: int, has_room: Callable[[], bool] = lambda: True, hidden: Iterable[str] = ()
    ) -> None:
        super().__init__(directory, bytes_max, has_room)
        self._redactor = Redactor(hidden)

    @property
    def is_empty(self) -> bool:
        """Nothing came so far, and nothing is held back."""
        return super().is_empty and not self._redactor.holds

    def write(self, data: bytes) -> None:
        """Append what is certain; the rest with what comes next."""
        super().write(self._redactor.feed(data))

    def finish(self) -> tuple[int, bool]:
        """As the output's, with what was held back."""
        if rest := self._redactor.rest():
            super().write(rest)
        return super().finish()
