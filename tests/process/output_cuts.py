"""Much output over a link that breaks and an office that changes: equal bytes at the end, what was cut is marked."""

from __future__ import annotations

import asyncio
import hashlib
import sys
from collections.abc import Callable
from pathlib import Path

from server.actions import runs
from server.storage import runs as run_rows
from tests.process.agent_master import AGENT
from tests.process.checker import Verdict
from tests.process.fleet_office import BOSS, OfficeUnderTest, now_us
from tests.process.test_fleet import ended, pair

Say = Callable[[str], None]
MIB = 1 << 20
CUTS = (0.08, 0.18, 0.3, 0.44, 0.6, 0.82)
"""At these shares of the output the link is broken."""
FAILOVER_AT = 0.25
PRINTS = (
    "import hashlib, sys\nfor number in range(%d): sys.stdout.buffer.write(hashlib.sha256(b'%%d' %% number).digest())\n"
)


def expected(size: int) -> bytes:
    return b"".join(hashlib.sha256(b"%d" % number).digest() for number in range(size // 32))


async def _held(desk: OfficeUnderTest, key: str) -> int:
    return (await desk.run(key)).output_bytes


async def _break_links(desk: OfficeUnderTest, key: str, size: int) -> int:
    """As the output arrives; returns how many links were broken. Office changes once."""
    broken, is_new_office = 0, False
    for share in CUTS:
        while await _held(desk, key) < share * size:
            await asyncio.sleep(0.01)
        if share > FAILOVER_AT and not is_new_office:
            is_new_office = True
            await desk.leave()
            await desk.take(2)
        link = desk.links.get(AGENT)
        if link is not None:
            await link.close()
            broken += 1
    return broken


async def _round(directory: Path, size: int, say: Say) -> None:
    script, bound = directory / "prints.py", size // 12
    script.write_text(PRINTS % (size // 32))
    whole, command = expected(size), f"{sys.executable} -S -E {script}"
    async with pair(directory) as (desk, _):
        await desk.job("big", f"{command}; exit 6", "alpha", output_bytes_max=2 * size + MIB)
        await desk.job("cut", f"{command}; exit 7", "alpha", output_bytes_max=bound)
        big = await desk.write(runs.run_now("big", "one", BOSS, now_us()))
        async with asyncio.timeout(240):
            broken = await _break_links(desk, big.key, size)
        run = await desk.until(ended(big.key), 60)
        await desk.until(lambda c: run_rows.by_key(c, big.key).output_bytes == size, 60)
        assert broken >= len(CUTS) - 1, f"only {broken} links were there to be broken"
        assert (run.exit_code, run.output_cut) == (6, False)
        assert desk.store.object_path(f"run-{big.number}").read_bytes() == whole
        say(f"{size} bytes over {broken} broken links and a new office: equal")
        small = await desk.write(runs.run_now("cut", "two", BOSS, now_us()))
        run = await desk.until(ended(small.key), 60)
        mark = b"\n[%d bytes were cut here]\n" % (size - bound)
        await desk.until(lambda c: run_rows.by_key(c, small.key).output_bytes == bound + len(mark), 60)
        assert (run.exit_code, run.output_cut) == (7, True)
        kept = desk.store.object_path(f"run-{small.number}").read_bytes()
        assert kept == whole[: bound // 2] + mark + whole[-(bound - bound // 2) :]
        say(f"the same, bounded to {bound} bytes: head and tail equal, the cut marked")


def output_cuts(directory: Path, count: int, say: Say, size: int = 50 * MIB) -> Verdict:
    """`count` times on a new agent and office: the output of one run while its link breaks six times."""
    faults = []
    for number in range(count):
        place = directory / str(number)
        place.mkdir()
        try:
            asyncio.run(_round(place, size, say))
        except (AssertionError, TimeoutError) as error:
            faults.append(f"round {number}: {type(error).__name__} {error}")
    return Verdict({"rounds": count, "bytes each": size}, tuple(faults))
