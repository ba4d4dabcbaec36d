"""Whatever is typed as a workflow is read, or refused with a line that is there; what is written is read again."""

from __future__ import annotations

import random
import string

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from server.core.marked_text import DEPTH_MAX
from server.core.retry import RetryRule
from server.core.workflow_check import RESERVED
from server.core.workflow_text import read
from server.core.workflow_writing import write
from server.core.workflows import Edge, Join, Outcome, WorkflowSpec, WorkflowStep
from tests.unit.test_workflow_text import EXPECTED, NIGHTLY

PIECES = (
    *(
        "name",
        "steps",
        "after",
        "command",
        "retry",
        "dump",
        "on",
        "step",
        "succeeded",
        "null",
        "~",
        "true",
        "1e9",
        "-1",
    ),
    *(":", ": ", "- ", "[", "]", "{", "}", ",", '"', "'", "|", ">", "&a ", "*a", "<<: ", "!!str ", "#", "%", "@", "`"),
    *(
        "\n",
        "\r",
        "\t",
        "  ",
        "---\n",
        "...\n",
        "\\",
        "\\ud800",
        "\\x",
        "\x00",
        "\ud800",
        "\ufeff",
        "\u2028",
        "é",
        "🙂",
    ),
)
TEXTS = (NIGHTLY, msgspec.json.format(msgspec.json.encode(EXPECTED)).decode())


def mutated(text: str, seed: int, times: int) -> str:
    """The text with pieces put in, cut out, doubled and swapped."""
    chance = random.Random(seed)
    for _ in range(times):
        start = chance.randrange(len(text) + 1)
        end = min(len(text), start + chance.choice((0, 1, 2, 5, 20, 200)))
        kind = chance.randrange(4)
        if kind == 0:
            text = text[:start] + chance.choice(PIECES) + text[start:]
        elif kind == 1:
            text = text[:start] + text[end:]
        elif kind == 2:
            text = text[:start] + text[start:end] * 2 + text[end:]
        else:
            text = text[:start] + chance.choice(PIECES) + text[end:]
    return text


def check_reading(text: str, format: str = "") -> None:
    """It is a workflow that can be kept, or there are mistakes, each with a line and a column of the text."""
    reading = read(text, format)
    assert (reading.written is None) == bool(reading.mistakes)
    for mistake in reading.mistakes:
        assert 1 <= mistake.line <= len(text.splitlines()) + 1
        assert 1 <= mistake.column <= len(text) + 1
        assert mistake.text.strip()
    if reading.written is not None:
        again = read(msgspec.json.encode(reading.written.spec).decode(), "json")
        assert again.written is not None
        assert again.written.spec == reading.written.spec


@settings(max_examples=150)
@given(st.sampled_from(TEXTS), st.integers(0, 2**32), st.integers(1, 8))
def test_a_mutated_text_is_read_or_refused_with_its_line(text: str, seed: int, times: int) -> None:
    """Never an exception; what is accepted can be stored and means the same again."""
    check_reading(mutated(text, seed, times))


@settings(max_examples=120)
@given(st.lists(st.sampled_from(PIECES), max_size=40), st.sampled_from(["", "yaml", "json"]))
def test_pieces_of_both_languages_are_read_or_refused(pieces: list[str], format: str) -> None:
    """Words and signs in any order."""
    check_reading("".join(pieces), format)


@settings(max_examples=80)
@given(st.text(max_size=200), st.sampled_from(["", "yaml", "json"]))
def test_any_text_is_read_or_refused(text: str, format: str) -> None:
    """Every character there is, half ones included."""
    check_reading(text, format)


@settings(max_examples=30)
@given(
    st.integers(1, 3 * DEPTH_MAX),
    st.sampled_from(["[", "{a: ", '{"a":', "- ", "? "]),
    st.sampled_from(string.ascii_letters),
)
def test_any_depth_is_read_or_refused(depth: int, opening: str, inside: str) -> None:
    """Nested more than Python could follow, closed or not."""
    closing = {"[": "]", "{": "}"}.get(opening[0], "")
    for text in (opening * depth * 50, opening * depth + inside + closing * depth):
        check_reading(text, "json" if '"' in opening else "yaml")


WORDS = st.text(max_size=20).filter(lambda text: "\0" not in text and not any("\ud800" <= c <= "\udfff" for c in text))
NAMES = st.text(string.ascii_letters + string.digits + "_-", min_size=1, max_size=8).filter(
    lambda name: name[0].isalnum() and name not in RESERVED
)
VARIABLES = st.dictionaries(st.text(string.ascii_uppercase, min_size=1, max_size=4), WORDS, max_size=3)


@st.composite
def specs(draw: st.DrawFn) -> WorkflowSpec:
    """A workflow with any text in it, whose steps come after earlier ones."""
    names = draw(st.lists(NAMES, min_size=1, max_size=5, unique=True))
    steps = []
    for index, name in enumerate(names):
        before = draw(st.lists(st.sampled_from(names[:index]), unique=True)) if index else []
        after = [Edge(step=one, on=draw(st.sampled_from(list(Outcome)))) for one in before]
        item = st.text(string.printable, min_size=1, max_size=6)
        step = WorkflowStep(
            name=name,
            command=draw(WORDS.filter(str.strip)),
            after=after,
            join=Join.ANY,
            for_each=draw(st.lists(item, max_size=3, unique=True)),
            environment=draw(VARIABLES),
            working_directory=draw(WORDS),
            timeout_s=draw(st.integers(0, 1000)),
            retry=RetryRule(attempts_max=draw(st.integers(1, 9)), factor=draw(st.sampled_from([1.0, 1.5, 2.0]))),
            checkpoint=draw(st.booleans()),
        )
        steps.append(step)
    head = draw(WORDS)
    tags = draw(st.lists(st.sampled_from(["nightly", "shop", "8", "yes"]), unique=True))
    return WorkflowSpec(
        name=draw(NAMES), agent="north", steps=steps, description=head, variables=draw(VARIABLES), tags=tags
    )


@settings(max_examples=80)
@given(specs())
def test_what_is_written_reads_again_to_the_same(spec: WorkflowSpec) -> None:
    """Whatever characters its texts have; writing what was read writes the same text."""
    written = write(spec)
    reading = read(written.text, "yaml")
    assert reading.mistakes == []
    assert reading.written is not None
    assert reading.written.spec == spec
    assert write(reading.written.spec).text == written.text
