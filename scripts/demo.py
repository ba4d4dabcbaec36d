"""A master, a standby and two agents on loopback, running real jobs: what `./scripts/demo` runs.

Everything is a process of its own, started through the same commands that an administrator types. Ctrl-C stops all of
them, by pid; with --data the pair is kept and goes on the next time.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from scripts.demo_jobs import crontabs

READY_S = 60.0
STOP_S = 15.0
NODES = {"alpha": "127.0.0.1", "beta": "127.0.0.2"}
AGENTS = ("north", "south")


class DemoError(Exception):
    """The demo cannot go on; the text says where to look."""


class Demo:
    """The processes of the demo and what is known of them."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.ports = self._ports()
        self.password_file = data / "admin-password"
        self.token_file = data / "token"
        self.site = data / "site"

    def _ports(self) -> tuple[int, int]:
        """The web and the cluster port: the usual ones when they are free on both addresses; kept with the data."""
        kept = self.data / "ports.json"
        if kept.exists():
            web, cluster = json.loads(kept.read_text())
            return int(web), int(cluster)
        ports = (8008, 8009) if all(is_free(host, port) for host in NODES.values() for port in (8008, 8009)) else None
        found = ports or (free_port(), free_port())
        kept.write_text(json.dumps(found))
        return found

    def url(self, node: str) -> str:
        """Where a browser goes."""
        return f"https://{NODES[node]}:{self.ports[0]}"

    # processes

    def start(self, name: str, *command: str) -> None:
        """Start one command in the background; its output goes to a log below the data directory."""
        environment = {**os.environ, "UNDERSTUDY_STANDBY_STEADY_S": "2"}
        with (self.data / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                understudy(*command),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                start_new_session=True,
            )

    def stop(self) -> None:
        """Ask every process to end: agents, then the master, which closes cleanly while its standby listens."""
        master = self.master()
        for name in (*AGENTS, *sorted(NODES, key=lambda node: node != master)):
            process = self.processes.get(name)
            if process is not None and process.poll() is None:
                process.terminate()
                try:
                    process.wait(STOP_S)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()

    def until(self, what: str, condition: Any) -> None:
        """Wait for a condition; DemoError when a process died or time is up."""
        end = time.monotonic() + READY_S
        while not condition():
            for name, process in self.processes.items():
                if process.poll() is not None:
                    raise DemoError(f"{name} ended with code {process.returncode}; see {self.data / name}.log")
            if time.monotonic() > end:
                raise DemoError(f"{what} did not come within {READY_S:.0f} s; see the logs in {self.data}")
            time.sleep(0.1)

    # commands

    def ask(self, *command: str, node: str = "alpha") -> Any:
        """The JSON answer of a command on a node's own socket, or None when it fails."""
        done = run_quietly(*command, "--json", "--data", str(self.data / node))
        return json.loads(done.stdout) if done.stdout.strip().startswith((b"{", b"[")) else None

    def over_http(self, *command: str) -> list[str]:
        """The same command for a program that knows both addresses only."""
        servers = [part for node in NODES for part in ("--server", self.url(node))]
        return understudy(*command, *servers, "--token-file", str(self.token_file), "--ca", self.authority)

    @property
    def authority(self) -> str:
        """The cluster's certificate, to verify both nodes with."""
        return str(self.data / "alpha" / "ca.crt")

    def master(self) -> str:
        """The name of the node that is master now, or ""."""
        for node in NODES:
            status = self.ask("status", node=node)
            if status and status.get("role") == "master" and status.get("state") in ("MASTER", "ALONE"):
                return node
        return ""

    def is_whole(self) -> bool:
        """One master, its standby in sync."""
        statuses = [self.ask("status", node=node) for node in NODES]
        return all(status and status.get("in_sync") for status in statuses)

    # the demo itself

    def bring_up(self) -> None:
        """Found or continue: both nodes, the standby in sync, the agents, their jobs."""
        is_new = not (self.data / "alpha" / "identity.json").exists()
        if is_new:
            self._found()
        for node, host in NODES.items():
            arguments = ("--data", str(self.data / node), "--host", host)
            self.start(node, "serve", *arguments, "--port", str(self.ports[0]), "--cluster-port", str(self.ports[1]))
        if is_new:
            self.until("the master", lambda: self.master() == "alpha")
            self._join_standby()
        self.until("a standby in sync", self.is_whole)
        for agent in AGENTS:
            self._start_agent(agent, is_new)
        master = self.master()
        self.until("both agents", lambda: (self.ask("status", node=master) or {})["agents"]["active"] == len(AGENTS))
        if is_new:
            self._import_jobs()

    def _found(self) -> None:
        write_private(self.password_file, secrets.token_urlsafe(12))
        say("Founding a cluster: alpha.")
        must("init", "--data", str(self.data / "alpha"), "--name", "alpha", "--password-file", str(self.password_file))

    def _join_standby(self) -> None:
        say("Making beta its standby: master-to-standby.")
        token = json.loads(must("user", "token", "create", "--json", "--data", str(self.data / "alpha")))["token"]
        write_private(self.token_file, token)
        fingerprint = (self.ask("status") or {}).get("fingerprint") or fingerprint_of(Path(self.authority))
        command = [sys.executable, "-m", "scripts.master_to_standby", "--data", str(self.data / "beta"), "--yes"]
        command += ["--master", NODES["alpha"], "--port", str(self.ports[0]), "--fingerprint", fingerprint]
        joined = subprocess.run([*command, "--password-file", str(self.password_file)], capture_output=True)
        if joined.returncode:
            raise DemoError(joined.stderr.decode(errors="replace"))

    def _start_agent(self, name: str, is_new: bool) -> None:
        arguments = ["--data", str(self.data / name)]
        if is_new:
            invited = must("agent", "invite", "--name", name, "--json", "--data", str(self.data / "alpha"))
            arguments += ["--join", json.loads(invited)["token"]]
        self.start(name, "agent", *arguments)

    def _import_jobs(self) -> None:
        self.site.mkdir(exist_ok=True)
        documents = self.data / "documents"
        shutil.copytree(Path(__file__).resolve().parent.parent / "templates", documents, dirs_exist_ok=True)
        for agent, text in crontabs(self.site, documents).items():
            file = self.data / f"{agent}.crontab"
            file.write_text(text)
            say(f"Importing {file.name} for the agent {agent}: understudy import crontab")
            command = ("import", "crontab", str(file), "--system", "--agent", agent, "--prefix", agent)
            done = run_quietly(*command, "--data", str(self.data / "alpha"))
            print(done.stdout.decode(errors="replace"), end="")

    def jobs(self) -> list[str]:
        """The names of all jobs, in the order in which they were made."""
        answer = self.ask("job", "list", node=self.master())
        rows = answer if isinstance(answer, list) else answer["items"]
        return [row["name"] for row in sorted(rows, key=lambda row: row["id"])]

    def run_each(self) -> None:
        """Run every job once now and say how it ended."""
        for job in self.jobs():
            done = subprocess.run(self.over_http("run", "now", job, "--wait"), capture_output=True)
            print("  " + (done.stdout or done.stderr).decode(errors="replace").strip().splitlines()[-1])

    def swap(self) -> int:
        """One planned swap while jobs run; prints the report and what both nodes say of it afterwards."""
        before = self.master()
        stop = threading.Event()
        submitted: list[dict[str, Any]] = []
        work = threading.Thread(target=self._keep_running, args=(stop, submitted))
        work.start()
        self.until("runs before the swap", lambda: len(submitted) >= 2)
        done = subprocess.run(understudy("swap", "--yes", "--data", str(self.data / before)))
        count = len(submitted)
        self.until("runs after the swap", lambda: len(submitted) >= count + 2 or done.returncode)
        stop.set()
        work.join()
        self.until("a standby in sync", self.is_whole)
        self._compare(submitted)
        return done.returncode

    def _keep_running(self, stop: threading.Event, submitted: list[dict[str, Any]]) -> None:
        jobs = self.jobs()
        number = 0
        while not stop.is_set():
            command = self.over_http("run", "now", jobs[number % len(jobs)], "--wait", "--json")
            done = subprocess.run(command, capture_output=True)
            if done.stdout.strip().startswith(b"{"):
                submitted.append(json.loads(done.stdout))
            number += 1

    def _compare(self, submitted: list[dict[str, Any]]) -> None:
        """Ask each node's API for itself: epoch, position, and the runs submitted meanwhile."""
        keys = {run["key"] for run in submitted}
        print(f"\n{len(keys)} runs were submitted around the swap.")
        for node in NODES:
            status = self.ask("status", node=node) or {}
            rows = self.ask("run", "list", "--limit", "1000", node=node) or []
            known = {row["key"] for row in (rows if isinstance(rows, list) else rows["items"])}
            position = status.get("position", {})
            print(
                f"  {node}: {status.get('role')}, epoch {status.get('epoch')}, "
                f"request {position.get('sequence')}, chain {str(position.get('hash'))[:12]}, "
                f"knows {len(keys & known)} of {len(keys)} runs"
            )


def understudy(*command: str) -> list[str]:
    """The command line of one command."""
    return [sys.executable, "-m", "scripts.understudy", *command]


def run_quietly(*command: str) -> subprocess.CompletedProcess[bytes]:
    """Run one command; its output is kept."""
    return subprocess.run(understudy(*command), capture_output=True)


def must(*command: str) -> bytes:
    """The output of a command that has to succeed."""
    done = run_quietly(*command)
    if done.returncode:
        raise DemoError(f"understudy {command[0]} failed: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout


def say(text: str) -> None:
    """One line for people, at once."""
    print(text, flush=True)


def write_private(path: Path, text: str) -> None:
    """A file that only this user can read."""
    path.touch(mode=0o600)
    path.write_text(text)


def is_free(host: str, port: int) -> bool:
    """Nobody listens there."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def free_port() -> int:
    """A port that is free on both addresses."""
    while True:
        with socket.socket() as probe:
            probe.bind((NODES["alpha"], 0))
            port = int(probe.getsockname()[1])
        if is_free(NODES["beta"], port):
            return port


def fingerprint_of(authority: Path) -> str:
    """The fingerprint that Server Properties shows."""
    from server.tls import fingerprint

    return fingerprint(authority.read_bytes())


def wait_for_interrupt() -> None:
    """Until Ctrl-C or SIGTERM."""
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        return


def main() -> int:
    """`./scripts/demo`: 0, or the swap's exit code; 1 when the pair does not come up."""
    parser = argparse.ArgumentParser(prog="demo", description=__doc__)
    parser.add_argument("--swap", action="store_true", help="perform one planned swap under running jobs, then end")
    parser.add_argument("--data", type=Path, help="keep everything here for the next time")
    options = parser.parse_args()
    data = (options.data or Path(tempfile.mkdtemp(prefix="understudy-demo-"))).absolute()
    data.mkdir(parents=True, exist_ok=True)
    demo = Demo(data)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        demo.bring_up()
        say("Each job once, now:")
        demo.run_each()
        if options.swap:
            return demo.swap()
        say(f"\nMaster  {demo.url(demo.master())}\nBoth    {demo.url('alpha')}  {demo.url('beta')}")
        say(f"User    admin\nPassword {demo.password_file.read_text()}")
        say("The certificate is the cluster's own, so a browser asks once. Ctrl-C stops everything.")
        wait_for_interrupt()
        return 0
    except DemoError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    finally:
        demo.stop()
        if options.data is None:
            shutil.rmtree(data, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
