"""Nodes that are stopped or killed while they add alarms: others go on, and what was told is stored."""

from __future__ import annotations

import asyncio
import random
import signal
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from fleet2mqtt.outbox.postgres import open_database
from tests.sample_alarms import add, ids
from tests.waiting import PATIENCE, wait_for_answer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

ROOT = Path(__file__).parents[3]
ADDS_UNTIL_ENDED = """
import asyncio, itertools, sys
from fleet2mqtt.outbox.postgres import open_database
from tests.sample_alarms import add

async def add_on(outbox, numbers):
    for number in numbers:
        for event in await add(outbox, number):
            print(event.seq, event.id, flush=True)
            if number % 3 == 0:
                await outbox.published([event.seq])

async def main():
    async with open_database(sys.argv[1], deadline=60) as database:
        numbers = itertools.count(int(sys.argv[2]))
        outbox = await database.outbox()
        await asyncio.gather(*(add_on(outbox, numbers) for _ in range(8)))

asyncio.run(main())
"""


@asynccontextmanager
async def adding(dsn: str, first: int) -> AsyncIterator[asyncio.subprocess.Process]:
    """A node that adds alarms from a number on, and prints what was stored."""
    node = await asyncio.create_subprocess_exec(
        sys.executable, "-c", ADDS_UNTIL_ENDED, dsn, str(first), cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    try:
        yield node
    finally:
        if node.returncode is None:
            node.kill()
            await node.wait()


async def told(node: asyncio.subprocess.Process, lines: int) -> dict[int, str]:
    """Return the next events that the node prints: ids by number."""
    assert node.stdout is not None
    async with asyncio.timeout(PATIENCE):
        said = [(await node.stdout.readline()).decode().split() for _ in range(lines)]
    return {int(seq): id_ for seq, id_ in said}


async def test_stopped_node_holds_up_no_other(dsn: str) -> None:
    """One statement a batch, and no pipeline: a client that is stopped has no transaction open for longer."""
    async with open_database(dsn, deadline=PATIENCE / 4) as database, adding(dsn, 100_000) as node:
        outbox = await database.outbox()
        for number in range(15):
            await told(node, random.randint(1, 30))  # noqa: S311 - a moment
            node.send_signal(signal.SIGSTOP)
            assert ids(await add(outbox, number)) == [f"hq:{number}"]
            node.send_signal(signal.SIGCONT)


async def test_acknowledged_alarms_survive_kill_9_of_the_node(dsn: str) -> None:
    stored: dict[int, str] = {}
    async with open_database(dsn, deadline=60) as database:
        outbox = await database.outbox()
        for round_ in range(3):
            async with adding(dsn, round_ * 100_000) as node:
                said = await told(node, random.randint(1, 300))  # noqa: S311 - a moment
            assert not stored.keys() & said.keys()
            stored |= said
            # The number row is free again once what the node had begun is over.
            await add(outbox, 1_000_000 + round_)
            events, _ = await outbox.history(0, 100_000)
            assert [event.seq for event in events] == list(range(1, len(events) + 1))
            stored_now = {event.seq: event.id for event in events}
            assert stored.items() <= stored_now.items()
            stored = stored_now

        async def figures_agree() -> bool:
            await database.refresh()
            return outbox.depth == len(await outbox.unpublished(0, 100_000))

        await wait_for_answer(figures_agree, "the figures of what is unpublished")
