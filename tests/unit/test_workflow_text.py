"""A workflow's text is read with the line of everything, and every mistake says what is allowed and what was meant."""

from __future__ import annotations

import msgspec
import pytest

from server.actions import workflows
from server.core.model import SYSTEM
from server.core.retry import RetryRule
from server.core.workflow_text import read
from server.core.workflows import Edge, Join, Outcome, WorkflowSpec, WorkflowStep
from server.errors import Invalid
from tests.unit.ledger import START_US, Ledger

NIGHTLY = """\
name: nightly
description: Dump, compress and copy   # a remark
agent: north
variables: {LEVEL: 09, MODE: yes}
timeout_s: 7200
tags: [nightly, shop]
steps:
  - name: dump
    command: |
      pg_dump shop > "$HOME/shop.sql"
    checkpoint: true
  - name: compress
    command: gzip -9 shop.sql
    after: dump
    retry: 3
  - name: copy
    group: stores
    command: copy shop.sql.gz $UNDERSTUDY_ITEM
    after: [compress]
    for_each: [hamburg, bremen]
    retry: {attempts_max: 5, factor: 1.5, exit_codes: [75]}
  - name: alarm
    job: call-somebody
    after: {dump: failed, compress: failed, copy: failed}
    join: any
"""

EXPECTED = WorkflowSpec(
    name="nightly",
    description="Dump, compress and copy",
    agent="north",
    variables={"LEVEL": "09", "MODE": "yes"},
    timeout_s=7200,
    tags=["nightly", "shop"],
    steps=[
        WorkflowStep(name="dump", command='pg_dump shop > "$HOME/shop.sql"\n', checkpoint=True),
        WorkflowStep(
            name="compress",
            command="gzip -9 shop.sql",
            after=[Edge(step="dump")],
            retry=RetryRule(attempts_max=3),
        ),
        WorkflowStep(
            name="copy",
            group="stores",
            command="copy shop.sql.gz $UNDERSTUDY_ITEM",
            after=[Edge(step="compress")],
            for_each=["hamburg", "bremen"],
            retry=RetryRule(attempts_max=5, factor=1.5, exit_codes=[75]),
        ),
        WorkflowStep(
            name="alarm",
            job="call-somebody",
            after=[Edge(step=name, on=Outcome.FAILED) for name in ("dump", "compress", "copy")],
            join=Join.ANY,
        ),
    ],
)

HEAD = "name: nightly\nagent: north\nsteps:\n"
"""Three lines; the steps begin in line 4."""
DUMP = "  - {name: dump, command: dump}\n"
DEEP = "a: " + "[" * 30


def mistakes(text: str, format: str = "") -> list[str]:
    """What is wrong, as people read it."""
    reading = read(text, format)
    assert (reading.written is None) == bool(reading.mistakes)
    return [str(one) for one in reading.mistakes]


def spec(text: str, format: str = "") -> WorkflowSpec:
    """What a right text means."""
    reading = read(text, format)
    assert reading.written is not None, reading.mistakes
    return reading.written.spec


def test_a_text_is_read() -> None:
    """Every field, the short forms of edges and of retries; a number stays text where text is wanted."""
    assert spec(NIGHTLY) == EXPECTED


def test_json_is_read() -> None:
    """What the structs encode to means the same; a text that begins with { is taken for JSON."""
    assert spec(msgspec.json.encode(EXPECTED).decode()) == EXPECTED
    assert spec(msgspec.json.format(msgspec.json.encode(EXPECTED)).decode(), "json") == EXPECTED


@pytest.mark.parametrize(
    "after",
    [
        "{dump: succeeded, check: failed}",
        "[dump, {check: failed}]",
        "[{step: dump}, {step: check, on: failed}]",
        "\n      - dump\n      - check: failed",
        "\n      dump: succeeded\n      check: failed",
    ],
)
def test_each_form_of_an_edge_means_the_same(after: str) -> None:
    """One name, a list, a mapping, or everything said."""
    text = HEAD + DUMP + f"  - {{name: check, command: c}}\n  - name: copy\n    command: c\n    after: {after}\n"
    assert spec(text).steps[2].after == [Edge(step="dump"), Edge(step="check", on=Outcome.FAILED)]


def test_an_anchor_stands_for_what_it_names() -> None:
    """An alias is the value again; << takes what the mapping does not say itself, wherever it stands."""
    text = (
        HEAD
        + "  - &first {name: dump, command: dump, timeout_s: 60, environment: &e {A: '1'}}\n"
        + "  - {<<: *first, name: other, environment: *e}\n"
        + "  - name: third\n    timeout_s: 5\n    <<: *first\n"
    )
    found = spec(text).steps
    assert [(one.name, one.command, one.timeout_s) for one in found] == [
        ("dump", "dump", 60),
        ("other", "dump", 60),
        ("third", "dump", 5),
    ]
    assert found[1].environment == {"A": "1"}


def test_several_mistakes_are_said_at_once() -> None:
    """Each with its line, what is allowed, and what was meant; none that only follows from another."""
    text = (
        HEAD
        + DUMP
        + "  - name: compress\n    comand: gzip\n    after: dunp\n"
        + "  - name: copy\n    command: copy\n    after: {compress: faild}\n    timeout_s: 10m\n    checkpoint: yes\n"
        + "  - name: copy\n    command:\n"
    )
    found = mistakes(text)
    assert found[0].startswith("line 6: 'comand' is not known here; did you mean 'command'? What a step may have: name")
    assert found[1:] == [
        "line 7: step 'dunp' is not a step; did you mean 'dump'?",
        "line 10: 'faild' is none of succeeded, failed, ended; did you mean 'failed'?",
        "line 11: 'timeout_s' is a whole number, not '10m'",
        "line 12: 'checkpoint' is true or false, not 'yes'",
        "line 13: there are two steps 'copy'; each has a name of its own",
        "line 14: 'command' has no value; give it one, or leave it out",
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "line 1: there is no workflow in this text"),
        ("# only a remark\n", "line 1: there is no workflow in this text"),
        ("nightly", "line 1: a workflow is written as keys with values"),
        ("- a\n- b\n", "line 1: a workflow is written as keys with values"),
        ("agent: north\nsteps:\n" + DUMP, "line 1: a workflow needs 'name'"),
        ("name: a\nagent: north\n", "line 1: a workflow needs 'steps'"),
        (HEAD + "  dump: {command: dump}\n", "line 4: 'steps' is a list: begin each of its lines with a hyphen"),
        (HEAD + DUMP + "  - copy\n", "line 5: a step is written as keys with values"),
        (HEAD + DUMP + "name: again\n", "line 5: 'name' is there twice; the first is in line 1"),
        (HEAD + "  - {name: dump, command: [a]}\n", "line 4: 'command' is one value, not a list"),
        (HEAD + "  - {name: dump, command: a, for_each: x}\n", "line 4: 'for_each' is a list"),
        (HEAD + "  - {name: dump, command: a, for_each: [[x]]}\n", "line 4: an item is one value, not a list"),
        (HEAD + "  - {name: dump, command: a, environment: A=1}\n", "line 4: 'environment' is written as names with"),
        (HEAD + "  - {name: dump, command: a, retry: {tries: 2}}\n", "line 4: 'tries' is not known here"),
        (HEAD + "  - {name: dump, command: a, retry: 500}\n", "line 4: must be from 1 (never again) to 100"),
        (HEAD + DUMP + "  - {name: b, command: b, after: [[dump]]}\n", "line 5: an edge is the name of a step"),
        (HEAD + DUMP + "  - {name: b, command: b, after: {}}\n", "line 5: an edge is the name of a step"),
        (HEAD + DUMP + "  - {name: b, command: b, join: both}\n", "line 5: 'both' is none of all, any"),
        (HEAD + "  - {name: dump, command: dump, {a: b}: c}\n", "line 4: a key is a word"),
        (
            HEAD + "  - {name: dump, command: !!python/name:os.system x}\n",
            "line 4: tags such as tag:yaml.org,2002:pyth",
        ),
        (HEAD + "  - {<<: [x], name: dump, command: dump}\n", "line 4: << takes a mapping"),
        (HEAD + "  - *dump\n", "line 4: *dump stands for nothing"),
        ("name: &a [*a]\n", "line 1: *a stands for nothing"),
        (HEAD + DUMP + "---\nname: b\n", "line 5: a second document begins here"),
        ("name: nightly\n\tagent: north\n", "line 2: this is no YAML: "),
        ("name: 'nightly\nagent: north\n", "line 3: this is no YAML: "),
        ("name: a\nsteps: b: c\n", "line 2: this is no YAML: "),
        ("name: a\nagent: \x07\n", "line 2: the character U+0007 is not allowed"),
        ("name: a\nagent: \ud800\n", "line 2: the character U+D800 is not allowed"),
        (DEEP, "line 1: this is nested too deep; at most 20 levels"),
        ("x" * 300_000, "line 1: the text has 300000 characters; at most 262144 are read"),
        ("a: [" + "x, " * 30_000 + "]", "line 1: this stands for more than 20000 values"),
    ],
)
def test_a_mistake_is_said_with_its_line(text: str, said: str) -> None:
    """One mistake, one sentence: the line, what is wrong, and what is allowed."""
    found = mistakes(text)
    assert len(found) == 1
    assert found[0].startswith(said)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"name": "a",\n}', "line 2: this is no JSON: a key in double quotes is missing; behind the last pair"),
        ('{"name": "a"\n"agent": "b"}', "line 2: this is no JSON: a comma or } is missing"),
        ('{"name" "a"}', "line 1: this is no JSON: a colon is missing behind the key 'name'"),
        ("{'name': 'a'}", "line 1: this is no JSON: a key in double quotes is missing"),
        ('{"name":\n a}', "line 2: this is no JSON: a value is missing: 'a' is none."),
        ('{"name":', "line 1: this is no JSON: a value is missing: the end of the text is none."),
        ('{"steps": [1,\n2,]}', "line 2: this is no JSON: a value is missing: ']' is none."),
        ('{"steps": [1 2]}', "line 1: this is no JSON: a comma or ] is missing"),
        ('{"name": "a\nb"}', "line 1: this is no JSON: the text in quotes that begins here has no end"),
        ('{"name": "a\\q"}', "line 1: this is no JSON: the text in quotes that begins here has an escape"),
        ('{"name": "\\ud800"}', "line 1: an escape here stands for half of a character"),
        ('{"name": "a"} x', "line 1: this is no JSON: something follows the end"),
        ('{"steps":' * 30, "line 1: this is nested too deep; at most 20 levels"),
        ('{"steps": [' + "1," * 30_000 + "1]}", "line 1: this stands for more than 20000 values"),
    ],
)
def test_a_mistake_in_json_is_said_with_its_line(text: str, said: str) -> None:
    """The same for JSON."""
    found = mistakes(text)
    assert len(found) == 1
    assert found[0].startswith(said)


def test_duplicate_keys_of_json_are_refused() -> None:
    """In every mapping, each with the line of both."""
    text = msgspec.json.encode(EXPECTED).decode()[:-1] + ',\n"name": "b",\n"agent": "c"}'
    assert mistakes(text) == [
        "line 2: 'name' is there twice; the first is in line 1",
        "line 3: 'agent' is there twice; the first is in line 1",
    ]


def test_what_aliases_stand_for_is_bounded() -> None:
    """A billion laughs is refused before anything is unfolded."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 15)]
    assert mistakes("\n".join(lines)) == ["line 4: this stands for more than 20000 values; write less"]


def test_what_aliases_nest_is_bounded() -> None:
    """Each alias adds one level, though no line has more than one."""
    lines = ["a0: &a0 [x]", *(f"a{n}: &a{n} [*a{n - 1}]" for n in range(1, 30))]
    assert mistakes("\n".join(lines)) == ["line 19: this is nested too deep; at most 20 levels are read"]


def test_what_is_not_there_has_the_line_of_its_name() -> None:
    """A wrong agent, job or workflow is known only beside the rows; the text's line is said all the same."""
    ledger = Ledger()
    ledger.add_agent()
    text = HEAD + DUMP + "  - name: copy\n    agent: nort\n    command: copy\n  - name: call\n    job: bill\n"
    with pytest.raises(workflows.Mistaken) as refused:
        ledger.do(workflows.create(workflows.read(text), SYSTEM, START_US))
    assert refused.value.fields == {
        "line 6": "there is no agent 'nort'; did you mean 'north'?",
        "line 9": "there is no job 'bill'",
    }


def test_a_format_that_is_none_is_refused() -> None:
    """What is allowed is said."""
    with pytest.raises(Invalid, match="yaml or json, not 'toml'"):
        workflows.read("name: a", "toml")
