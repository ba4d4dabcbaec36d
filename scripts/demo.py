"""A master, a standby and two agents on loopback, running real jobs: what `./scripts/demo` runs.

Everything is a process of its own, started through the same commands that an administrator types. Ctrl-C stops all of
them, by pid; with --data the pair is kept and goes on the next time.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from scripts.demo_jobs import crontabs
from scripts.demo_pair import AGENTS, NODES, DemoError, Pair, must, new_password, understudy, write_private

HERE = Path(sys.executable).parent
ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


# bring the pair up


def bring_up(pair: Pair) -> None:
    """Found or continue: both nodes, the standby in sync, the agents, their jobs; what is there is not done again."""
    if not pair.has("alpha"):
        with step("found a cluster: alpha", "understudy init"):
            write_private(pair.password_file, new_password())
            init = ("init", "--data", str(pair.data / "alpha"), "--name", "alpha")
            must(*understudy(*init, "--password-file", str(pair.password_file)))
    with step("start alpha and beta", "understudy serve"):
        for node in NODES:
            pair.serve(node)
        if not pair.has("beta"):
            pair.until("the master", lambda: pair.master() == "alpha")
    if not pair.has("beta"):
        with step("make beta the standby of alpha", "master-to-standby"):
            join_standby(pair)
    with step("wait until the standby has everything", "understudy status"):
        pair.until("a standby in sync", pair.is_whole)
    with step("start two agents: north and south", "understudy agent"):
        for agent in AGENTS:
            start_agent(pair, agent)
        pair.until("both agents", lambda: pair.active_agents() == len(AGENTS))
    if not (pair.data / "site").exists():
        import_jobs(pair)


def join_standby(pair: Pair) -> None:
    """Enrol beta with the administrator's password and the fingerprint, as over a network."""
    token = json.loads(must(*understudy("user", "token", "create", "--json", "--data", str(pair.data / "alpha"))))
    write_private(pair.token_file, token["token"])
    command = [sys.executable, "-m", "scripts.master_to_standby", "--data", str(pair.data / "beta"), "--yes"]
    command += ["--master", NODES["alpha"], "--port", str(pair.ports[0]), "--fingerprint", fingerprint(pair)]
    must(*command, "--name", "beta", "--password-file", str(pair.password_file))


def fingerprint(pair: Pair) -> str:
    """The cluster's fingerprint, as Server Properties shows it."""
    from server.trust.tls import fingerprint

    return fingerprint((pair.data / "alpha" / "ca.crt").read_bytes())


def start_agent(pair: Pair, name: str) -> None:
    """Start an agent; a new one with a join token, in its environment and not in the list of processes."""
    environment = {}
    if not pair.has(name):
        node = str(pair.data / (pair.master() or "alpha"))
        invited = must(*understudy("agent", "invite", "--name", name, "--json", "--data", node))
        environment["UNDERSTUDY_JOIN"] = json.loads(invited)["token"]
    pair.start(name, "agent", "--data", str(pair.data / name), **environment)


def import_jobs(pair: Pair) -> None:
    """Make jobs of two system crontabs, and show what became of each line."""
    documents, site = pair.data / "documents", pair.data / "site"
    shutil.copytree(Path(__file__).resolve().parent.parent / "templates", documents, dirs_exist_ok=True)
    site.mkdir()
    for agent, text in crontabs(site, documents).items():
        file = pair.data / f"{agent}.crontab"
        file.write_text(text)
        with step(f"import {file.name}", "understudy import crontab"):
            command = ("import", "crontab", str(file), "--system", "--agent", agent, "--prefix", agent)
            data = str(pair.data / (pair.master() or "alpha"))
            report = subprocess.run(understudy(*command, "--data", data), capture_output=True).stdout
        for line in report.decode(errors="replace").splitlines():
            if " job " in line or " refused " in line:
                say("       " + shortened(" ".join(line.split())))


# what it shows


def jobs(pair: Pair) -> list[str]:
    """The names of all jobs, in the order in which they were made."""
    rows = pair.ask("job", "list", node=pair.master()) or []
    return [row["name"] for row in sorted(rows, key=lambda row: row["id"])]


def run_each(pair: Pair) -> None:
    """Run every job once now and say how it ended."""
    say("\nEach job once, now: understudy run now JOB --wait")
    for job in jobs(pair):
        done = subprocess.run(pair.over_http("run", "now", job, "--wait"), capture_output=True, text=True)
        say(f"  {job:<20} {(done.stdout or done.stderr).strip().splitlines()[-1]}")


def show_addresses(pair: Pair) -> None:
    """Where to look, the password, and what to type next."""
    master = pair.master()
    standby = next(node for node in NODES if node != master)
    at = f"--data {pair.data}"
    say(
        f"""
Master    {pair.url(master)}   {master}
Standby   {pair.url(standby)}   {standby}
Sign in   admin   {pair.password_file.read_text().strip()}
          The browser warns once for each address: the certificate is the cluster's own.

Try       {HERE}/understudy status {at}/{master}
          {HERE}/understudy run list {at}/{master}
          {HERE}/understudy swap {at}/{master}
Logs      {pair.data}/*.log

Ctrl-C stops everything."""
    )


def swap(pair: Pair) -> int:
    """One planned swap while jobs run; prints the report and what both nodes say of it. The swap's exit code."""
    before = pair.master()
    stop = threading.Event()
    submitted: list[dict[str, Any]] = []
    failed: list[str] = []
    work = threading.Thread(target=keep_running, args=(pair, stop, submitted, failed))
    work.start()
    try:
        pair.until("runs before the swap", lambda: len(submitted) >= 2)
        say(f"\nOne planned swap while jobs run: understudy swap --yes   ({before} is master)")
        done = subprocess.run(understudy("swap", "--yes", "--data", str(pair.data / before)))
        count = len(submitted)
        pair.until("runs after the swap", lambda: len(submitted) >= count + 2 or done.returncode)
    finally:
        stop.set()
        work.join()
    pair.until("a standby in sync", pair.is_whole)
    compare(pair, submitted)
    for text in failed:
        say(f"  not submitted: {text}")
    return done.returncode or int(bool(failed))


def keep_running(pair: Pair, stop: threading.Event, submitted: list[dict[str, Any]], failed: list[str]) -> None:
    """Run one job after the other as a program would that knows both addresses."""
    names = jobs(pair)
    number = 0
    while not stop.is_set():
        command = pair.over_http("run", "now", names[number % len(names)], "--wait", "--json")
        done = subprocess.run(command, capture_output=True, text=True, start_new_session=True)
        answer = json.loads(done.stdout) if done.stdout.startswith("{") else {}
        if "key" in answer:
            submitted.append(answer)
        else:
            failed.append(done.stderr.strip() or f"exit code {done.returncode}")
        number += 1


def compare(pair: Pair, submitted: Sequence[dict[str, Any]]) -> None:
    """Ask each node for itself: epoch, position, and the runs submitted meanwhile."""
    keys = {run["key"] for run in submitted}
    succeeded = sum(run["state"] == "succeeded" for run in submitted)
    say(f"\n{len(keys)} runs were submitted before, during and after the swap; {succeeded} succeeded.")
    for node in NODES:
        status = pair.ask("status", node=node) or {}
        known = {row["key"] for row in pair.ask("run", "list", "--limit", "1000", node=node) or []}
        position = status.get("position", {})
        say(
            f"  {node:<6} {status.get('role'):<8} epoch {status.get('epoch')}, request {position.get('sequence')}, "
            f"chain {str(position.get('hash'))[:12]}, knows {len(keys & known)} of {len(keys)} runs"
        )


# on the screen


def say(text: str) -> None:
    """Print for people, at once, so that it stands in order with what commands print."""
    print(text, flush=True)


def shortened(line: str, width: int = 110) -> str:
    """The line, cut where a terminal would fold it."""
    return line if len(line) <= width else line[: width - 1] + "…"


@contextmanager
def step(text: str, command: str) -> Iterator[None]:
    """Say what is done and by which command, and how long it took."""
    print(f"  {text:<38} {command:<27}", end="", flush=True)
    started = time.monotonic()
    try:
        yield
    except BaseException:
        print(flush=True)
        raise
    print(f"{time.monotonic() - started:5.1f} s", flush=True)


def demonstrate(pair: Pair, is_swap: bool) -> int:
    """Everything between the first line and the last; the exit code."""
    say(f"Understudy: a master, a standby and two agents on this machine, in {pair.data}")
    bring_up(pair)
    run_each(pair)
    if is_swap:
        return swap(pair)
    show_addresses(pair)
    threading.Event().wait()
    return 0


def main(arguments: list[str] | None = None) -> int:
    """`./scripts/demo`: 0, or the swap's exit code; 1 when the pair does not come up; 130 after Ctrl-C."""
    parser = argparse.ArgumentParser(prog="demo", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--swap", action="store_true", help="perform one planned swap under running jobs, then end")
    parser.add_argument("--data", type=Path, metavar="DIR", help="keep everything here for the next time")
    options = parser.parse_args(arguments)
    for number in ENDINGS:
        signal.signal(number, signal.default_int_handler)
    data = (options.data or Path(tempfile.mkdtemp(prefix="understudy-demo-"))).absolute()
    data.mkdir(parents=True, exist_ok=True)
    pair = Pair(data)
    is_kept = options.data is not None
    try:
        return demonstrate(pair, options.swap)
    except DemoError as error:
        print(f"demo: {error}\nThe logs are kept: {data}/*.log", file=sys.stderr)
        is_kept = True
        return 1
    except KeyboardInterrupt:
        return 130
    finally:
        for number in ENDINGS:  # one Ctrl-C is enough; a second must not leave processes behind
            signal.signal(number, signal.SIG_IGN)
        say("\nStopping…")
        pair.stop()
        if not is_kept:
            shutil.rmtree(data, ignore_errors=True)
        say(f"Stopped. {f'Kept in {data}; the next time: ./scripts/demo --data {data}' if options.data else ''}")


if __name__ == "__main__":
    sys.exit(main())
