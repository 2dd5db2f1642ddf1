"""No notification of an accepted alarm is lost by kill -9 at any moment, and few come again."""

from __future__ import annotations

import asyncio
import random
import sys
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from tests.notify.plant import DOWN, open_plant
from tests.process import BRIDGE
from tests.receivers import open_receiver
from tests.waiting import PATIENCE, wait_for_answer, wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.notify.plant import Plant

KILLS = 6
SEED = 20261129


@dataclass(slots=True)
class Tally:
    """Ids of alarms that were accepted, and those that notifications were about, in the order in which they came."""

    accepted: list[str] = field(default_factory=list)
    told: list[str] = field(default_factory=list)

    def problems(self, crashes: int) -> list[str]:
        """Return the problems: lost ones, more repeated than there were crashes, and a repeated one before the last."""
        found = [f"lost: {id_}" for id_ in self.accepted if id_ not in set(self.told)]
        again = sum(count - 1 for count in Counter(self.told).values())
        if again > crashes:
            found.append(f"{again} came again after {crashes} crashes")
        for position, id_ in enumerate(self.told):
            if id_ in self.told[:position] and self.told[position - 1] != id_:
                found.append(f"came again, and not at once: {id_}")
        return found


async def push_until(plant: Plant, tally: Tally, stop: asyncio.Event) -> None:
    """Push alarms of one line after another, each again until it is accepted.

    A poll may find one before, and does not tell its line.
    """
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session:
        while not stop.is_set():
            line = str(len(tally.accepted))
            body = plant.vendor.raise_alarm(plant.macs[0], push=False, event_id=DOWN, name="E41", line_id=line)
            await wait_for_answer(partial(accepts, plant, session, body), "the answer to a push", PATIENCE)
            tally.accepted.append(f"hq_voip:{body['id']}")
            await asyncio.sleep(0.02)


async def accepts(plant: Plant, session: aiohttp.ClientSession, body: object) -> bool:
    try:
        return await plant.push_body(session, body)
    except (aiohttp.ClientError, TimeoutError):
        return False


async def tally_of_kills(folder: Path, kills: int, program: tuple[str, ...] = BRIDGE) -> Tally:
    """Kill a bridge while notifications wait, some for a slow server; return the accepted and the sent ones."""
    rng = random.Random(SEED)  # noqa: S311 - to be repeated, not to be secret
    tally, stop = Tally(), asyncio.Event()
    async with open_receiver() as receiver:
        options = {"duty": {"url": receiver.url, "storm_count": 1000, "body": "{{ alarm.id }}"}}
        async with open_plant(folder, options) as plant:
            pushing = asyncio.create_task(push_until(plant, tally, stop))
            for kill in range(kills):
                async with plant.bridge(program) as process:
                    await grown(receiver.taken)
                    if kill % 2 == 0:
                        receiver.held.clear()
                        await grown(tally.accepted, 5)
                    await asyncio.sleep(rng.uniform(0, 0.4))
                    process.process.kill()
                    await process.ends()
                receiver.held.set()
            async with plant.bridge(program):
                await grown(receiver.taken)
                stop.set()
                await pushing
                last = tally.accepted[-1]
                await wait_until(lambda: last in {each["message"] for each in receiver.taken}, "the last one", PATIENCE)
            tally.told = [str(each["message"]) for each in receiver.taken]
    return tally


async def grown(things: list[Any], by: int = 1) -> None:
    wanted = len(things) + by
    await wait_until(lambda: len(things) >= wanted, f"{by} more", PATIENCE)


async def test_killed_bridge_loses_no_notification(tmp_path: Path) -> None:
    tally = await tally_of_kills(tmp_path, KILLS)
    assert tally.problems(KILLS) == []
    assert len(tally.accepted) > 5 * KILLS


FORGETFUL = """
import sys
from fleet2mqtt.cli.parser import main
from fleet2mqtt.notify.notifier import Target

async def save(self):
    self._saved = self.state.number
    self._queued.set()

Target._save = save
sys.exit(main())
"""


async def test_bridge_that_does_not_store_what_waits_is_found_out(tmp_path: Path) -> None:
    tally = await tally_of_kills(tmp_path, 1, (sys.executable, "-c", FORGETFUL))
    assert [problem for problem in tally.problems(1) if problem.startswith("lost")]


@pytest.mark.parametrize(
    ("told", "problem"),
    [
        (["0", "1", "1", "2"], ""),
        (["0", "2"], "lost: 1"),
        (["0", "0", "1", "1", "2"], "2 came again after 1 crashes"),
        (["0", "1", "0", "2"], "came again, and not at once: 0"),
    ],
)
def test_tally_finds_what_is_lost_and_what_comes_again(told: list[str], problem: str) -> None:
    assert "".join(Tally(["0", "1", "2"], told).problems(1)) == problem
