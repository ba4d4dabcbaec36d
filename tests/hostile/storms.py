"""Wrong sign-ins from many addresses and for many users; meanwhile jobs are due and an administrator signs in."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any

from tests.hostile.company import Memory, by_socket, defects
from tests.hostile.web import Target
from tests.process.checker import Verdict, instant_us
from tests.process.cluster import Node, Pair, running_pair

RATE = 200
LANES = 100
BEFORE_S = 20.0
SIGN_IN_S = 15.0
"""The longest that an administrator may need until a right password is taken, refusals and new tries included."""
LATE_S_MAX = 2.0
EVERY_SECOND = "* * * * * *"
RUNS_AFTER = 6
"""Two jobs are due each second: when so many of after the storm are on record, those of the storm are too."""


async def wrong_sign_ins(target: Target, seconds: float) -> None:
    """`RATE` a second by `LANES` connections, each of an address of its own; users change, some of them exist."""
    ends = time.monotonic() + seconds

    async def lane(number: int) -> None:
        address, tried, due = f"127.1.{number // 50}.{number % 50 + 1}", 0, time.monotonic()
        link = None
        while (now := time.monotonic()) < ends:
            await asyncio.sleep(max(due - now, 0))
            due = max(due + LANES / RATE, now)
            tried += 1
            name = "bob" if tried % 10 == 0 else f"user{number}-{tried}"
            body = json.dumps({"user": name, "password": f"wrong-{tried}"}).encode()
            try:
                if link is None:
                    link = await target.connect(address)
                link[1].write(_request(body))
                async with asyncio.timeout(30):
                    status, _ = await _answer(link[0])
                target.tally[status] += 1
            except (OSError, ssl.SSLError, asyncio.IncompleteReadError, TimeoutError):
                target.tally["connection ended"] += 1
                link = None
        if link is not None:
            link[1].close()

    await asyncio.gather(*(lane(number) for number in range(LANES)))


def _request(body: bytes) -> bytes:
    head = "POST /api/v1/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


async def _answer(reader: asyncio.StreamReader) -> tuple[str, bytes]:
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(
        int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")
    )
    return head.split(b" ")[1].decode(), await reader.readexactly(length)


async def administrator(target: Target, password: str, seconds: float, took: list[float]) -> None:
    """Sign in again and again with the right password, from an address of its own; how long each took to be in."""
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        began = time.monotonic()
        while True:
            with contextlib.suppress(OSError, ssl.SSLError, asyncio.IncompleteReadError):
                reader, writer = await target.connect("127.9.9.9")
                writer.write(_request(json.dumps({"user": "admin", "password": password}).encode()))
                status, _ = await _answer(reader)
                writer.close()
                if status == "200":
                    break
            if time.monotonic() - began > 60:
                break
            await asyncio.sleep(0.5)
        took.append(time.monotonic() - began)
        await asyncio.sleep(2.0)


async def storm(target: Target, password: str, seconds: float, took: list[float]) -> None:
    """Both beside each other."""
    await asyncio.gather(wrong_sign_ins(target, seconds), administrator(target, password, seconds, took))


def punctuality(pair: Pair, node: Node, since_us: int, until_us: int) -> list[float]:
    """Seconds from the instant to the start of each run that was due between the two times."""
    api = node.api
    late = []
    for run in api.pages("/api/v1/runs", "number"):
        key = str(run["key"]).split(".")
        if (
            len(key) > 2
            and key[1].startswith("s")
            and since_us <= instant_us(key[2]) < until_us
            and run["started_at_us"]
        ):
            late.append((run["started_at_us"] - instant_us(key[2])) / 1e6)
    api.close()
    return sorted(late)


def figures(late: list[float]) -> str:
    """Median, 99th of a hundred and longest, in milliseconds."""
    if not late:
        return "no run"
    middle, most, last = (1000 * late[at] for at in (len(late) // 2, int(len(late) * 0.99), -1))
    return f"{len(late)} runs, late by {middle:.0f} ms median, {most:.0f} ms p99, {last:.0f} ms at most"


def hostile_storms(directory: Path, count: int, say: Callable[[str], None]) -> Verdict:
    """`count` seconds of wrong sign-ins at the master's web port."""
    with running_pair(directory) as pair:
        master, _ = pair.wait_healthy()
        for name in ("north", "south"):
            _make_job(pair, master, f"tick-{name}", "alpha" if name == "north" else "beta")
        created = pair.type(master, "understudy", "user", "create", "bob", "--password-file", str(pair.password_file))
        assert created is not None
        began_us = _now_us()
        time.sleep(BEFORE_S)  # what is measured is the time itself: nothing else happens
        calm_until_us = _now_us()
        memory, took, by_socket_s = Memory(master), list[float](), list[float]()
        context = ssl.create_default_context(cafile=str(master.data / "ca.crt"))
        target = Target(master.host, master.port, context, tally=Counter())
        asyncio.run(_with_socket(master, by_socket_s, storm(target, pair.password, float(count), took)))
        storm_until_us = _now_us()
        later = partial(punctuality, pair, master, storm_until_us)
        pair.wait("runs of after the storm to be on record", lambda: len(later(_now_us())) >= RUNS_AFTER)
        faults = [*memory.stop(), *defects(master)]
        say(f"{target.tally.total()} sign-ins: " + ", ".join(f"{name} {n}" for name, n in sorted(target.tally.items())))
        before = punctuality(pair, master, began_us + 2_000_000, calm_until_us)
        during = punctuality(pair, master, calm_until_us, storm_until_us - 1_000_000)
        say(f"before: {figures(before)}")
        say(f"during: {figures(during)}")
        say(f"administrator by password: {len(took)} times, longest {max(took):.2f} s until in")
        say(f"administrator by the socket: {len(by_socket_s)} times, longest {max(by_socket_s):.2f} s")
        say(str(memory))
        due = 2 * (storm_until_us - 1_000_000 - calm_until_us) // 1_000_000
        if len(during) < due - 4:
            faults.append(f"{due} runs were due and {len(during)} began")
        if during and during[-1] > LATE_S_MAX:
            faults.append(f"a run began {during[-1]:.2f} s late")
        if max(took) > SIGN_IN_S:
            faults.append(f"an administrator needed {max(took):.1f} s to sign in")
        if "200" in target.tally:
            faults.append("a wrong password was taken")
    return Verdict({"sign-ins": target.tally.total(), "runs": len(during)}, tuple(faults))


async def _with_socket(node: Node, took: list[float], storming: Coroutine[Any, Any, None]) -> None:
    task = asyncio.create_task(storming)
    while not task.done():
        began = time.monotonic()
        await asyncio.to_thread(by_socket, node.data, "/api/v1/status")
        took.append(time.monotonic() - began)
        await asyncio.wait([task], timeout=1.0)
    await task


def _make_job(pair: Pair, master: Node, name: str, agent: str) -> None:
    schedule = {"cron": EVERY_SECOND, "zone": "UTC"}
    api = master.api
    api.post("/api/v1/jobs", {"name": name, "command": "true", "agent": agent, "schedules": [schedule]}, key=name)
    api.close()


def _now_us() -> int:
    return int(time.time() * 1e6)
