"""A pair of two builds: nodes are started, swapped and started again by another build; rows are written between."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from tests.process.api import Api
from tests.process.cluster import Agent, Node, Pair
from tests.process.programs import Program
from tests.versions.builds import Build

ROWS = 5


class Rolling:
    """Two nodes, north first. `acknowledged` are the names of rows that a node answered for."""

    def __init__(self, pair: Pair) -> None:
        self.pair = pair
        self.builds: dict[str, Build] = {}
        self.acknowledged: list[str] = []
        self.swaps = 0

    def run(self, name: str, build: Build) -> Node:
        """Start a node by a build, its directory as it is."""
        node = self.pair.nodes.get(name) or self.pair.add_node(name)
        node.asker = Api(node.host, node.port, node.data / "ca.crt")
        at = node.program.words.index("serve")
        node.program.words = [*build.words("understudy"), *node.program.words[at:]]
        node.program.extra = self.pair.settings | build.environment
        self.builds[name] = build
        node.program.start()
        return node

    def again(self, name: str, build: Build) -> Node:
        """Stop a node and start its directory by another build."""
        self.pair.nodes[name].program.stop()
        return self.run(name, build)

    def add_agent(self, name: str, build: Build) -> Agent:
        """Invite an agent at the master, enrol it by a build, and leave it running."""
        invited = self.type(self.pair.node("master"), "understudy", "agent", "invite", "--name", name, "--json")
        data = self.pair.directory / name
        words = [*build.words("understudy"), "agent", "--data", str(data)]
        joining = [*words, "--join", json.loads(invited)["token"]]
        program = Program(name, joining, self.pair.directory / f"{name}.log", build.environment)
        self.pair.agents[name] = Agent(name, data, program.start())
        self.pair.wait(f"agent {name} enrolled", lambda: (data / "identity.json").exists())
        program.words = words
        return self.pair.agents[name]

    def again_agent(self, name: str, build: Build) -> None:
        """Stop an agent and start its directory by another build; its runs go on under their keeper."""
        agent = self.pair.agents[name]
        agent.program.stop()
        agent.program.words = [*build.words("understudy"), "agent", "--data", str(agent.data)]
        agent.program.extra = build.environment
        agent.program.start()

    def type(self, node: Node, script: str, *words: str, expect: int = 0) -> str:
        """Type a command of the build that the node runs."""
        return self.builds[node.name].type(script, *words, "--data", str(node.data), expect=expect)

    def found(self, build: Build) -> Node:
        """`init` and `serve` north by a build."""
        pair = self.pair
        pair.password_file.write_text(pair.password)
        pair.password_file.chmod(0o600)
        north = pair.add_node("north")
        words = ("init", "--name", "north", "--data", str(north.data), "--password-file", str(pair.password_file))
        build.type("understudy", *words)
        self.run("north", build)
        pair.wait("the first master", north.is_master)
        made = self.type(north, "understudy", "user", "token", "create", "--name", "harness", "--json")
        pair.token = north.token = json.loads(made)["token"]
        return north

    def join(self, build: Build) -> Node:
        """Start south by a build and make it the standby, by its own command."""
        pair, north = self.pair, self.pair.nodes["north"]
        south = self.run("south", build)
        pair.wait("the empty node to wait", lambda: (south.data / "understudy.sock").exists())
        self.type(
            south,
            *("master-to-standby", "--master", north.host, "--port", str(north.port), "--name", "south", "--yes"),
            *("--fingerprint", pair.fingerprint(north), "--password-file", str(pair.password_file)),
        )
        return south

    def wait_in_sync(self, master: Node, standby: Node) -> None:
        """Until both say so of themselves and of each other."""
        self.pair.wait(
            f"{master.name} in office with {standby.name} in sync",
            lambda: master.is_master() and master.status()["in_sync"] and standby.status().get("in_sync"),
        )

    def write(self, node: Node) -> None:
        """Rows that the node must acknowledge."""
        api = node.api
        for _ in range(ROWS):
            name = f"row-{len(self.acknowledged)}"
            self.pair.wait(f"{name} acknowledged", partial(_is_written, api, name))
            self.acknowledged.append(name)
        api.close()

    def make_group(self, master: Node) -> None:
        """A group without members and a job of it that is due each minute: new to a build before groups."""
        api = master.api
        api.post("/api/v1/groups", {"name": "web"}, "make-group")
        job = {"name": "serve", "command": "true", "group": "web", "schedules": [{"cron": "* * * * *"}]}
        api.post("/api/v1/jobs", job, "make-job")
        api.close()

    def see_group(self, master: Node) -> None:
        """The job is on the list with its group in the place of the agent, by a build of before too."""
        api = master.api
        found = {job["name"]: job["agent"] for job in api.get("/api/v1/jobs", limit=1000)}
        api.close()
        assert found["serve"] == "group web"

    def swap(self, master: Node, standby: Node) -> None:
        """Begin a planned swap and wait until the standby is in office; whoever could be lost is named by none."""
        self.swaps += 1
        asked = {"to": standby.name, "yes": True, "timeout_s": 30}
        master.api.post("/api/v1/swap", asked, key=f"swap-{self.swaps}")
        self.pair.wait(f"{standby.name} in office", standby.is_master)

    def check_all_held(self) -> None:
        """Both nodes are at one request with one checksum, and every acknowledged row is on each."""
        north, south = self.pair.nodes["north"], self.pair.nodes["south"]

        def equal() -> tuple[dict[str, Any], ...]:
            found = (north.status(), south.status())
            places = [(said.get("position"), said.get("applied_sequence")) for said in found]
            return found if places[0] == places[1] and places[0][0] is not None else ()

        first, second = self.pair.wait("both at one request", equal)
        assert first["checksum"] == second["checksum"]
        for node in (north, south):
            names = {row["name"] for row in node.api.get("/api/v1/tokens", limit=1000)}
            missing = set(self.acknowledged) - names
            assert not missing, f"{node.name} lost {sorted(missing)}"


def _is_written(api: Api, name: str) -> bool:
    return api.request("POST", "/api/v1/tokens", {"name": name}, f"key-{name}").status == 201


@contextmanager
def rolling(directory: Path) -> Iterator[Rolling]:
    """Nothing runs yet; everything is ended on the way out."""
    pair = Pair(directory)
    pair.settings |= {"UNDERSTUDY_MODE": "strict", "UNDERSTUDY_COMPRESSION": "zstd"}
    try:
        yield Rolling(pair)
    finally:
        pair.stop()
