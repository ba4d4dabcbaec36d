"""Variables: what `${{ name }}` stands for in a job's texts, and which names are wrong where. Pure.

`${{` means nothing to a shell (it is an error there), so nothing that a shell understands is taken for a reference;
`$${{ name }}` is the text `${{ name }}` itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from server.core.confidential import Piece
from server.core.model import Row

HOST = ""
"""The scope of a variable that all jobs may name. One job's own: `job_scope`."""
VALUE_MAX = 8192
SECRET_MIN = 4
"""Characters: shorter ones would be found, and replaced, all over an output."""
_OPEN = "${{"
_REFERENCE = re.compile(r"(\$?)\$\{\{(.*?)\}\}", re.DOTALL)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}\Z")


class Variable(Row, frozen=True, kw_only=True):
    """A named value. That of a secret is in the table `sealed`, and `value` is empty. `scope`: see `HOST`."""

    id: int
    scope: str
    name: str
    value: str
    secret: bool
    description: str
    created_at_us: int
    updated_at_us: int
    updated_by: str


def job_scope(job_id: int) -> str:
    """The scope of one job's own variables."""
    return f"job {job_id}"


def seal_name(scope: str, name: str) -> str:
    """What the value of a secret is sealed for, and its row in the table `sealed`."""
    return f"variable {scope or 'host'} {name}"


def pieces(text: str) -> list[Piece]:
    """The text cut at its references: (text, "") or ("", name). What is no reference stays text."""
    found: list[Piece] = []
    at = 0
    for match in _REFERENCE.finditer(text):
        name = match[2].strip()
        found.append((text[at : match.start()], ""))
        at = match.end()
        if match[1]:
            found.append((match[0][1:], ""))
        elif _NAME.match(name):
            found.append(("", name))
        else:
            found.append((match[0], ""))
    found.append((text[at:], ""))
    return [piece for piece in found if piece != ("", "")]


def references(text: str) -> set[str]:
    """The names that a text refers to."""
    return {name for _, name in pieces(text) if name} if _OPEN in text else set()


def malformed(text: str) -> list[str]:
    """What looks like a reference and is none."""
    found = [m[0] for m in _REFERENCE.finditer(text) if not m[1] and not _NAME.match(m[2].strip())]
    rest = _REFERENCE.sub("", text)
    return found + ([rest[rest.index(_OPEN) :][:40]] if _OPEN in rest else [])


def substituted(text: str, values: Mapping[str, str]) -> str:
    """The text with the values of its references; a name without value stays as it is, for the shell to refuse."""
    if _OPEN not in text:
        return text
    return "".join(values.get(name, f"${{{{ {name} }}}}") if name else piece for piece, name in pieces(text))


def wrong_variable(name: str, value: str, secret: bool) -> dict[str, str]:
    """What is wrong, by field."""
    wrong: dict[str, str] = {}
    if not _NAME.match(name):
        wrong["name"] = "must begin with a letter or _ and have up to 64 letters, digits, . _ -"
    if len(value) > VALUE_MAX or "\0" in value:
        wrong["value"] = f"may have up to {VALUE_MAX} characters, and no NUL"
    elif secret and len(value.strip()) < SECRET_MIN:
        wrong["value"] = f"a secret needs at least {SECRET_MIN} characters: a shorter one cannot be hidden in an output"
    return wrong


def wrong_references(
    clear: Mapping[str, str], environment: Iterable[str], known: Mapping[str, bool], where: str = "environment"
) -> dict[str, str]:
    """What is wrong with the references of texts, by field. `known`: variables by name, True for secrets.

    `clear`: texts that people see (commands, directories), by field: no secret may stand there. `environment`: the
    values of environment variables, all of the field `where`.
    """
    wrong: dict[str, str] = {}
    texts = [(field, text, True) for field, text in clear.items()] + [(where, text, False) for text in environment]
    for field, text, is_seen in texts:
        names = references(text)
        unknown = sorted(names - known.keys())
        shown = sorted(name for name in names if is_seen and known.get(name))
        if bad := malformed(text):
            wrong[field] = f"{', '.join(bad)} names no variable: write ${{{{ name }}}}, or $${{{{ for the text itself"
        elif unknown:
            wrong[field] = f"names variables that do not exist: {', '.join(unknown)}. `understudy variable set NAME …`"
        elif shown:
            wrong[field] = (
                f"names secrets: {', '.join(shown)}. They may stand in environment variables only, since anybody sees "
                'a command: put NAME=${{ secret }} there, and "$NAME" here'
            )
    return wrong
