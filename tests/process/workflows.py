"""A backup of five steps over three agents, struck in every step and between any two; a file that steps fsync is the
witness of what ran how often.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from tests.process.checker import Verdict
from tests.process.cluster import Pair, running_pair
from tests.process.programs import BIN, ROOT, end_everything_in
from tests.process.workflow_chains import without_a_master

AGENTS = ("alpha", "beta", "gamma")
WITNESS = "alpha"
"""Declared dead it has lost its seat: no takeover without loss until it is seated again."""
STEPS = ("dump", "copy", "verify", "upload", "report")
TABLE = {
    "dump": (2, 1, 1, 1, 1),
    "copy": (2, 2, 1, 1, 1),
    "verify": (1, 1, 2, 1, 1),
    "upload": (1, 1, 2, 2, 1),
    "report": (1, 1, 1, 1, 2),
}
"""How often each step runs when that one is interrupted: the table of docs/workflow-runs.md, copied by hand."""
ONCE = (1, 1, 1, 1, 1)
SCRIPT = """#!/bin/sh
# Says durably that it began, where, and how many earlier steps told it something; works; says that it ends.
said="$UNDERSTUDY_WORKFLOW_RUN $UNDERSTUDY_STEP $UNDERSTUDY_ATTEMPT $1 $(env | grep -c '^DONE_')"
echo "start $said" >> '{ran}'
sync '{ran}'
sleep {seconds}
echo "DONE_$UNDERSTUDY_STEP=$UNDERSTUDY_ATTEMPT" >> "$UNDERSTUDY_OUTPUTS"
echo "end $said" >> '{ran}'
sync '{ran}'
"""
WORKFLOW = """
name: backup
group: machines
steps:
  - name: dump
    command: {command}
    restartable: true
  - name: copy
    command: {command}
    after: dump
    checkpoint: true
    restartable: true
  - name: verify
    command: {command}
    after: copy
    restartable: true
  - name: upload
    command: {command}
    after: verify
    checkpoint: true
    restartable: true
  - name: report
    command: {command}
    after: upload
    restartable: true
"""
Say = Callable[[str], None]


class Line(NamedTuple):
    """One line of the file: start | end, of which run, step and attempt, on which agent, with how many outputs."""

    word: str
    run: int
    step: str
    attempt: int
    agent: str
    given: int


@dataclass
class Backup:
    """A pair with three agents in a group, and the workflow."""

    pair: Pair
    asked: int = 0
    kinds: Counter[str] = field(default_factory=Counter)

    @property
    def ran_file(self) -> Path:
        return self.pair.directory / "ran"

    def make(self, seconds: float) -> None:
        """Agent, group, script, workflow; by the commands that people type."""
        self.pair.add_agent("gamma")
        master, _ = self.pair.wait_healthy()
        script = self.pair.directory / "step.sh"
        script.write_text(SCRIPT.format(ran=self.ran_file, seconds=seconds))
        script.chmod(0o755)
        self.ran_file.touch()
        self.pair.type(master, "understudy", "group", "create", "machines", *AGENTS, "--policy", "round_robin")
        text = self.pair.directory / "backup.yaml"
        text.write_text(WORKFLOW.format(command=f"{script} $UNDERSTUDY_AGENT_SOCKET"))
        self.pair.type(master, "understudy", "workflow", "create", str(text))

    def ask(self, method: str, path: str, body: Any = None, key: str = "") -> Any:
        """One request to whoever is master, repeated with its key."""

        def answered() -> Any:
            for node in self.pair.nodes.values():
                api = node.api
                try:
                    answer = api.request(method, path, body, key=key)
                except Exception:
                    continue
                finally:
                    api.close()
                if answer.status < 300:
                    return answer.value
            return None

        return self.pair.wait(f"{method} {path}", answered)

    def begin(self) -> int:
        """Ask for a run until it is answered, with one key."""
        self.asked += 1
        return int(self.ask("POST", "/api/v1/workflows/backup/run", {}, f"backup-{self.asked}")["workflow_run"])

    def lines(self, run: int) -> list[Line]:
        """What the steps of a run wrote."""
        found = []
        for text in self.ran_file.read_text().split("\n")[:-1]:
            word, number, step, attempt, socket, given = text.split(" ")
            found.append(Line(word, int(number), step, int(attempt), Path(socket).parent.name, int(given)))
        return [line for line in found if line.run == run]

    def wait_line(self, run: int, word: str, step: str) -> Line:
        """Wait until a step has written that word."""

        def there() -> Line | None:
            return next((line for line in self.lines(run) if (line.word, line.step) == (word, step)), None)

        return self.pair.wait(f"step {step} to {word}", there)

    def strike(self, kind: str, agent: str) -> None:
        """What happens to the machine of a step, or to the pair."""
        pair = self.pair
        if kind == "agent":
            pair.agents[agent].program.kill()
            pair.agents[agent].program.start()
        elif kind in ("machine", "dead"):
            pair.agents[agent].program.kill()
            end_everything_in(pair.agents[agent].data)
            if kind == "machine":
                pair.agents[agent].program.start()
            else:
                self._declare_dead(agent)
        elif kind == "master":
            master = pair.node("master")
            master.program.kill()
            master.program.start()
        elif kind == "failover":
            master, standby = pair.node("master"), pair.node("standby")
            master.program.kill()
            pair.type(standby, "standby-to-master", "--yes")
            master.program.start()
        else:
            pair.type(pair.node("master"), "understudy", "swap", "--yes")

    def _declare_dead(self, agent: str) -> None:
        """Once the master says that it is silent: before, nothing of its step may run elsewhere."""

        def silent() -> bool:
            found = self.ask("GET", "/api/v1/agents")
            return any(one["name"] == agent and one["silent_since_us"] is not None for one in found)

        before = len(self.ran_file.read_text())
        self.pair.wait(f"{agent} to be silent", silent)
        assert len(self.ran_file.read_text()) == before, "a step ran elsewhere although nothing was certain"
        self.pair.type(self.pair.node("master"), "understudy", "agent", "declare-dead", agent, "--yes")

    def mend(self, kind: str, agent: str) -> None:
        """Bring back what was struck."""
        if kind == "dead":
            self.pair.type(self.pair.node("master"), "understudy", "agent", "accept-restored", agent)
            self.pair.agents[agent].program.start()
        self.pair.wait_healthy()
        if kind == "dead" and agent == WITNESS:
            self.pair.type(self.pair.node("master"), "understudy", "witness", "set", WITNESS)
            self.pair.wait_healthy()

    def judge(self, run: int, expected: tuple[int, ...]) -> list[str]:
        """What is wrong, as sentences: by the file, and by the rows of the master."""
        found = self.lines(run)
        starts = Counter(line.step for line in found if line.word == "start")
        counts = tuple(starts[step] for step in STEPS)
        wrong = [] if counts == expected else [f"steps ran {counts} times, promised {expected}"]
        for line in found:
            if line.word == "start" and line.given != STEPS.index(line.step):
                wrong.append(f"{line.step} was given {line.given} outputs")
        twice = Counter((line.step, line.attempt) for line in found if line.word == "start")
        wrong += [f"attempt {attempt} of {step} began {n} times" for (step, attempt), n in twice.items() if n > 1]
        rows = self.ask("GET", f"/api/v1/workflow-runs/{run}")
        wrong += [f"{item['step']} is {item['state']}" for item in rows["items"] if item["state"] != "succeeded"]
        return wrong

    def round(self, kind: str, word: str, step: str) -> str:
        """One backup, struck once; raises AssertionError unless every step ran as often as promised."""
        began = time.monotonic()
        run = self.begin()
        line = self.wait_line(run, word, step)
        self.strike(kind, line.agent)

        def ended() -> str | None:
            state = str(self.ask("GET", f"/api/v1/workflow-runs/{run}")["state"])
            return state if state in ("succeeded", "failed", "cancelled", "deciding") else None

        state = self.pair.wait("the workflow to end", ended, 120)
        expected = TABLE[step] if kind in ("machine", "dead") else ONCE
        wrong = self.judge(run, expected) + ([] if state == "succeeded" else [f"it is {state}"])
        where = "in" if word == "start" else "after"
        said = f"{kind} struck {where} {step} on {line.agent}"
        shown = "\n".join(map(str, self.lines(run)))
        assert not wrong, f"{said}: {'; '.join(wrong)}\n{shown}\n{self.pair.tails()}"
        on = {line.step: line.agent for line in self.lines(run) if line.word == "end"}
        self.mend(kind, line.agent)
        self.kinds[kind] += 1
        places = " ".join(on[one] for one in STEPS)
        return f"{said}: ran {expected} times, ended on {places}; {time.monotonic() - began:.0f} s"


IN_STEPS = [
    (kind, "start", step) for step in STEPS for kind in ("machine", "agent", "master", "swap", "failover", "dead")
]
BETWEEN = [(kind, "end", step) for step in STEPS[:-1] for kind in ("agent", "master", "swap", "failover")]
ALL = [*IN_STEPS, *BETWEEN]
"""46 of them: each is one round."""


def workflows(directory: Path, count: int, say: Say) -> Verdict:
    """Backups, each struck at another point: agents, whole machines, masters, swaps, failovers, dead machines."""
    with running_pair(directory, witness=WITNESS) as pair:
        backup = Backup(pair)
        backup.make(0.5)
        for number in range(count):
            said = backup.round(*ALL[number % len(ALL)])
            say(f"{number + 1}: {said}")
        totals = ", ".join(f"{kind} {n}" for kind, n in sorted(backup.kinds.items()))
        say(f"{backup.asked} backups, struck: {totals}; every step ran as often as promised")
        return Verdict({"backups": backup.asked, **dict(backup.kinds)}, ())


SAMPLES = ROOT / "docs" / "samples"


def create_machine(pair: Pair, say: Say) -> None:
    """The sample: created once, although its machine is lost while it is configured; nobody does anything by hand."""
    place = pair.directory / "machines"
    master = pair.node("master")
    pair.type(master, "understudy", "workflow", "create", str(SAMPLES / "create-machine.yaml"))
    words = ("--set", f"PLACE={place}", "--set", "CONFIGURE_S=1", "--json")
    begun = json.loads(pair.type(master, "understudy", "workflow", "run", "create-machine", *words))
    run = int(begun["workflow_run"])
    pair.wait("the machine to be configured", lambda: (place / "configured").exists())
    [item] = [one for one in _status(pair, run)["items"] if one["step"] == "configure"]
    struck = pair.agents[item["agent"]]
    struck.program.kill()
    end_everything_in(struck.data)
    struck.program.start()
    pair.wait("the workflow to succeed", lambda: _status(pair, run)["state"] == "succeeded")
    assert (place / "created").read_text().split() == [f"machine-{run}"]
    assert (place / "configured").read_text().split() == [f"machine-{run}"] * 2
    say(f"create-machine: created once, configured twice, after {item['agent']} was lost")
    pair.wait_healthy()


def logger(pair: Pair, say: Say) -> None:
    """The sample: 20 loops, suspended on one worker and resumed on the other with the next loop."""
    log = pair.directory / "loops"
    master = pair.node("master")
    pair.type(master, "understudy", "workflow", "create", str(SAMPLES / "logger.yaml"))
    words = ("--set", f"LOG={log}", "--set", "PAUSE_S=0.05", "--set", f"PATH={BIN}:/usr/bin:/bin", "--json")
    run = int(json.loads(pair.type(master, "understudy", "workflow", "run", "logger", *words))["workflow_run"])
    pair.wait("five loops", lambda: log.exists() and len(log.read_text().splitlines()) >= 5)
    first = Path(log.read_text().split()[1]).parent.name
    pair.type(master, "understudy", "workflow", "suspend", str(run))
    pair.wait("the workflow to be suspended", lambda: _status(pair, run)["state"] == "suspended")
    pair.type(master, "understudy", "agent", "drain", first, "--time", "60")
    pair.type(master, "understudy", "workflow", "resume", str(run))
    pair.wait("the workflow to succeed", lambda: _status(pair, run)["state"] == "succeeded")
    found = [line.split(" ") for line in log.read_text().splitlines()]
    assert [int(number) for number, _ in found] == list(range(1, 21))
    places = [Path(socket).parent.name for _, socket in found]
    assert len(set(places)) == 2, places
    say(f"logger: loops 1 to {places.count(first)} on {first}, the others on {places[-1]}")


def _status(pair: Pair, run: int) -> Any:
    """What the master's command says of a workflow's run."""
    return json.loads(pair.type(pair.node("master"), "understudy", "workflow", "status", str(run), "--json"))


def samples(pair: Pair, say: Say) -> None:
    """Both, in a group of two workers."""
    pair.type(pair.node("master"), "understudy", "group", "create", "workers", *AGENTS[:2])
    create_machine(pair, say)
    logger(pair, say)


def small(directory: Path, say: Say) -> None:
    """A machine lost behind the first checkpoint, a failover between two; the samples; an outage of the master."""
    with running_pair(directory, witness=WITNESS) as pair:
        backup = Backup(pair)
        backup.make(0.3)
        for point in (("machine", "start", "upload"), ("failover", "end", "copy")):
            say(backup.round(*point))
        samples(pair, say)
        without_a_master(pair, say)
