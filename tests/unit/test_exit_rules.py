"""Exit rules: what is success, where it is judged, and what reaches the master (SKY-15)."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from server.agent import child as children
from server.agent.output_file import OutputFile
from server.agent.process_tree import Tree
from server.agent.runner import Runner
from server.core import agent_wire as wire
from server.core.agent_memory import RunRecord
from server.core.exit_rules import ExitRules, judge, wrong_exit_rules
from server.core.model import Specification
from tests.unit.test_reports import START_US, Master

PICKY = ExitRules(success_codes=(0, 3), success_pattern="^done", failure_pattern="(?i)error")


@pytest.mark.parametrize(
    ("code", "signal", "found", "expected"),
    [
        (0, None, ["success"], ("succeeded", "")),
        (3, None, ["success"], ("succeeded", "exit code 3 is success")),
        (0, None, [], ("failed", "its output does not hold ^done")),
        (0, None, ["success", "failure"], ("failed", "its output holds (?i)error")),
        (1, None, ["success"], ("failed", "")),
        (None, 9, ["success"], ("failed", "")),
        (None, None, [], ("", "")),
    ],
)
def test_the_rules_as_a_table(
    code: int | None, signal: int | None, found: list[str], expected: tuple[str, str]
) -> None:
    """Code, then the pattern of failure, then that of success; a signal fails; what nobody knows is not judged."""
    assert judge(PICKY, code, signal, found) == expected


def test_wrong_rules_name_their_fields() -> None:
    """No code, codes that no process has, and patterns that are none."""
    assert set(wrong_exit_rules(ExitRules(success_codes=(), failure_pattern="("))) == {
        "exit_rules.success_codes",
        "exit_rules.failure_pattern",
    }
    assert set(wrong_exit_rules(ExitRules(success_codes=(256,)))) == {"exit_rules.success_codes"}
    assert wrong_exit_rules(PICKY) == {}


def judged(tmp_path: Path, output: bytes, rules: ExitRules, bytes_max: int = 1 << 22) -> wire.Ended:
    """The end that the agent reads from what the keeper wrote of a run that printed `output` and exited with 0."""
    directory = tmp_path / "runs" / "j1.rx.a1"
    directory.mkdir(parents=True)
    file = OutputFile(directory, bytes_max)
    file.write(output)
    reading, writing = os.pipe()
    one = children.Child("j1.rx.a1", None, reading, file, 1, directory, Tree("j1.rx.a1"))
    one.ended, one.patterns = (0, None), rules.patterns
    children.write_status(directory, children.finish(one))
    os.close(reading)
    os.close(writing)
    runner = Runner(tmp_path, lambda key: None, lambda key, end: None)
    specification = Specification(job_id=1, job_name="x", command="x", exit_rules=rules)
    runner._note(RunRecord("j1.rx.a1", specification, "intent", 1, 1, "boot"))
    end = runner._files.status("j1.rx.a1", runner._rules["j1.rx.a1"])
    assert end is not None
    return end


def test_the_keeper_looks_for_patterns_and_the_agent_judges(tmp_path: Path) -> None:
    """From the output file over the status file to the report."""
    end = judged(tmp_path, b"step 1\nError: no space\ndone\n", PICKY)
    assert (end.exit_code, end.verdict, end.why) == (0, "failed", "its output holds (?i)error")
    assert json.loads((tmp_path / "runs/j1.rx.a1/status").read_bytes())["found"] == ["success", "failure"]


def test_both_ends_of_a_long_output_are_looked_at(tmp_path: Path) -> None:
    """A line at the beginning and one at the end are found; what lies far between both is not."""
    far = b"x" * (children.JUDGED_BYTES + 100) + b"\n"
    end = judged(tmp_path, b"done\n" + far + b"error\n" + far, PICKY)
    assert end.verdict == "succeeded"
    assert judged(tmp_path / "second", far + far + b"error\ndone\n", PICKY).verdict == "failed"


def test_a_verdict_decides_the_state_of_the_run() -> None:
    """Exit code 3 that is success, exit code 0 that is none; without a verdict the code alone decides, as before."""
    for body, state, reason in (
        (wire.Ended(3, None, 1, 2, 0, False, verdict="succeeded", why="exit code 3 is success"), "succeeded", "exit c"),
        (wire.Ended(0, None, 1, 2, 0, False, verdict="failed", why="its output holds x"), "failed", "its output"),
        (wire.Ended(0, None, 1, 2, 0, False), "succeeded", ""),
        (wire.Ended(None, 9, 1, 2, 0, False, cause="timeout"), "killed", "it ran longer"),
    ):
        master = Master()
        master.report(master.begun())
        master.report(body)
        assert master.run().state == state
        assert master.run().reason.startswith(reason)


def test_the_rules_travel_with_the_order(tmp_path: Path) -> None:
    """What an agent is told of a job holds them, and they pass its spool and the wire unchanged."""
    master = Master()
    job = master.add_job("picky", exit_rules=PICKY, now_us=START_US)
    dispatch = wire.Dispatch(
        "j1.rx.a1", Specification(job_id=job.id, job_name="x", command="x", exit_rules=job.exit_rules)
    )
    assert wire.decode_from_node(wire.encode(dispatch)) == dispatch
    assert job.exit_rules == PICKY
