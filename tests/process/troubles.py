"""Operators' mistakes and broken machines, one by one: the error names the command to type next, and typing it helps.

Each trouble is put on a healthy pair under load, or on a master that has no standby yet, and the pair is whole again
at the end. `typed` is what the test read in the error and typed.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.process.checker import Verdict
from tests.process.cluster import Agent, Node, Pair, running_pair
from tests.process.programs import BIN, Program, command
from tests.process.workload import Workload

COMMAND = re.compile(r"\b((?:understudy|master-to-standby|standby-to-master) [^`\n]*[^`\n.,;:)])")
Trouble = Callable[[Pair], str]


def named_command(text: str, verb: str) -> list[str]:
    """The command with this verb that an error names, as words; an assertion error when it names none."""
    found = [shlex.split(command) for command in COMMAND.findall(text)]
    fitting = [words for words in found if verb in words]
    assert fitting, f"the error names no command `{verb}` to type next:\n{text}"
    return fitting[0]


RECORDS = 8
"""So many that the middle of a segment is not its last one: a damaged end counts as torn, and comes again."""


def line_with(text: str, word: str) -> str:
    """The last line that has this word."""
    return [line for line in text.splitlines() if word in line.lower()][-1]


def refused(pair: Pair, node: Node, *words: str) -> str:
    """Type a command that must fail, without a traceback; returns what it printed."""
    done = command(*words, "--data", str(node.data))
    shown = done.stdout + done.stderr
    assert done.returncode != 0, f"{words} should have failed:\n{shown}"
    assert "Traceback" not in shown, shown
    return shown


def enrol_words(pair: Pair, master: Node, **changes: str) -> list[str]:
    """`master-to-standby` with everything right but the changes."""
    flags = {
        "master": master.host,
        "port": str(master.port),
        "fingerprint": pair.fingerprint(master),
        "password-file": str(pair.password_file),
    } | changes
    return ["master-to-standby", "--yes", *(word for flag, value in flags.items() for word in (f"--{flag}", value))]


def wrong_password(pair: Pair, master: Node, new: Node) -> str:
    """A wrong password is refused, nothing is changed, and the error names the flag for the right one."""
    wrong = pair.directory / "wrong"
    wrong.write_text("not the password")
    shown = refused(pair, new, *enrol_words(pair, master, **{"password-file": str(wrong)}))
    assert "password" in shown.lower(), shown
    assert not (new.data / "node.crt").exists()
    return shown


def wrong_port(pair: Pair, master: Node, new: Node) -> str:
    """The cluster port instead of the web port is noticed and named."""
    shown = refused(pair, new, *enrol_words(pair, master, port=str(master.cluster_port)))
    assert "--port" in shown or "web port" in shown, shown
    return shown


def wrong_fingerprint(pair: Pair, master: Node, new: Node) -> str:
    """A wrong fingerprint stops before the password is sent, and the error says where the right one is shown."""
    shown = refused(pair, new, *enrol_words(pair, master, fingerprint="ab" * 32))
    assert "--fingerprint" in shown, shown
    return shown


def nobody_there(pair: Pair, master: Node, new: Node) -> str:
    """A port on which nobody listens is an error that says so."""
    shown = refused(pair, new, *enrol_words(pair, master, port="1"))
    assert "does not answer" in shown, shown
    return shown


ENROLMENT = (wrong_password, wrong_port, wrong_fingerprint, nobody_there)
"""Tried at an empty node before it is enrolled; each leaves it as it was."""


def second_serve(pair: Pair) -> str:
    """A second `serve` on a directory in use is refused; the first goes on."""
    master = pair.node("master")
    shown = refused(pair, master, "understudy", "serve", "--host", master.host)
    assert master.is_master()
    return shown


def another_cluster(pair: Pair) -> str:
    """A node of another cluster is refused and its directory left as it is."""
    master = pair.node("master")
    stranger = pair.directory / "stranger"
    if not stranger.exists():
        made = command("understudy", "init", "--data", str(stranger), "--password-file", str(pair.password_file))
        assert made.returncode == 0, made.stderr
    before = sorted((path, path.stat().st_mtime_ns) for path in stranger.glob("*.crt"))
    done = command(*enrol_words(pair, master), "--data", str(stranger))
    shown = done.stdout + done.stderr
    assert done.returncode != 0, shown
    assert "another cluster" in shown, shown
    assert sorted((path, path.stat().st_mtime_ns) for path in stranger.glob("*.crt")) == before
    return shown


def flipped_byte(pair: Pair) -> str:
    """A byte flipped in the middle of the standby's journal is found at its start, and fetched from the master."""
    master, standby = pair.wait_healthy()
    api = master.api
    for number in range(RECORDS):
        api.post("/api/v1/tokens", {"name": f"record-{number}"}, key=f"record-{number}-{time.time_ns()}")
    api.close()
    standby.program.kill()
    segment = max((standby.data / "journal").iterdir(), key=lambda path: path.stat().st_mtime)
    _flip(segment)
    standby.program.start()
    pair.wait_healthy()
    return line_with(standby.program.tail(60), "mended")


def _flip(segment: Path) -> None:
    """Turn over one byte in the middle of what is written of a segment (it is allocated in advance)."""
    content = bytearray(segment.read_bytes())
    written = len(bytes(content).rstrip(b"\0"))
    content[written // 2] ^= 0xFF
    segment.write_bytes(bytes(content))


def standby_clock(pair: Pair) -> str:
    """With the standby's clock an hour off, the check of a swap says so; it goes on when the clock is right."""
    master, standby = pair.wait_healthy()
    standby.program.stop()
    standby.program.extra["UNDERSTUDY_TEST_CLOCK_OFFSET_S"] = "3600"
    standby.program.start()
    pair.wait_healthy()
    shown = pair.type(master, "understudy", "swap", "--check", expect=1)
    assert "clock" in shown.lower(), shown
    standby.program.stop()
    del standby.program.extra["UNDERSTUDY_TEST_CLOCK_OFFSET_S"]
    standby.program.start()
    pair.wait_healthy()
    pair.type(master, "understudy", "swap", "--check", expect=0)
    return line_with(shown, "clock")


def cloned_agent(pair: Pair) -> str:
    """A copy of an agent's directory that runs beside it is quarantined; the command of its alarm ends that.

    The scheduler is stopped meanwhile. A copy on another machine begins nothing before a master has answered; one on
    the same machine, since the same boot, is to the agent a restart, and begins what is due until it has connected.
    """
    agent, master = pair.agents["beta"], pair.node("master")
    pair.type(master, "understudy", "scheduler", "stop")
    pair.wait("all agents to know it", lambda: (master.status().get("queues") or {}).get("unacknowledged") == 0)
    clone_data = pair.directory / "clone"
    agent.program.stop()
    shutil.rmtree(clone_data, ignore_errors=True)
    shutil.copytree(agent.data, clone_data, ignore=shutil.ignore_patterns("*.sock", "lock"))
    agent.program.start()
    pair.wait_healthy()
    words = [str(BIN / "understudy"), "agent", "--data", str(clone_data)]
    clone = Agent("clone", clone_data, Program("clone", words, pair.directory / "clone.log").start())
    try:
        shown = pair.wait("the quarantine", lambda: _quarantine(pair, "beta"))
    finally:
        clone.program.kill()
    pair.type(master, *named_command(shown, "accept-restored"))
    pair.type(master, "understudy", "scheduler", "start")
    pair.wait_healthy()
    return shown


def _quarantine(pair: Pair, name: str) -> str:
    api = pair.node("master").api
    try:
        agent = api.get(f"/api/v1/agents/{name}")
    finally:
        api.close()
    return str(agent["quarantine_reason"])


def full_disk(pair: Pair) -> str:
    """A standby whose disk is full says so and what to do; with space again it goes on. Needs root (a tmpfs)."""
    _, standby = pair.wait_healthy()
    ballast = standby.data / "ballast"
    with suppress(OSError), ballast.open("wb") as file:
        while True:
            file.write(bytes(1 << 20))
            file.flush()
    shown = pair.wait(
        "`understudy status` to tell of the full disk", lambda: _status_with(pair, standby, "no space left")
    )
    ballast.unlink()
    if not standby.program.running:
        standby.program.start()
    pair.wait_healthy(120)
    return line_with(shown, "no space left")


def _status_with(pair: Pair, node: Node, words: str) -> str:
    """What `understudy status` on a node says, once it has these words."""
    said = pair.type(node, "understudy", "status", expect=None)
    return said if words in said.lower() else ""


@contextmanager
def small_disk(path: Path, mebibytes: int) -> Iterator[bool]:
    """A tmpfs of its own on `path` while this lasts; False where mounting is not allowed."""
    path.mkdir(parents=True, exist_ok=True)
    words = ["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m,mode=700", "tmpfs", str(path)]
    mounted = subprocess.run(words, capture_output=True, check=False).returncode == 0
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "--lazy", str(path)], check=True)


UNDER_LOAD: tuple[Trouble, ...] = (second_serve, another_cluster, flipped_byte, standby_clock, cloned_agent)
"""Put on a healthy pair under load."""


def troubles(directory: Path, count: int, say: Callable[[str], None]) -> Verdict:
    """Each trouble `count` times; every write acknowledged meanwhile is kept, and every run happened once."""

    def before_enrolment(pair: Pair, master: Node, new: Node) -> None:
        for trouble in ENROLMENT:
            say(f"{trouble.__name__}: {_last_line(trouble(pair, master, new))}")

    with (
        small_disk(directory / "south", 256) as small,
        running_pair(directory, flags=("--mode", "strict"), before_enrolment=before_enrolment) as pair,
    ):
        load = Workload(pair).start()
        if not small:
            say("*** SKIPPED: full_disk, which needs root for a file system of its own")
        for _ in range(count):
            for trouble in (*UNDER_LOAD, *([full_disk] if small else [])):
                said = trouble(pair)
                load.wait_progress(f"load after {trouble.__name__}")
                say(f"{trouble.__name__}: {_last_line(said)}")
        return load.finish()


def _last_line(text: str) -> str:
    return text.strip().splitlines()[-1][:300]
