"""A network of its own for each machine of a pair, made of network namespaces and one bridge; root and iproute2 needed.

A cable can be pulled (`unplug`), or one direction between two machines can go dark (`deafen`): the sender then has a
wrong hardware address for the receiver, so that its packets leave and reach nobody, as with a broken switch.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count

NOBODY = "02:00:00:00:00:01"
MACHINES = ("north", "south", "agents")
_numbers = count()


def is_possible() -> bool:
    """Whether this machine lets a test make namespaces."""
    return os.geteuid() == 0 and shutil.which("ip") is not None


class Namespaces:
    """Machines by name, each with an address in a subnet that nothing else uses. Their initials must differ."""

    def __init__(self, machines: tuple[str, ...] = MACHINES) -> None:
        self._machines = machines
        tag = f"{os.getpid() % 0xFFFF:x}{next(_numbers)}"
        self._bridge = f"us{tag}"
        self._spaces = {name: f"us{tag}-{name}" for name in machines}
        self._subnet = f"10.213.{os.getpid() % 250}"

    def host(self, name: str) -> str:
        """The address of a machine; agents that have none of their own share one."""
        return f"{self._subnet}.{self._machines.index(self._place(name)) + 1}"

    def inside(self, name: str) -> list[str]:
        """The words in front of a command that runs on this machine."""
        return ["ip", "netns", "exec", self._spaces[self._place(name)]]

    def _place(self, name: str) -> str:
        return name if name in self._machines else "agents"

    def build(self) -> None:
        """Make the bridge and the machines."""
        _ip("link", "add", self._bridge, "type", "bridge")
        _ip("addr", "add", f"{self._subnet}.254/24", "dev", self._bridge)
        _ip("link", "set", self._bridge, "up")
        for name, space in self._spaces.items():
            _ip("netns", "add", space)
            _ip("link", "add", self._port(name), "type", "veth", "peer", "name", "eth0", "netns", space)
            _ip("link", "set", self._port(name), "master", self._bridge, "up")
            _ip("-n", space, "addr", "add", f"{self.host(name)}/24", "dev", "eth0")
            _ip("-n", space, "link", "set", "eth0", "up")
            _ip("-n", space, "link", "set", "lo", "up")

    def remove(self) -> None:
        """Take away all that `build` made; idempotent."""
        for space in self._spaces.values():
            subprocess.run(["ip", "netns", "del", space], check=False, capture_output=True)
        subprocess.run(["ip", "link", "del", self._bridge], check=False, capture_output=True)

    def _port(self, name: str) -> str:
        return f"{self._bridge}{name[0]}"

    def unplug(self, name: str) -> None:
        """Pull a machine's cable: nothing goes in or out, and nobody is told."""
        _ip("link", "set", self._port(name), "down")

    def plug(self, name: str) -> None:
        """Put it back."""
        _ip("link", "set", self._port(name), "up")

    def deafen(self, sender: str, receiver: str) -> None:
        """What `sender` sends to `receiver` is lost; the other direction works."""
        where = ("to", self.host(receiver), "dev", "eth0", "lladdr", NOBODY, "nud", "permanent")
        _ip("-n", self._spaces[sender], "neigh", "replace", *where)

    def part(self, one: str, other: str) -> None:
        """Lose what either sends to the other."""
        self.deafen(one, other)
        self.deafen(other, one)

    def join(self, one: str, other: str) -> None:
        """Undo `part`."""
        self.heal(one, other)
        self.heal(other, one)

    def heal(self, sender: str, receiver: str) -> None:
        """Undo `deafen`."""
        _ip("-n", self._spaces[sender], "neigh", "del", self.host(receiver), "dev", "eth0")


def _ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"ip {' '.join(words)}: {done.stderr}"


@contextmanager
def namespaces(machines: tuple[str, ...] = MACHINES) -> Iterator[Namespaces]:
    """Machines that are gone afterwards."""
    made = Namespaces(machines)
    try:
        made.build()
        yield made
    finally:
        made.remove()
