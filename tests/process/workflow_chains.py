"""The master is gone while a workflow's steps run on one agent: they go on, the step on another one waits (JS7-4)."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from server.core.workflow_waits import FOR_MASTER, MAY_HAVE_BEGUN
from tests.process.cluster import Pair

HERE, THERE = "beta", "gamma"
SCRIPT = """#!/bin/sh
# Says durably that it began, and what the step before it told; the first one then waits until the master is gone;
# works; tells the next one; says that it ends.
echo "start $UNDERSTUDY_STEP $UNDERSTUDY_ATTEMPT $TOLD" >> '{ran}'
sync '{ran}'
[ "$UNDERSTUDY_STEP" != a ] || until [ -e '{ran}.gone' ]; do sleep 0.1; done
sleep 0.3
echo "TOLD=$UNDERSTUDY_STEP" >> "$UNDERSTUDY_OUTPUTS"
echo "end $UNDERSTUDY_STEP $UNDERSTUDY_ATTEMPT $TOLD" >> '{ran}'
sync '{ran}'
"""
WORKFLOW = """
name: chain
agent: {here}
steps:
  - {{name: a, command: '{command}'}}
  - {{name: b, command: '{command}', after: a}}
  - {{name: c, command: '{command}', after: b}}
  - {{name: d, command: '{command}', after: c, agent: {there}}}
"""
EXPECTED = {"start a 1 ": 1, "start b 1 a": 1, "start c 1 b": 1}


def without_a_master(pair: Pair, say: Callable[[str], None]) -> None:
    """kill -9 of the master after the first step's dispatch, and of the agent once it has run three steps alone."""
    ran, script, text = (pair.directory / name for name in ("chained", "chained.sh", "chain.yaml"))
    script.write_text(SCRIPT.format(ran=ran))
    script.chmod(0o755)
    ran.touch()
    text.write_text(WORKFLOW.format(here=HERE, there=THERE, command=script))
    master, standby = pair.wait_healthy()
    pair.type(master, "understudy", "workflow", "create", str(text))
    begun = json.loads(pair.type(master, "understudy", "workflow", "run", "chain", "--json"))
    number = int(begun["workflow_run"])
    pair.wait("the first step to begin", lambda: "start a 1 " in _lines(ran))
    master.program.kill()
    ran.with_name("chained.gone").touch()
    pair.wait("three steps to end without a master", lambda: "end c 1 b" in _lines(ran))
    assert standby.status().get("role") == "standby", "nobody was to take over"
    assert _starts(ran) == EXPECTED, ran.read_text()
    say("without a master: a, b and c ran on one agent, each told by the one before; d did not begin")
    pair.agents[HERE].program.kill()
    master.program.start()

    def waiting() -> Any:
        if not master.is_master():
            return None
        found = json.loads(pair.type(master, "understudy", "workflow", "status", str(number), "--json"))
        return found if found["waits"] else None

    found = pair.wait("the workflow's run to say what it waits for", waiting)
    assert found["items"][0]["run_state"] == "unknown", found
    assert found["waits"]["b"].startswith(f"{MAY_HAVE_BEGUN} on {HERE}"), found
    assert found["waits"]["d"].startswith(f"{FOR_MASTER}: {HERE} is silent"), found
    said = pair.type(master, "understudy", "workflow", "status", str(number))
    say(next(line.strip() for line in said.splitlines() if FOR_MASTER in line))
    pair.agents[HERE].program.start()
    pair.wait("the workflow to succeed", lambda: _succeeded(pair, number))
    assert _starts(ran) == {**EXPECTED, "start d 1 c": 1}, ran.read_text()
    say("the agent is back: d ran on the other agent, each step once")
    pair.wait_healthy()


def _succeeded(pair: Pair, number: int) -> bool:
    status = pair.type(pair.node("master"), "understudy", "workflow", "status", str(number), "--json")
    return bool(json.loads(status)["state"] == "succeeded")


def _lines(ran: Path) -> list[str]:
    return ran.read_text().split("\n")[:-1]


def _starts(ran: Path) -> dict[str, int]:
    return dict(Counter(line for line in _lines(ran) if line.startswith("start ")))
