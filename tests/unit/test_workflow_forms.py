"""What this program writes of a workflow: canonical text, differences, and a schema that says what may be written."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import yaml

from server.core import workflow_schema
from server.core.workflow_diff import FieldChange, StepChange, diff
from server.core.workflow_text import read
from server.core.workflow_writing import write
from server.core.workflows import Edge, Outcome, WorkflowSpec, WorkflowStep, WorkflowVersion
from tests.architecture.source import ROOT
from tests.unit.test_workflow_text import EXPECTED, NIGHTLY
from tests.unit.test_workflows import flow, step

CANONICAL = """\
name: nightly
agent: north
description: Dump, compress and copy
variables:
  LEVEL: 09
  MODE: 'yes'
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
    command: copy shop.sql.gz $UNDERSTUDY_ITEM
    group: stores
    after: compress
    for_each: [hamburg, bremen]
    retry:
      attempts_max: 5
      factor: 1.5
      exit_codes: [75]
  - name: alarm
    job: call-somebody
    after: {dump: failed, compress: failed, copy: failed}
    join: any
"""


def test_a_workflow_is_written_in_one_way() -> None:
    """Defaults are left out, edges and retries are short, and it reads again to the same."""
    assert write(EXPECTED).text == CANONICAL
    reading = read(CANONICAL)
    assert reading.written is not None
    assert reading.written.spec == EXPECTED
    assert write(reading.written.spec).text == CANONICAL


def test_a_step_after_both_ends_of_another_is_written_whole() -> None:
    """A mapping has each name once; two edges to one step are a list."""
    ends = [Edge(step="a", on=Outcome.FAILED), Edge(step="a", on=Outcome.ENDED)]
    spec = flow(step("a"), step("b", *ends))
    text = write(spec).text
    assert "after: [{step: a, 'on': failed}, {step: a, 'on': ended}]" in text
    reading = read(text)
    assert reading.written is not None
    assert reading.written.spec == spec


def _version(number: int, spec: WorkflowSpec) -> WorkflowVersion:
    text = write(spec).text
    return WorkflowVersion(
        workflow_id=1, version=number, text=text, format="yaml", spec=spec, made_by="", made_at_us=0, reason=""
    )


def test_versions_differ_by_step_and_field() -> None:
    """Added, changed, removed, what the workflow itself says, and the text."""
    before = flow(step("dump", timeout_s=60), step("copy", "dump"), step("mail", "copy"))
    after = flow(step("dump", for_each=["a", "b"]), step("pack", "dump"), step("copy", "pack"), variables={"A": "1"})
    found = diff(_version(1, before), _version(2, after))
    assert found.fields == [FieldChange("variables", "", '{"A":"1"}')]
    assert [(one.step, one.change) for one in found.steps] == [
        ("dump", "changed"),
        ("pack", "added"),
        ("copy", "changed"),
        ("mail", "removed"),
    ]
    assert found.steps[0].fields == [FieldChange("timeout_s", "60", ""), FieldChange("for_each", "", '["a","b"]')]
    assert found.steps[2] == StepChange("copy", "changed", [FieldChange("after", "dump", "pack")])
    assert found.text[:2] == ["--- version 1", "+++ version 2"]
    assert "+    after: pack" in found.text


def test_equal_versions_do_not_differ() -> None:
    """Another text that means the same differs only as text."""
    spec = flow(step("dump"))
    found = diff(_version(1, spec), _version(2, spec))
    assert (found.fields, found.steps, found.text) == ([], [], [])


def test_the_committed_schema_is_current() -> None:
    """docs/workflow.schema.json is what the structs say; `understudy workflow schema` prints it."""
    committed = (ROOT / "docs" / "workflow.schema.json").read_text(encoding="utf-8")
    assert committed == workflow_schema.text(), "run: understudy workflow schema > docs/workflow.schema.json"


TYPES = {
    "object": dict,
    "array": list,
    "string": str,
    "boolean": bool,
    "integer": int,
    "number": (int, float),
}


def wrong(value: Any, rule: dict[str, Any], root: dict[str, Any]) -> str:
    """What a value breaks of a schema, by the words of JSON Schema that ours uses; an unknown word is an error."""
    for word, said in rule.items():
        found = BREAKS[word](value, said, rule, root)
        if found:
            return f"{word}: {found}"
    return ""


def _type(value: Any, said: Any, *_: Any) -> str:
    names = said if isinstance(said, list) else [said]
    fits = any(isinstance(value, TYPES[name]) and (name == "boolean" or not isinstance(value, bool)) for name in names)
    return "" if fits else f"{value!r} is not {names}"


def _properties(value: Any, said: Any, rule: Any, root: Any) -> str:
    found = [wrong(value[name], inner, root) for name, inner in said.items() if name in value]
    return next(filter(None, found), "")


def _more(value: Any, said: Any, rule: Any, root: Any) -> str:
    rest = [name for name in value if name not in rule.get("properties", {})]
    if said is False:
        return f"{rest} not known" if rest else ""
    return next(filter(None, [wrong(value[name], said, root) for name in rest]), "")


def _reference(value: Any, said: str, rule: Any, root: Any) -> str:
    return wrong(value, root["$defs"][said.rpartition("/")[2]], root)


def _matching(value: Any, said: Any, root: Any) -> int:
    return sum(not wrong(value, inner, root) for inner in said)


BREAKS: dict[str, Any] = {
    **dict.fromkeys(("$schema", "title", "$defs", "default"), lambda *_: ""),
    "type": _type,
    "$ref": _reference,
    "properties": _properties,
    "additionalProperties": _more,
    "propertyNames": lambda v, s, r, root: next(filter(None, [wrong(name, s, root) for name in v]), ""),
    "required": lambda v, s, *_: "" if all(name in v for name in s) else f"{s} are needed",
    "items": lambda v, s, r, root: next(filter(None, [wrong(one, s, root) for one in v if isinstance(v, list)]), ""),
    "enum": lambda v, s, *_: "" if v in s else f"{v!r} is none of {s}",
    "pattern": lambda v, s, *_: "" if not isinstance(v, str) or re.search(s, v) else f"{v!r} is not {s}",
    "minimum": lambda v, s, *_: "" if v >= s else "too small",
    "maximum": lambda v, s, *_: "" if v <= s else "too large",
    "minItems": lambda v, s, *_: "" if len(v) >= s else "too few",
    "maxItems": lambda v, s, *_: "" if len(v) <= s else "too many",
    "minProperties": lambda v, s, *_: "" if len(v) >= s else "too few",
    "uniqueItems": lambda v, s, *_: "" if len({json.dumps(one) for one in v}) == len(v) else "one is there twice",
    "not": lambda v, s, r, root: "" if wrong(v, s, root) else f"{v!r} is what it must not be",
    "anyOf": lambda v, s, r, root: "" if _matching(v, s, root) else f"{v!r} fits none",
    "oneOf": lambda v, s, r, root: "" if _matching(v, s, root) == 1 else f"{v!r} does not fit exactly one",
}


@pytest.mark.parametrize("text", [NIGHTLY, CANONICAL, write(EXPECTED).text])
def test_examples_fit_the_schema(text: str) -> None:
    """By the rules of JSON Schema, in every short form."""
    rules = workflow_schema.schema()
    assert wrong(yaml.safe_load(text), rules, rules) == ""


def _one(**more: Any) -> dict[str, Any]:
    return {"name": "nightly", "agent": "north", "steps": [{"name": "dump", "command": "dump", **more}]}


@pytest.mark.parametrize(
    ("value", "word"),
    [
        ({"name": "nightly", "agent": "north"}, "required"),
        ({"name": "nightly", "agent": "north", "steps": []}, "minItems"),
        ({**_one(), "name": "a b"}, "pattern"),
        ({**_one(), "group": "all"}, "not"),
        ({**_one(), "stages": []}, "not known"),
        (_one(comand="x"), "not known"),
        (_one(job="backup"), "oneOf"),
        (_one(name="step"), "not"),
        (_one(join="both"), "enum"),
        (_one(timeout_s="10m"), "type"),
        (_one(checkpoint="yes"), "type"),
        (_one(for_each="a"), "type"),
        (_one(for_each=["a", "a"]), "uniqueItems"),
        (_one(after={"other": "faild"}), "anyOf"),
        (_one(retry=0), "anyOf"),
        (_one(retry={"tries": 3}), "anyOf"),
        (_one(environment={"1A": "x"}), "pattern"),
    ],
)
def test_what_is_refused_breaks_the_schema_too(value: dict[str, Any], word: str) -> None:
    """Each is refused by the reader, and by the schema for the reason that it names."""
    rules = workflow_schema.schema()
    assert word in wrong(value, rules, rules)
    assert read(json.dumps(value)).mistakes


def test_steps_of_the_schema_are_those_of_the_struct() -> None:
    """A field that is added to a step is in the schema without being written there."""
    assert list(workflow_schema.schema()["$defs"]["WorkflowStep"]["properties"]) == list(WorkflowStep.__struct_fields__)


def blocks(kind: str) -> list[str]:
    """The fenced blocks of docs/workflows.md with that word behind the fence."""
    text = (ROOT / "docs" / "workflows.md").read_text(encoding="utf-8")
    return re.findall(rf"^```{kind}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def test_the_example_of_the_documents_is_read_and_fits_the_schema() -> None:
    """docs/workflows.md shows what is accepted, and its canonical text means the same."""
    (example,) = blocks("yaml")
    reading = read(example)
    assert reading.mistakes == []
    assert reading.written is not None
    again = read(write(reading.written.spec).text)
    assert again.written is not None
    assert again.written.spec == reading.written.spec
    rules = workflow_schema.schema()
    assert wrong(yaml.safe_load(example), rules, rules) == ""


def test_the_mistakes_of_the_documents_are_those_that_are_said() -> None:
    """Line by line, from the beginning of each."""
    (text,), (shown,) = blocks("wrong"), blocks("mistakes")
    said = [f"{one.line}: {one.text}" for one in read(text).mistakes]
    lines = shown.splitlines()
    assert len(said) == len(lines)
    for line, full in zip(sorted(lines), sorted(said), strict=True):
        assert full.startswith(line)


def test_the_documents_name_every_key_of_a_step() -> None:
    """The table has a row for each field of the struct."""
    text = (ROOT / "docs" / "workflows.md").read_text(encoding="utf-8")
    rows = " ".join(line.split("|")[1] for line in text.splitlines() if line.startswith("| `"))
    assert [name for name in WorkflowStep.__struct_fields__ if f"`{name}`" not in rows] == []
